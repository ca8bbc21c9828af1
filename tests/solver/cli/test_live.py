"""What people see of a solve."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from espalier.solver.cli.live import LiveView, plain_lines, view
from espalier.solver.core.events import SolveEvent, fan_out
from espalier.solver.core.json_form import to_json
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import BestOfK
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import encode_result
from espalier.solver.core.report import usage_line, verdict_line
from espalier.solver.core.result import Result
from espalier.solver.trace.reader import read_trace, tree
from espalier.solver.trace.writer import TraceWriter
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.verdict import Evidence
from tests.solver.scripted import FAIL, PASS, ScriptedEngine, ScriptedJudge, boxed, response

PROBLEM = Problem("p", "What is 6 times 7?", ReferenceCheck("42"))


async def solved(*watches: object) -> tuple[Result, list[SolveEvent]]:
    events: list[SolveEvent] = []
    engine = ScriptedEngine.of(response("bad [bold]markup[/] " + boxed("41"), "x" * 300, answer=boxed("42")))
    solver = Solver(engine, ScriptedJudge({"42": PASS, "41": FAIL}))
    result = await solver.solve(
        PROBLEM,
        BestOfK(),
        Budget(candidates=2),
        observer=fan_out(events.append, *watches),  # type: ignore[arg-type]
    )
    return result, events


def drawn(live: LiveView, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(live)
    return console.export_text()


async def test_the_view_shows_open_branches_then_the_outcome() -> None:
    _, events = await solved()
    live, views = LiveView(height=40), []
    for event in events:
        live.observe(event)
        views.append(drawn(live))
    middle = next(text for text in views if "✗" in text)
    assert "plan 1" in middle
    assert "[bold]markup[/]" in middle
    assert "✓ 42" in views[-1]
    assert max(len(line) for text in views for line in text.splitlines()) <= 100


async def test_the_view_never_outgrows_the_screen() -> None:
    _, events = await solved()
    live = LiveView(height=3)
    for event in events:
        live.observe(event)
        assert len(drawn(live).splitlines()) <= 3


async def test_what_a_model_writes_cannot_steer_the_terminal(tmp_path: Path) -> None:
    steer = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
    engine = ScriptedEngine.of(response(f"{steer} " + boxed("41"), answer=boxed(f"42{steer}")))
    solver = Solver(engine, ScriptedJudge())
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    live = LiveView(height=40)
    views: list[str] = []
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await solver.solve(
            replace(PROBLEM, text=f"What is {steer}?"),
            BestOfK(),
            Budget(candidates=1),
            observer=fan_out(
                plain_lines(console), live.observe, lambda _: views.append(drawn(live)), trace.observer("p")
            ),
        )
    shown = Console(width=100, file=io.StringIO(), record=True)
    with (tmp_path / "t.jsonl").open(encoding="utf-8") as lines:
        for solve in read_trace(lines, "t"):
            shown.print(tree(solve, full=True))
    for text in (console.file.getvalue(), "".join(views), shown.export_text()):  # type: ignore[attr-defined]
        assert "owned" in text
        assert not set(text) & set("\x1b\x07\x9b\u202e")


async def test_without_a_terminal_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=40)
    with view(console) as watch:
        await solved(watch)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for line in (
        "candidate 0: started at temperature 1",
        "candidate 0: branch 1 opens: 1: plan 1",
        "candidate 0: branch 1 answers 41: fail",
        "candidate 0: the response answers 42: pass",
        "round 0: solve stops: passed",
    ):
        assert line in text.splitlines()
    assert "\x1b" not in text


async def test_plain_lines_are_not_wrapped_or_read_as_markup() -> None:
    console = Console(file=io.StringIO(), width=20)
    _, events = await solved()
    watch = plain_lines(console)
    for event in events:
        watch(event)
    assert isinstance(console.file, io.StringIO)
    assert "candidate 0: branch 1 answers 41: fail" in console.file.getvalue().splitlines()


async def test_the_report_says_how_it_was_verified_and_what_it_cost() -> None:
    result, _ = await solved()
    assert verdict_line(result) == "verified: satisfied the check (scripted)"
    line = usage_line(result)
    total = result.spent.total
    assert line.startswith(f"2 candidates · {total.new_tokens} tokens (")
    assert f"parallel speed-up {total.new_tokens / result.spent.critical_path_tokens:.1f}x" in line
    report = to_json(encode_result("s", result))
    fates = [report["spent"][fate] for fate in ("accepted", "failed", "aborted")]
    used = [candidate["usage"] for candidate in report["candidates"]]
    for usages in (fates, used):
        assert sum(usage["sampled_tokens"] + usage["forced_tokens"] for usage in usages) == total.new_tokens


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (["a"], ": a"),
        (["a", "b"], ": a; b"),
        (["a"] * 16, ": 16 cases"),
        (["x" * 500], ": " + "x" * 199 + "…"),
        ([], ""),
    ],
)
async def test_what_a_verdict_rests_on_fits_a_line(details: list[str], said: str) -> None:
    evidence = (Evidence("extraction", "'42'"), *(Evidence(f"case {i}", text) for i, text in enumerate(details)))
    judge = ScriptedJudge({"42": replace(PASS, evidence=evidence)})
    result = await Solver(ScriptedEngine.of(boxed("42")), judge).solve(PROBLEM, BestOfK())
    assert verdict_line(result) == "verified: satisfied the check (scripted)" + said
