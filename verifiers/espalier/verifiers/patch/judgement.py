"""From what runs of the tests came to, without and with a patch, to a verdict. Pure: nothing runs here."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.verifiers.check import PatchCheck
from espalier.verifiers.patch.changes import Change, diff_of
from espalier.verifiers.patch.run import CaseOutcome, TestRun
from espalier.verifiers.paths import file_of, is_among, names
from espalier.verifiers.verdict import Evidence, Status, Verdict

MAX_DIFF = 64 << 10
"""Characters of a diff that evidence keeps."""

MAX_NAMED = 200
"""Tests of one kind that evidence names."""

MAX_KEPT = 20
"""Failing tests of which evidence keeps what pytest says."""

MAX_SHOWN = 3
"""Failing tests of which feedback shows it."""

SHOWN = 1500
"""Characters of that."""

AGAIN = "Give the whole patch again, against the original files."


@dataclass(frozen=True, slots=True)
class Part:
    """The tests of one run: those that can be told of, or the hidden ones.

    Attributes:
        overlay: Path and text of files that are laid over the repository.
        must_pass: Names of tests.
        must_not_break: Names of tests; None: all that run.
        select: Which tests run; None: all that the command finds.
        hidden: Nothing of the tests may be told.
    """

    overlay: tuple[tuple[str, str], ...]
    must_pass: tuple[str, ...]
    must_not_break: tuple[str, ...] | None
    select: tuple[str, ...] | None
    hidden: bool = False


def parts_of(check: PatchCheck) -> tuple[Part, ...]:
    """The runs of a check, hidden tests last. What a patch has seen of them it can say in no test that is told of."""
    hidden_paths = tuple(path for path, _ in check.hidden_files)

    def some(tests: Iterable[str], *, hidden: bool) -> tuple[str, ...]:
        return tuple(test for test in tests if is_among(file_of(test), hidden_paths) is hidden)

    parts = []
    for hidden in (False, True):
        must_pass, keep = some(check.must_pass, hidden=hidden), some(check.must_not_break, hidden=hidden)
        if check.must_not_break:
            part = Part(check.files, must_pass, keep, (*must_pass, *keep))
        else:
            part = Part(check.files, must_pass, None, None)
        if hidden:
            modules = tuple(path for path in hidden_paths if path.endswith(".py"))
            select = modules if part.select is None else part.select
            part = Part((*check.files, *check.hidden_files), must_pass, part.must_not_break, select, hidden=True)
        if part.select != ():
            parts.append(part)
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the tests come to without a patch, and so what is expected of one.

    Attributes:
        run: The run without a patch.
        must: What must pass: node ids, or names of tests that cannot be collected without a patch.
        keep: Node ids that pass without a patch, and must with one.
    """

    run: TestRun
    must: tuple[str, ...]
    keep: tuple[str, ...]

    @classmethod
    def of(cls, part: Part, run: TestRun, texts: Mapping[str, str]) -> Baseline:
        """
        Args:
            part: What runs.
            run: Without a patch.
            texts: Of test modules that could not be collected in it, by path.
        """
        known = [*run.outcomes, *(f"{path}::{name}" for path, text in texts.items() for name in written_tests(text))]
        named = {name: [test for test in known if names(name, test)] for name in part.must_pass}
        must = tuple(dict.fromkeys(test for name, tests in named.items() for test in (tests or [name])))
        keep = tuple(
            test
            for test, outcome in run.outcomes.items()
            if outcome.passed
            and test not in must
            and (part.must_not_break is None or any(names(name, test) for name in part.must_not_break))
        )
        return cls(run, must, keep)


def written_tests(module: str) -> list[str]:
    """Tests that pytest finds in a module as it is written: undecorated functions, and methods of plain classes."""
    found = []
    for node in _parsed(module):
        match node:
            case ast.FunctionDef(name=name, decorator_list=[]) if name.startswith("test"):
                found.append(name)
            case ast.ClassDef(name=name, bases=[], keywords=[], decorator_list=[]) if name.startswith("Test"):
                methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
                tests = [one.name for one in methods if one.name.startswith("test") and not one.decorator_list]
                if not any(one.name in ("__init__", "__new__") for one in methods):
                    found += [f"{name}::{test}" for test in tests]
    return found


def _parsed(module: str) -> list[ast.stmt]:
    try:
        return ast.parse(module).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


