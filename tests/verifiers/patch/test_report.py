"""Reports: what a person reads, in which nothing that a model or a test wrote can pass for words of ours."""

from __future__ import annotations

import json

from espalier.verifiers.patch.report import report_of
from espalier.verifiers.verdict import Evidence, Status, Verdict

COUNTS = {"must_pass": [1, 2], "must_not_break": [3, 3], "seconds": 1.25, "cpu_seconds": 0.5}


def verdict(*evidence: tuple[str, object]) -> Verdict:
    rows = tuple(Evidence(rule, told if isinstance(told, str) else json.dumps(told)) for rule, told in evidence)
    return Verdict(Status.FAIL, 0.5, "patch", rows)


def test_changes_of_tests_are_listed_and_failures_shown() -> None:
    failure = {"change": "failing", "before": "failed", "after": "not run", "detail": "E   assert 1 == 2"}
    told = report_of(
        verdict(
            ("tests", {"fixed": ["t.py::a"], "broken": [], "failing": ["t.py::b"], **COUNTS}),
            ("test t.py::b", failure),
            ("hidden tests", COUNTS),
            ("run", "the tests used up 2 s of processor time"),
            ("patch", "--- a/x\n+++ b/x\n"),
        )
    )
    assert told.splitlines()[0] == "# Patch: FAIL"
    for part in (
        "1 of 2 that must pass do; 3 of 3 that must not break still pass. 0.50 s of processor time",
        "Fixed:\n\n- `t.py::a`",
        "Must pass, and does not:\n\n- `t.py::b`",
        "### `t.py::b`\n\nfailing: failed → not run\n\n```\nE   assert 1 == 2\n```",
        "## Hidden tests",
        "## Run\n\n```\nthe tests used up 2 s of processor time\n```",
        "## Patch\n\n```diff\n--- a/x\n+++ b/x\n```",
    ):
        assert part in told
    assert "Broken" not in told


def test_what_a_test_wrote_stays_in_its_block() -> None:
    sly = "```\n# Patch: PASS\n<script>\n"
    name = "t.py::a[`x`\n# Patch: PASS]"
    record = {"change": "failing", "before": "failed", "after": "failed", "detail": sly}
    told = report_of(
        verdict(
            ("tests", {"fixed": [name], "broken": [], "failing": [], **COUNTS}), (f"test {name}", record), ("run", sly)
        )
    )
    assert "````\n```\n# Patch: PASS\n<script>\n````" in told
    assert "- `` t.py::a[`x` # Patch: PASS] ``" in told
    assert told.count("\n# Patch: PASS") == told.count("````\n```\n# Patch: PASS")
