"""The math verifier: claims in, verdicts out, with every evaluation in a worker process."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import asdict
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from espalier.verifiers.answer import Answer, extract
from espalier.verifiers.check import Check, Claim, ConstraintCheck, MathOptions, ReferenceCheck, StepCheck
from espalier.verifiers.math.workers import PoolLimits, WorkerError, WorkerPool
from espalier.verifiers.verdict import Evidence, Status, Verdict

_SIMPLE = re.compile(r"([+-]?\d{1,40})(?:/([1-9]\d{0,39})|\.(\d{1,40}))?")
_CACHED = 1 << 16


class MathVerifier:
    """Judges mathematical answers. An async context manager; one event loop.

    Args:
        limits: Size and limits of its pool of workers.
    """

    name = "math"
    kinds: frozenset[type] = frozenset({ReferenceCheck, ConstraintCheck, StepCheck})

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._pool = WorkerPool(limits)
        self._cache: OrderedDict[tuple[str, str, MathOptions], dict[str, Any]] = OrderedDict()

    async def start(self) -> None:
        """Start the workers."""
        await self._pool.start()

    async def close(self) -> None:
        """End the workers."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim; see :class:`espalier.verifiers.verifier.Verifier`."""
        if isinstance(check, StepCheck):
            return await self._steps(claim, timeout)
        answer = extract(claim.text, bare=claim.bare)
        if answer is None:
            return Verdict(
                Status.FAIL,
                0.0,
                "extraction",
                (Evidence("extraction", "the response states no final answer"),),
                "State the final answer in \\boxed{}.",
            )
        if isinstance(check, ReferenceCheck):
            return await self._against(check.answer, answer, check.options, timeout)
        if isinstance(check, ConstraintCheck):
            return await self._constraints(claim, answer, check, timeout)
        return Verdict(
            Status.ERROR, 0.0, "math", (Evidence("check", f"the math verifier has no check {type(check).__name__}"),)
        )

    async def equivalent(self, a: str, b: str, options: MathOptions | None = None) -> Verdict:
        """Compare two answers: PASS when they are the same, FAIL when they differ, UNKNOWN when undecided."""
        answer = extract(b, bare=True)
        if answer is None:
            return Verdict(Status.UNKNOWN, 0.0, "equivalence", (Evidence("parse", "an empty answer"),))
        return await self._against(a, answer, options or MathOptions(), None)

    async def self_check(self) -> tuple[str, ...]:
        """Judge built-in examples; returns what went wrong, nothing when every gold passes and every bad one fails."""
        faults: list[str] = []
        for gold, claim, expected in _EXAMPLES:
            verdict = await self.equivalent(gold, claim)
            if verdict.status is not expected:
                faults.append(f"{claim!r} against {gold!r}: {verdict.status}, not {expected}")
        return tuple(faults)

    async def _against(self, gold: str, answer: Answer, options: MathOptions, timeout: float | None) -> Verdict:
        reference = extract(gold, bare=True)
        extracted = Evidence("extraction", f"{answer.text!r} from {answer.found}")
        if reference is None:
            return Verdict(Status.UNKNOWN, 0.0, "reference", (extracted, Evidence("parse", "the reference is empty")))
        quick = _quick(reference.text, answer.text, options)
        if quick is not None:
            equal, rule = quick
            return _verdict(equal, (extracted, Evidence("equivalence", rule)), reference.text, answer.text)
        key = (reference.text, answer.text, options)
        reply = self._cache.get(key)
        if reply is None:
            request = {
                "task": "equivalent",
                "gold": reference.text,
                "claim": answer.text,
                "options": asdict(options),
            }
            try:
                reply = await self._pool.run(request, timeout)
            except WorkerError as error:
                return _error("reference", error, extracted)
            if "error" in reply:
                return _error("reference", reply["error"], extracted)
            self._cache[key] = reply
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        evidence = (
            extracted,
            Evidence("parse", f"reference {reply['gold']}; claim {reply['claim']}"),
            Evidence("equivalence", reply["rule"]),
        )
        return _verdict(reply["equal"], evidence, reference.text, answer.text)

    async def _constraints(
        self, claim: Claim, answer: Answer, check: ConstraintCheck, timeout: float | None
    ) -> Verdict:
        extracted = Evidence("extraction", f"{answer.text!r} from {answer.found}")
        constraints = [{"kind": type(part).__name__, **asdict(part)} for part in check.constraints]
        request = {"task": "constraints", "claim": answer.text, "constraints": constraints}
        try:
            reply = await self._pool.run(request, timeout)
        except WorkerError as error:
            return _error("constraints", error, extracted)
        if "error" in reply:
            return _error("constraints", reply["error"], extracted)
        evidence = (
            extracted,
            Evidence("parse", reply["claim"]),
            *(Evidence("constraint", line) for line in reply["rules"]),
        )
        satisfied, total = reply["satisfied"], len(constraints)
        if reply["violated"]:
            feedback = f"The answer {answer.text} does not satisfy the problem: {reply['violated']}."
            return Verdict(Status.FAIL, 0.0, "constraints", evidence, feedback)
        if satisfied == total and reply["decisive"]:
            return Verdict(Status.PASS, 1.0, "constraints", evidence)
        return Verdict(Status.UNKNOWN, 0.0, "constraints", evidence)

    async def _steps(self, claim: Claim, timeout: float | None) -> Verdict:
        raise NotImplementedError


def _quick(gold: str, claim: str, options: MathOptions) -> tuple[bool, str] | None:
    """Decide plain numbers and identical texts here, without a worker: a bounded, linear read of digits."""
    if gold == claim:
        return True, "identical text"
    left, right = _SIMPLE.fullmatch(gold), _SIMPLE.fullmatch(claim)
    if left is None or right is None or options.round_to is not None:
        return None
    return _fraction(left) == _fraction(right), "exact fractions"


def _fraction(match: re.Match[str]) -> Fraction:
    whole, under, decimals = match.groups()
    if under:
        return Fraction(int(whole), int(under))
    return Fraction(match.group()) if decimals else Fraction(int(whole))


def _verdict(equal: bool | None, evidence: tuple[Evidence, ...], gold: str, claim: str) -> Verdict:
    if equal is None:
        return Verdict(Status.UNKNOWN, 0.0, "reference", evidence)
    if equal:
        return Verdict(Status.PASS, 1.0, "reference", evidence)
    return Verdict(Status.FAIL, 0.0, "reference", evidence, f"The answer {claim} is not the expected one.")


def _error(method: str, fault: object, extracted: Evidence) -> Verdict:
    return Verdict(Status.ERROR, 0.0, method, (extracted, Evidence("worker", str(fault))))


_EXAMPLES: tuple[tuple[str, str, Status], ...] = (
    ("1/2", "0.5", Status.PASS),
    (r"\frac{\sqrt{3}}{3}", "1/sqrt(3)", Status.PASS),
    ("1, 2", "2, 1", Status.PASS),
    ("(x+1)^2", "x^2 + 2x + 1", Status.PASS),
    (r"1/2^{99}", r"1/2^{98}", Status.FAIL),
    ("(1, 2)", "(2, 1)", Status.FAIL),
    ("x + 1", "x - 1", Status.FAIL),
    (r"\sqrt{2}", "1.41421356", Status.FAIL),
)
