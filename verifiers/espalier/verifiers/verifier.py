"""What a verifier is: one class with one method; and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Verdict


@runtime_checkable
class Verifier(Protocol):
    """Judges claims of the kinds of check it names.

    Third parties add one by an entry point in the group `espalier.verifiers` that loads a class of this shape.
    """

    name: str
    kinds: frozenset[type]
    """The classes of check that it judges, for example `{ReferenceCheck, ConstraintCheck}`."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim.

        Args:
            claim: What was claimed.
            check: How to judge it; of one of `kinds`.
            timeout: Seconds within which to answer; a verifier that cannot answers ERROR.

        Returns:
            The verdict. A wrong answer is FAIL; trouble of the verifier itself is ERROR, never an exception and
            never FAIL.
        """
        ...


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
