"""Verifiers for tests of the machinery around verifiers: what they answer is said in the claim, nothing is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from espalier.verifiers.check import Check, Claim, CustomCheck, MathOptions, ReferenceCheck
from espalier.verifiers.consensus import EquivalenceClass, classes_by_output
from espalier.verifiers.verdict import Evidence, Status, Verdict


class ScriptedVerifier:
    """Does what the claim's text says: a status, `raise`, `hang`, `nonsense`, or `error-once`.

    Everything else PASSes when it is the reference, letter by letter.
    """

    kinds: frozenset[type] = frozenset({ReferenceCheck})

    def __init__(self, name: str = "scripted", kinds: frozenset[type] | None = None) -> None:
        self.name = name
        if kinds is not None:
            self.kinds = kinds
        self.calls: list[str] = []
        self.timeouts: list[float | None] = []
        self.cancelled = 0
        self.running = 0
        self.started = 0
        self.closed = 0
        self.fault: str | None = None
        self.release = asyncio.Event()

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None:
        self.closed += 1

    async def self_check(self) -> tuple[str, ...]:
        return () if self.fault is None else (self.fault,)

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        self.calls.append(claim.text)
        self.timeouts.append(timeout)
        self.running += 1
        try:
            return await self._answer(claim, check)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _answer(self, claim: Claim, check: Check) -> Verdict:
        evidence = (Evidence("claim", claim.text),)
        match claim.text:
            case "raise":
                raise ZeroDivisionError("a defect of the verifier")
            case "hang":
                await self.release.wait()
            case "nonsense":
                return "pass"  # type: ignore[return-value]
            case "error-once" if self.calls.count("error-once") > 1:
                return Verdict(Status.PASS, 1.0, self.name, evidence)
            case "error-once":
                return Verdict(Status.ERROR, 0.0, self.name, evidence)
            case "pass" | "fail" | "unknown" | "error" as word:
                return Verdict(Status(word), float(word == "pass"), self.name, evidence)
        right = isinstance(check, CustomCheck) or (isinstance(check, ReferenceCheck) and claim.text == check.answer)
        return Verdict(Status.PASS if right else Status.FAIL, float(right), self.name, evidence)

    async def equivalent(self, a: str, b: str, options: MathOptions | None = None) -> Verdict:
        return Verdict(Status.PASS if a == b else Status.FAIL, float(a == b), self.name)

    async def classes(
        self, answers: Sequence[str], weights: Sequence[float] | None = None, options: MathOptions | None = None
    ) -> tuple[EquivalenceClass, ...]:
        if "hang" in answers:
            await self.release.wait()
        outputs, names = list(answers), list(answers)
        return classes_by_output(outputs, names, weights)


class BareVerifier:
    """The least that a third party has to write."""

    name = "bare"
    kinds = frozenset({CustomCheck})

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        return Verdict(Status.UNKNOWN, 0.0, self.name)
