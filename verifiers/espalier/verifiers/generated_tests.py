"""Tests that a model wrote, as evidence about programs that no check judges. They never make a PASS.

Dual execution agreement (Chen et al. 2023, "CodeT", arXiv 2207.10397): programs that pass the same tests are one class,
and the class that the most programs and the most tests agree on wins. The paper's experiments order classes by the
square root of the number of programs times the number of tests. A program's score here is the square of the share of
the tests that it passes, so that the sum over a class, its weight in a vote, gives the same order.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.verifiers.check import AssertCase, ProgramCheck, ProgramLimits
from espalier.verifiers.consensus import EquivalenceClass, classes_by_output
from espalier.verifiers.verdict import Evidence, Status, Verdict

DECIDED_BY = "generated_tests"

PER_TEXT = 5
"""Tests that one text may bring, as in the paper: a text that repeats itself does not outweigh the others."""

LIMITS = ProgramLimits(case_seconds=1.0, total_seconds=5.0)

MAX_TEXT = 20_000
"""Characters of a text that are searched for tests."""

MAX_ASSERTION = 1000
"""Characters of one test: Python's parser handles what nests so deep at most without harm."""

MAX_LINES = 20

_START = re.compile(r"^[ \t>]*(?=assert\b)", re.MULTILINE)
_DEFINED = re.compile(r"\bdef\s+(\w{1,100})\s*\(")


@dataclass(frozen=True, slots=True)
class GeneratedTests:
    """Distinct tests of one problem, each an assert statement, and how often each was written."""

    sources: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, texts: Iterable[str], problem: str = "", *, per_text: int = PER_TEXT) -> GeneratedTests:
        """The tests in what a model wrote, in the order in which they come.

        Args:
            texts: Responses to the request to write tests.
            problem: The problem's text. Where it defines functions, a test has to call one of them.
            per_text: Tests of each text at most; those that it repeats count again.
        """
        functions = frozenset(_DEFINED.findall(problem))
        written: Counter[str] = Counter()
        for text in texts:
            for _, source in zip(range(per_text), assertions(text, functions), strict=False):
                written[source] += 1
        return cls(tuple(written), tuple(written.values()))

    @property
    def check(self) -> ProgramCheck:
        """Runs them all: what passes is read by :meth:`passed`."""
        cases = tuple(map(AssertCase, self.sources))
        return ProgramCheck(cases, together=True, stop_at_first_failure=False, limits=LIMITS)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def passed(self, verdict: Verdict) -> frozenset[int]:
        """Which tests a program passed, from the verdict of the check on it."""
        return frozenset(number for number, record in case_records(verdict).items() if record["passed"])

    def share(self, passed: frozenset[int]) -> float:
        """The share of the tests that were passed, each as often as it was written; 0 where there are none."""
        total = sum(self.counts)
        return sum(self.counts[index] for index in passed) / total if total else 0.0

    def evidence(self, verdict: Verdict) -> Verdict:
        """What the outcome of the check is worth: UNKNOWN with a score, and ERROR where the check could not be made."""
        if verdict.status is Status.ERROR:
            return verdict
        passed = self.passed(verdict)
        share = self.share(passed)
        told = Evidence(DECIDED_BY, f"passes {len(passed)} of {len(self.sources)} tests that the model wrote")
        failed = (source for index, source in enumerate(self.sources) if index not in passed)
        shown = tuple(Evidence("fails", source) for _, source in zip(range(3), failed, strict=False))
        return Verdict(Status.UNKNOWN, share**2, DECIDED_BY, (told, *shown))

    def agreement(self, passed: Sequence[frozenset[int]], programs: Sequence[str]) -> tuple[EquivalenceClass, ...]:
        """Classes of programs that pass the same tests, the one with the most agreement first.

        Args:
            passed: Which tests each program passes.
            programs: Their sources.
        """
        return classes_by_output(passed, programs, [self.share(tests) ** 2 for tests in passed])


NO_TESTS = Verdict(
    Status.UNKNOWN, 0.0, DECIDED_BY, (Evidence(DECIDED_BY, "the model wrote no test that could be read"),)
)


def case_records(verdict: Verdict) -> dict[int, dict[str, Any]]:
    """What a verdict on a program says of each case that was run, by its place in the check from 0."""
    found = {}
    for evidence in verdict.evidence:
        kind, _, number = evidence.rule.partition(" ")
        if kind == "case":
            found[int(number) - 1] = json.loads(evidence.detail)
    return found


def assertions(text: str, functions: frozenset[str] = frozenset()) -> Iterator[str]:
    """The assert statements of a text that exercise something, in one spelling, without their messages.

    The text is parsed and never run. One that calls none of the functions, or none at all but builtins where no
    functions are given, says nothing about a program and is left out.
    """
    text = text[:MAX_TEXT]
    for start in _START.finditer(text):
        lines = text[start.end() : start.end() + MAX_ASSERTION].split("\n")
        for end in range(1, min(len(lines), MAX_LINES) + 1):
            found = _assertion("\n".join(lines[:end]))
            if found is not None:
                source, called = found
                if called & functions if functions else called - vars(builtins).keys():
                    yield source
                break


def _assertion(text: str) -> tuple[str, set[str]] | None:
    """The one assert statement that a text is, without its message, and the names of the functions that it calls."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that a model has not thought through
            (statement,) = ast.parse(text.strip().removesuffix("```")).body
        if not isinstance(statement, ast.Assert):
            return None
        statement.msg = None
        calls = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
        source = ast.unparse(statement)
        compile(source, "<test>", "exec", dont_inherit=True)  # "await" and "yield" have no place in a test
        return source, {function.id for function in calls if isinstance(function, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