@dataclass(frozen=True, slots=True)
class TestChange:
    """What a patch did to one test.

    Attributes:
        test: Its node id.
        before: What it came to without the patch: "passed", "failed", "skipped" or "not run".
        after: Likewise, with it.
        detail: What pytest says of its failure.
    """

    test: str
    before: str
    after: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What a patch did to the tests of one part.

    Attributes:
        hidden: Nothing of the tests may be told.
        fixed: Tests that did not pass and do now.
        broken: Tests that passed, must not break, and do not pass now.
        failing: Tests that must pass, and do not.
        must: How many must pass.
        keep: How many must not break.
        unread: What cannot be collected now and could before, with the reason.
        tampering: What the patch does to pytest.
        run: The run with the patch.
    """

    hidden: bool
    fixed: tuple[TestChange, ...]
    broken: tuple[TestChange, ...]
    failing: tuple[TestChange, ...]
    must: int
    keep: int
    unread: Mapping[str, str]
    tampering: tuple[str, ...]
    run: TestRun

    @property
    def passed(self) -> bool:
        return not (self.broken or self.failing or self.tampering or self.run.fault)


def judge(part: Part, baseline: Baseline, after: TestRun) -> PartResult:
    """What a patch did to the tests of a part. A test that did not run has not passed."""
    before = baseline.run
    fixed = [
        _change(test, before, after)
        for test, outcome in after.outcomes.items()
        if outcome.passed and not (test in before.outcomes and before.outcomes[test].passed)
    ]
    ran = {name: [test for test in after.outcomes if names(name, test)] for name in baseline.must}
    must = dict.fromkeys(test for name, tests in ran.items() for test in (tests or [name]))
    failing = [_change(test, before, after) for test in must if not _passed(test, after)]
    broken = [_change(test, before, after) for test in baseline.keep if not _passed(test, after)]
    unread = {path: detail for path, detail in after.unread.items() if path not in before.unread}
    tampering = tuple(sorted(after.tampering - before.tampering))
    counts = len(must), len(baseline.keep)
    return PartResult(part.hidden, tuple(fixed), tuple(broken), tuple(failing), *counts, unread, tampering, after)


def _passed(test: str, run: TestRun) -> bool:
    return test in run.outcomes and run.outcomes[test].passed


def _change(test: str, before: TestRun, after: TestRun) -> TestChange:
    absent = CaseOutcome("not run")
    now = after.outcomes.get(test, absent)
    return TestChange(test, before.outcomes.get(test, absent).status, now.status, now.detail)


def refused(problem: str) -> Verdict:
    """The verdict on a patch that is not applied."""
    feedback = f"The patch was not applied: {problem}.\n\n{AGAIN}"
    return Verdict(Status.FAIL, 0.0, "patch", (Evidence("refused", problem),), feedback)


def verdict_of(changes: Mapping[str, Change], results: Sequence[PartResult]) -> Verdict:
    """The verdict on a patch whose tests have run, part by part until one did not pass."""
    evidence = [item for result in results for item in _told(result)]
    evidence.append(Evidence("patch", _cut(diff_of(changes), MAX_DIFF)))
    if all(result.passed for result in results):
        return Verdict(Status.PASS, 1.0, "patch", tuple(evidence))
    return Verdict(Status.FAIL, _score(results), "patch", tuple(evidence), _feedback(results[-1]))


def _score(results: Sequence[PartResult]) -> float:
    """The share of tests that must pass and do, times the share of those that are not broken; 0 for a run that is not
    to be believed."""
    failing = sum(len(result.failing) for result in results)
    broken = sum(len(result.broken) for result in results)
    if any(result.tampering for result in results) or not (failing or broken):
        return 0.0
    must, keep = sum(result.must for result in results), sum(result.keep for result in results)
    return (1 - failing / max(must, 1)) * (1 - broken / max(keep, 1))


def _told(result: PartResult) -> Iterable[Evidence]:
    """What can be told of the tests of one part."""
    counts: dict[str, Any] = {
        "must_pass": [result.must - len(result.failing), result.must],
        "must_not_break": [result.keep - len(result.broken), result.keep],
        "seconds": round(result.run.seconds, 3),
        "cpu_seconds": round(result.run.cpu_seconds, 3),
    }
    if result.hidden:
        yield Evidence("hidden tests", json.dumps(counts))
        if result.tampering or result.run.fault:
            yield Evidence("run", "the run of the hidden tests is not complete, or not to be believed")
        return
    lists = {name: getattr(result, name) for name in ("fixed", "broken", "failing")}
    named = {name: [change.test for change in changes[:MAX_NAMED]] for name, changes in lists.items()}
    yield Evidence("tests", json.dumps({**named, **counts}, ensure_ascii=False))
    for kind in ("broken", "failing"):
        for change in lists[kind][:MAX_KEPT]:
            record = {"change": kind, "before": change.before, "after": change.after, "detail": change.detail}
            yield Evidence(f"test {change.test}", json.dumps(record, ensure_ascii=False))
    for path, detail in list(result.unread.items())[:MAX_KEPT]:
        yield Evidence(f"collection {path}", detail)
    if result.tampering:
        yield Evidence("tampering", ", ".join(result.tampering))
    if result.run.fault:
        yield Evidence("run", result.run.fault)
        if result.run.printed:
            yield Evidence("printed", result.run.printed)


def _feedback(result: PartResult) -> str:
    """What a repair prompt needs of the part that did not pass."""
    if result.hidden:
        count = len(result.failing) + len(result.broken)
        fails = (
            f"{count} hidden {'test fails' if count == 1 else 'tests fail'}"
            if count
            else "The hidden tests do not end well"
        )
        return f"{fails}. Every other test passes.\n\n{AGAIN}"
    parts = []
    if result.tampering:
        parts.append(f"The patch changes how pytest works, which it must not: {', '.join(result.tampering)}.")
    if result.run.fault:
        parts.append(f"The run of the tests was not complete: {result.run.fault}.")
    if result.failing:
        parts.append(f"{len(result.failing)} of {result.must} tests that must pass do not.")
    if result.broken:
        parts.append(f"{len(result.broken)} tests that passed before the patch do not pass any more.")
    if result.unread:
        path, detail = next(iter(result.unread.items()))
        parts.append(f"{path} cannot be imported any more:\n{_cut(detail, SHOWN)}")
    changes = (*result.failing, *result.broken)
    for change in changes[:MAX_SHOWN]:
        said = f":\n{_cut(change.detail, SHOWN)}" if change.detail else ""
        parts.append(f"{change.test}: {change.after}{said}")
    if len(changes) > MAX_SHOWN:
        parts.append("Also: " + ", ".join(change.test for change in changes[MAX_SHOWN : MAX_SHOWN + 20]))
    return "\n\n".join([*parts, AGAIN])


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"
