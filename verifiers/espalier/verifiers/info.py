"""What a verifier says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VerifierInfo:
    """One verifier as `Describe` shows it.

    Attributes:
        name: Unique among the verifiers of a process.
        version: Of the package that brings it.
        kinds: Kinds of check that it judges, as the fields of `Check.kind` are called ("reference", "program", …).
        limits: Its limits by name, for people.
        healthy: It has accepted its gold examples and rejected its bad ones.
        reason: Why not, when it is not.
    """

    name: str
    version: str
    kinds: tuple[str, ...]
    limits: Mapping[str, str] = field(default_factory=dict)
    healthy: bool = True
    reason: str = ""
