"""What a vote among claims found."""

from __future__ import annotations

from dataclasses import dataclass

from espalier.verifiers.consensus import EquivalenceClass
from espalier.verifiers.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Vote:
    """A class of equivalent claims, and how sure its lead is.

    Attributes:
        found: The class; a claim that states no answer is in none.
        verdict: Decided by consensus, never PASS; its score is the posterior that the class is ahead.
    """

    found: EquivalenceClass
    verdict: Verdict
