"""The math verifier: claims in, verdicts out, with every evaluation in a worker process."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self

from espalier.common.errors import FieldError
from espalier.verifiers.answer import BASES, Answer, answer_of, no_answer
from espalier.verifiers.check import Check, Claim, ConstraintCheck, MathOptions, ReferenceCheck, StepCheck
from espalier.verifiers.consensus import EquivalenceClass, equivalence_classes
from espalier.verifiers.math.limits import LIMITS
from espalier.verifiers.math.outcome import TOO_COSTLY, UNREADABLE
from espalier.verifiers.math.workers import PoolLimits, TooCostlyError, WorkerError, WorkerPool
from espalier.verifiers.plain_number import plain_number
from espalier.verifiers.verdict import Evidence, Status, Verdict

_PERCENT = re.compile(r"\\?%|\bper\s?cent(?:age)?\b")
_SCALE = re.compile(r"\s*\b(hundred|thousand|million|billion|trillion|dozen)s?\b")
_BASED = re.compile(r"_\{?(\d{1,2})\}?$")
QUICK_SECONDS = 0.1
"""Processor time of a task among the quick ones."""

QUICK_TASK_SECONDS = 5.0
"""Time after which a task among the quick ones loses its worker, where an operation cannot be broken off."""

THOROUGH_WORKERS = 1
"""Workers for tasks that are not quick, beside those of `PoolLimits.workers`."""

_TRIVIAL = "0"
_CACHED = 1 << 13
_CACHED_CHARACTERS = 512
"""Longest pair that is remembered: the cache stays within some 20 MB whatever is asked."""


class MathVerifier:
    """Judges mathematical answers. An async context manager; one event loop.

    - `ReferenceCheck`: PASS when the claim is equivalent to the reference; FAIL when it differs, cannot be read
      (`unreadable`) or cannot be worked out within the limits (`too_costly`); UNKNOWN when the reference cannot be
      read, or the values agree and whether more was meant cannot be told.
    - `ConstraintCheck`: PASS when every constraint is satisfied and one of them is more than a domain; with no
      constraints, those that the problem's text states are used (:mod:`espalier.verifiers.math.recognise`).
    - `StepCheck`: always UNKNOWN; its score is the share of true equalities in the text, 1 when it has none.

    Args:
        limits: Size and limits of its pool of workers.
    """

    name = "math"
    kinds: frozenset[type] = frozenset({ReferenceCheck, ConstraintCheck, StepCheck})

    def __init__(self, limits: PoolLimits | None = None) -> None:
        limits = limits or PoolLimits()
        self._limits = limits
        quick = min(QUICK_SECONDS, limits.cpu_seconds)
        self._quick = WorkerPool(replace(limits, cpu_seconds=quick, task_seconds=QUICK_TASK_SECONDS))
        self._thorough = WorkerPool(replace(limits, workers=THOROUGH_WORKERS))
        self._cache: OrderedDict[tuple[str, str, MathOptions], dict[str, Any]] = OrderedDict()

    @property
    def limits(self) -> dict[str, str]:
        """Limits worth telling a client."""
        pool = self._limits
        return {
            "max_characters": str(LIMITS.characters),
            "max_seconds": f"{pool.wall_seconds:g}",
            "max_cpu_seconds": f"{pool.cpu_seconds:g}",
            "max_memory_mib": str(pool.memory_mib),
            "workers": str(pool.workers),
        }

    async def start(self) -> None:
        """Start the workers."""
        await self._quick.start()
        try:
            await self._thorough.start()
        except WorkerError:
            await self._quick.close()
            raise

    async def close(self) -> None:
        """End the workers."""
        await self._quick.close()
        await self._thorough.close()

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
        answer = answer_of(claim, check)
        if answer is None:
            return no_answer(check)
        if isinstance(check, ReferenceCheck):
            verdict = await self._against(check.answer, answer, check.options, timeout)
            if verdict.status not in (Status.FAIL, Status.UNKNOWN):
                return verdict
            for gold, stripped in _as_asked(check.answer, answer, claim.problem):
                retried = await self._against(gold, stripped, check.options, timeout)
                if retried.passed:
                    return retried
            return verdict
        if isinstance(check, ConstraintCheck):
            return await self._constraints(claim, answer, check, timeout)
        return Verdict(
            Status.ERROR, 0.0, "math", (Evidence("check", f"the math verifier has no check {type(check).__name__}"),)
        )

    async def validate_check(self, check: Check) -> None:
        """Refuse a reference or a constraint that cannot be read.

        Raises:
            FieldError: Names what cannot be read, and why.
            WorkerError: The workers could not tell.
        """
        if isinstance(check, ReferenceCheck):
            field = "check.reference.answer"
            reference = _bare(check.answer)
            if reference is None:
                raise FieldError(field, "is empty; give the expected answer")
            if plain_number(reference.text) is not None:
                return
            reply = await self._run({"task": "read", "text": reference.text}, None)
            if reply["fault"]:
                raise FieldError(field, f"cannot be read as mathematics: {reply['fault']}")
        elif isinstance(check, ConstraintCheck) and check.constraints:
            reply = await self._run({"task": "faults", "constraints": _encoded(check)}, None)
            for place, fault in reply["faults"]:
                raise FieldError(f"check.constraints.constraints[{place}]", fault)

    async def equivalent(self, a: str, b: str, options: MathOptions | None = None) -> Verdict:
        """Compare two answers: PASS when they are the same, FAIL when they differ, UNKNOWN when undecided."""
        answer = _bare(b)
        if answer is None:
            return Verdict(Status.UNKNOWN, 0.0, "equivalence", (Evidence("parse", "an empty answer"),))
        return await self._against(a, answer, options or MathOptions(), None)

    async def canonical(self, answer: str, timeout: float | None = None) -> str:
        """A key for votes: answers with the same key are equivalent. One that cannot be read is its own key."""
        value = plain_number(answer)
        if value is not None:
            return f"number {value}"
        try:
            reply = await self._run({"task": "canonical", "text": answer}, timeout)
        except WorkerError:
            return f"text {answer}"
        return str(reply["key"])

    async def classes(
        self, answers: Sequence[str], weights: Sequence[float] | None = None, options: MathOptions | None = None
    ) -> tuple[EquivalenceClass, ...]:
        """Group answers by equivalence for a vote, the heaviest class first."""
        options = options or MathOptions()

        async def same(a: str, b: str) -> bool:
            quick = _quick(a, b, options)
            return quick[0] if quick is not None else (await self.equivalent(a, b, options)).passed

        return await equivalence_classes(answers, key=self.canonical, same=same, weights=weights)

    async def self_check(self) -> tuple[str, ...]:
        """Judge built-in examples; returns what went wrong: an example judged otherwise, a worker that is missing."""
        faults = [*self._quick.faults, *self._thorough.faults]
        for gold, claim, expected in _EXAMPLES:
            verdict = await self.equivalent(gold, claim)
            if verdict.status is not expected:
                faults.append(f"{claim!r} against {gold!r}: {verdict.status}, not {expected}")
        return tuple(faults)

    async def _against(self, gold: str, answer: Answer, options: MathOptions, timeout: float | None) -> Verdict:
        extracted = _extraction(answer)
        reference = _bare(gold)
        if reference is None:
            return Verdict(Status.UNKNOWN, 0.0, "reference", (extracted, Evidence("parse", "the reference is empty")))
        quick = _quick(reference.text, answer.text, options)
        if quick is not None:
            equal, rule = quick
            return _verdict(equal, (extracted, Evidence("equivalence", rule)), answer.text)
        try:
            reply = await self._compare(reference.text, answer.text, options, timeout)
        except TooCostlyError as error:
            return await self._too_costly(reference.text, answer, options, error, timeout)
        except WorkerError as error:
            return _error("reference", error, extracted)
        parsed = Evidence("parse", f"reference {reply['gold']}; claim {reply['claim']}")
        evidence = (extracted, parsed, Evidence(reply["cause"] or "equivalence", reply["rule"]))
        return _verdict(reply["equal"], evidence, answer.text, reply["cause"] or "reference")

    async def _too_costly(
        self, gold: str, answer: Answer, options: MathOptions, error: TooCostlyError, timeout: float | None
    ) -> Verdict:
        """FAIL where the reference alone costs little, else UNKNOWN."""
        evidence = (_extraction(answer), Evidence(TOO_COSTLY, str(error)))
        try:
            await self._compare(gold, _TRIVIAL, options, timeout)
        except TooCostlyError:
            return Verdict(Status.UNKNOWN, 0.0, "reference", (*evidence, Evidence("reference", "too costly itself")))
        except WorkerError as trouble:
            return _error("reference", trouble, *evidence)
        return _verdict(False, evidence, answer.text, TOO_COSTLY)

    async def _compare(self, gold: str, claim: str, options: MathOptions, timeout: float | None) -> dict[str, Any]:
        key = (gold, claim, options)
        reply = self._cache.get(key)
        if reply is not None:
            self._cache.move_to_end(key)
            if "too_costly" in reply:
                raise TooCostlyError(reply["too_costly"])
            return reply
        request = {"task": "equivalent", "gold": gold, "claim": claim, "options": asdict(options)}
        try:
            reply = await self._run(request, timeout)
        except TooCostlyError as error:
            self._remember(key, {"too_costly": str(error)})
            raise
        self._remember(key, reply)
        return reply

    def _remember(self, key: tuple[str, str, MathOptions], reply: dict[str, Any]) -> None:
        gold, claim, _ = key
        if len(gold) + len(claim) <= _CACHED_CHARACTERS:
            self._cache[key] = reply
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)

    async def _constraints(
        self, claim: Claim, answer: Answer, check: ConstraintCheck, timeout: float | None
    ) -> Verdict:
        extracted = _extraction(answer)
        request = {
            "task": "constraints",
            "claim": answer.text,
            "constraints": _encoded(check),
            "problem": claim.problem,
        }
        try:
            reply = await self._run(request, timeout)
        except TooCostlyError as error:
            return _verdict(False, (extracted, Evidence(TOO_COSTLY, str(error))), answer.text, TOO_COSTLY)
        except WorkerError as error:
            return _error("constraints", error, extracted)
        rules = (Evidence("constraint", line) for line in reply["rules"])
        evidence = (extracted, Evidence("parse", f"claim {reply['claim']}"), *rules)
        if reply["violated"]:
            feedback = f"The answer {answer.text[:200]} does not satisfy the problem: {reply['violated']}."
            return Verdict(Status.FAIL, 0.0, "constraints", evidence, feedback)
        if reply["satisfied"] and reply["decisive"]:
            return Verdict(Status.PASS, 1.0, "constraints", evidence)
        return Verdict(Status.UNKNOWN, 0.0, "constraints", evidence)

    async def _steps(self, claim: Claim, timeout: float | None) -> Verdict:
        try:
            reply = await self._run({"task": "steps", "text": claim.text}, timeout)
        except TooCostlyError as error:
            return Verdict(Status.UNKNOWN, 0.0, "steps", (Evidence(TOO_COSTLY, str(error)),))
        except WorkerError as error:
            return _error("steps", error)
        false = tuple(Evidence("false equality", line) for line in reply["false"])
        tested = Evidence("steps", f"{reply['tested']} equalities tested, {len(false)} false")
        feedback = f"These equalities do not hold: {'; '.join(reply['false'][:5])}." if false else ""
        return Verdict(Status.UNKNOWN, reply["score"], "steps", (tested, *false), feedback)

    async def _run(self, request: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        """One task, first among those that take milliseconds, then among those that take their time.

        What costs much waits for what costs much, so that it does not keep others waiting. Trouble of the worker with a
        task is a WorkerError, too.
        """
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            reply = await self._quick.run({**request, "quick": True}, timeout)
        except TooCostlyError:
            left = None if timeout is None else max(0.0, timeout - (clock() - start))
            reply = await self._thorough.run(request, left)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply


def _encoded(check: ConstraintCheck) -> list[dict[str, Any]]:
    return [{"kind": type(part).__name__, **asdict(part)} for part in check.constraints]


def _bare(text: str) -> Answer | None:
    return answer_of(Claim(text, bare=True), None)


def _quick(gold: str, claim: str, options: MathOptions) -> tuple[bool, str] | None:
    """Decide plain numbers and identical texts here, without a worker: a bounded, linear read of digits."""
    if gold == claim:
        return True, "identical text"
    value, other = plain_number(gold), plain_number(claim)
    if options.round_to is not None or value is None or other is None:
        return None
    return value == other, "exact fractions"


def _as_asked(gold: str, answer: Answer, problem: str) -> Iterator[tuple[str, Answer]]:
    """Both sides without what only one of them says, and the problem asks for: a percentage, millions, a base."""
    claim = answer.text
    if ("%" in gold) != ("%" in claim) and _PERCENT.search(problem):
        yield _PERCENT.sub("", gold), replace(answer, text=_PERCENT.sub("", claim))
    scale = _SCALE.search(claim)
    if scale and not _SCALE.search(gold) and re.search(rf"\b{scale[1]}", problem, re.IGNORECASE):
        yield gold, replace(answer, text=_SCALE.sub("", claim))
    based = _BASED.search(claim)
    if based and not _BASED.search(gold) and re.search(_called_base(int(based[1])), problem, re.IGNORECASE):
        yield gold, replace(answer, text=claim[: based.start()])


def _called_base(base: int) -> str:
    """A pattern of the ways in which a problem names a base."""
    names = "|".join(name for name, value in BASES.items() if value == base)
    return rf"_\{{?{base}(?!\d)|\b(?:base[\s$-]{{0,3}})?(?:{names})\b|\bbase[\s$-]{{0,3}}{base}(?!\d)"


def _extraction(answer: Answer) -> Evidence:
    boxes = f" of {answer.boxes}" if answer.boxes > 1 else ""
    return Evidence("extraction", f"{answer.text[:200]!r}: {answer.found}{boxes}")


def _verdict(equal: bool | None, evidence: tuple[Evidence, ...], claim: str, decided_by: str = "reference") -> Verdict:
    if equal is None:
        return Verdict(Status.UNKNOWN, 0.0, decided_by, evidence)
    if equal:
        return Verdict(Status.PASS, 1.0, decided_by, evidence)
    return Verdict(Status.FAIL, 0.0, decided_by, evidence, _FEEDBACK[decided_by].format(claim[:200]))


_FEEDBACK = {
    "reference": "The answer {} is not the expected one.",
    UNREADABLE: "The answer {} cannot be read as mathematics; write it in plain LaTeX.",
    TOO_COSTLY: "The answer {} cannot be worked out; write it in a simpler form.",
}


def _error(method: str, fault: WorkerError, *evidence: Evidence) -> Verdict:
    return Verdict(Status.ERROR, 0.0, method, (*evidence, Evidence("worker", str(fault))))


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
