"""A verifier of one's own: one class with one method, found by its entry point (see pyproject.toml)."""

from __future__ import annotations

import json

from espalier.common.errors import FieldError
from espalier.verifiers.answer import answer_of, no_answer
from espalier.verifiers.check import Check, Claim, CustomCheck
from espalier.verifiers.verdict import Evidence, Status, Verdict


class PalindromeVerifier:
    """PASS when the answer reads the same in both directions and is long enough: `{"min_letters": 5}`."""

    name = "palindrome"
    version = "1.0.0"
    kinds = frozenset({CustomCheck})

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim.

        Raises:
            FieldError: `min_letters` is no whole number: the caller's mistake, not a verdict.
        """
        if not isinstance(check, CustomCheck):
            raise FieldError("check.kind", "is not custom")
        least = json.loads(check.parameters_json).get("min_letters", 1)
        if not isinstance(least, int):
            raise FieldError("check.custom.parameters_json", "min_letters is not a whole number")
        answer = answer_of(claim, check)
        if answer is None:
            return no_answer(check)
        letters = [letter.casefold() for letter in answer.text if letter.isalnum()]
        seen = (Evidence("letters", "".join(letters)),)
        if len(letters) < least:
            return Verdict(Status.FAIL, 0.0, self.name, seen, f"The answer needs at least {least} letters.")
        if letters != letters[::-1]:
            return Verdict(Status.FAIL, 0.0, self.name, seen, "The answer does not read the same backwards.")
        return Verdict(Status.PASS, 1.0, self.name, seen)

    async def self_check(self) -> list[str]:
        """Optional: what goes wrong on examples whose verdict is known. The server serves when nothing does."""
        faults = []
        for text, right in (("Never odd or even", Status.PASS), ("espalier", Status.FAIL)):
            verdict = await self.verify(Claim(text, bare=True), CustomCheck(self.name))
            if verdict.status is not right:
                faults.append(f"{text!r}: {verdict.status}, not {right}")
        return faults
