"""The port that every verifier fills: one class with one method."""

from __future__ import annotations

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
