"""The examples that a problem states, as evidence about programs that no check judges: never a PASS, and never a FAIL.

They are the user's own words, and worth more than tests that a model wrote: of programs that pass different numbers of
them, only those that pass the most have a vote. Yet nothing proves that they were read as they are meant, and problems
state wrong ones, so a program that fails one is not refuted. Programs that pass the same ones are told apart by what
they give for inputs like theirs (`probes`): those that give the same are one class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.verifiers.check import AssertCase, Comparison, ProgramCheck, ProgramLimits
from espalier.verifiers.example_reader import StatedExample, read_examples
from espalier.verifiers.generated_tests import case_records
from espalier.verifiers.probes import GIVES, Probe, probes_of
from espalier.verifiers.verdict import Evidence, Status, Verdict

DECIDED_BY = "stated_examples"

PROBED = "probes"
"""Rule of the evidence that tells how many probes a program was run on; absent where it gave nothing for any."""

LIMITS = ProgramLimits(case_seconds=2.0, total_seconds=8.0)

MAX_TOLD = 3
"""Failed examples that a repair is told."""

MAX_SHOWN = 600
"""Characters of each of them."""


@dataclass(frozen=True, slots=True)
class StatedExamples:
    """The examples of one problem: all of calls, or all of standard input and output.

    Attributes:
        examples: What a program is expected to pass.
        probes: Inputs like theirs: nothing says what a program should give.
    """

    examples: tuple[StatedExample, ...]
    probes: tuple[Probe, ...] = ()

    @classmethod
    def of(cls, problem: str) -> StatedExamples:
        """Those in a problem's text; none where it asks for no Python program."""
        examples = read_examples(problem)
        return cls(examples, probes_of(examples))

    def __bool__(self) -> bool:
        return bool(self.examples)

    @property
    def check(self) -> ProgramCheck:
        """Runs them all, probes last: what passes is read by :meth:`passed`, what is given by :meth:`given`."""
        cases = (*(one.case for one in self.examples), *(one.case for one in self.probes))
        return ProgramCheck(
            cases,
            comparison=Comparison.FLOAT,
            together=all(isinstance(case, AssertCase) for case in cases),
            stop_at_first_failure=False,
            limits=LIMITS,
        )

    def passed(self, verdict: Verdict) -> frozenset[int]:
        """Which examples a program passed, from the verdict of the check on it."""
        stated = len(self.examples)
        return frozenset(at for at, record in case_records(verdict).items() if at < stated and record["passed"])

    def given(self, verdict: Verdict) -> tuple[str | None, ...]:
        """What a program gave for each probe, in one spelling, from the verdict of the check on it; None where it gave
        nothing: it raised an error, or ran out of time."""
        records = case_records(verdict)
        numbers = range(len(self.examples), len(self.examples) + len(self.probes))
        reasons = (str(records[at]["reason"]) if at in records else "" for at in numbers)
        return tuple(one.removeprefix(GIVES) if one.startswith(GIVES) else None for one in reasons)

    def share(self, passed: frozenset[int]) -> float:
        """The share of the examples that were passed; 0 where there are none."""
        return len(passed) / len(self.examples) if self.examples else 0.0

    def evidence(self, verdict: Verdict) -> Verdict:
        """What the outcome of the check is worth: UNKNOWN with a score.

        The score is (1 + passed) / (1 + stated): programs still vote where none passes any. A program that gives
        nothing for some probes counts less, down to half where it gives nothing for all. The feedback names examples
        that fail, for a repair. Where the check could not be made, nothing speaks against the program: the score is 1.
        """
        if verdict.status is Status.ERROR:
            said = verdict.evidence[0].detail if verdict.evidence else "no reason given"
            detail = f"could not be run on the examples that the problem states ({said})"
            return Verdict(Status.UNKNOWN, 1.0, DECIDED_BY, (Evidence(DECIDED_BY, detail),))
        records = case_records(verdict)
        passed, stated = len(self.passed(verdict)), len(self.examples)
        ran = {f"case {number + 1}" for number in range(stated)}
        cases = tuple(one for one in verdict.evidence if one.rule in ran)
        told = Evidence(DECIDED_BY, f"passes {told_share(passed, stated)} that the problem states")
        given = self.given(verdict)
        feedback = ""
        if passed < stated:
            failed = (
                told_failure(one, records.get(number))
                for number, one in enumerate(self.examples)
                if not records.get(number, {"passed": False})["passed"]
            )
            shown = "\n\n".join(text for _, text in zip(range(MAX_TOLD), failed, strict=False))
            feedback = f"The program fails {told_share(stated - passed, stated)} that the problem states:\n\n{shown}"
        answered = sum(one is not None for one in given) / len(given) if given else 1.0
        score = (1 + passed) / (1 + stated) * (1 + answered) / 2
        return Verdict(Status.UNKNOWN, score, DECIDED_BY, (told, *self._probed(given), *cases), feedback)

    def _probed(self, given: Sequence[str | None]) -> tuple[Evidence, ...]:
        """How many inputs a program was run on beside the examples, and what it gave for the first of them."""
        if not given:
            return ()
        shown = "; ".join(
            f"{probe.call}: {'nothing' if one is None else one}" for probe, one in zip(self.probes, given, strict=True)
        )
        # Programs that give nothing at all agree on nothing.
        number = (Evidence(PROBED, told_probes(len(given))),) if any(one is not None for one in given) else ()
        return *number, Evidence("gives", _short(shown))


NO_EXAMPLES = StatedExamples(())


def told_share(some: int, everything: int) -> str:
    """ "2 of the 3 examples", "all 3 examples", "the example"."""
    if everything == 1:
        return "the example" if some else "0 of 1 example"
    return f"all {everything} examples" if some == everything else f"{some} of the {everything} examples"


def told_probes(number: int) -> str:
    """ "32 inputs like theirs"."""
    return "1 input like theirs" if number == 1 else f"{number} inputs like theirs"


def told_failure(example: StatedExample, record: Mapping[str, Any] | None) -> str:
    """An example and how a program failed it."""
    if record is None:
        return f"{_short(example.text)}: not run, the time was used up"
    if isinstance(example.case, AssertCase):
        reason = str(record["reason"]).removeprefix("the tests fail: ").removeprefix("AssertionError: ")
        return f"{_short(example.text)}: {_short(reason)}"
    parts = [f"{name}:\n{_short(str(record[key]).strip())}" for name, key in _SIDES if str(record[key]).strip()]
    return "\n".join([f"{record['reason']}", *parts])


_SIDES = (("Input", "input"), ("Expected", "expected"), ("Got", "got"), ("Standard error", "stderr"))


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
