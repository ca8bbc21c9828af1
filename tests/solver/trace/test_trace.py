"""Traces: all of a solve is written as it happens, and reads back as a tree."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from rich.console import Console

from espalier.runtime.engine import EngineInfo, GenerateRequest
from espalier.solver.core.events import fan_out
from espalier.solver.core.journal import Entry
from espalier.solver.core.json_form import to_json
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK, Greedy
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result
from espalier.solver.core.verification import Verification
from espalier.solver.trace.reader import TraceError, read_trace, tree
from espalier.solver.trace.writer import TraceWriter
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.check import ReferenceCheck
from tests.solver.scripted import FAIL, PASS, ScriptedEngine, ScriptedJudge, boxed, response

PROBLEM = Problem("p", "What is 6 times 7?", ReferenceCheck("42"))


async def traced(path: Path) -> tuple[Result, ScriptedEngine]:
    engine = ScriptedEngine.of(
        response("try " + boxed("41"), "other", answer=boxed("40")), boxed("39"), response("so " + boxed("42"), "late")
    )
    solver = Solver(engine, ScriptedJudge({"42": PASS, "41": FAIL, "40": FAIL, "39": FAIL}))
    with TraceWriter(path) as trace:
        result = await solver.solve(PROBLEM, Adaptive(), Budget(candidates=4), observer=fan_out(trace.observer("p")))
    return result, engine


async def test_a_trace_holds_prompts_branches_token_ids_times_verdicts_and_the_decision(tmp_path: Path) -> None:
    result, engine = await traced(tmp_path / "t.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert {line["solve_id"] for line in lines} == {"p"}
    prompts = [tuple(line["candidate_started"]["prompt"]) for line in lines if "candidate_started" in line]
    assert prompts == [request.prompt for request in engine.requests]
    tokens = sum(len(line["delta"]["token_ids"]) for line in lines if "delta" in line)
    assert tokens == result.spent.total.new_tokens
    assert all(line["branch_opened"]["plan_tokens"] for line in lines if "branch_opened" in line)
    judgements = [line["answer_judged"] for line in lines if "answer_judged" in line]
    judged = {one["answer"]: one["verdict"]["status"] for one in judgements}
    assert judged == {"41": "STATUS_FAIL", "40": "STATUS_FAIL", "39": "STATUS_FAIL", "42": "STATUS_PASS"}
    assert lines[-1]["solved"]["answer"] == "42"


async def test_a_trace_shows_which_steps_share_their_candidates_vote(tmp_path: Path) -> None:
    engine = ScriptedEngine.of(
        response(boxed("41"), boxed("42"), boxed("42"), answer=boxed("41")), response(boxed("7"), answer=boxed("40"))
    )
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        result = await Solver(engine, ScriptedJudge()).solve(
            Problem("p", "What is it?"), BestOfK(), Budget(candidates=2), observer=fan_out(trace.observer("p"))
        )
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    finished = [line["candidate_finished"]["candidate"] for line in lines if "candidate_finished" in line]
    by_index = {one["spec"]["index"]: one for one in finished}
    first = by_index[0]
    classes = [found.get("answer_class") for found in first["branch_answers"]]
    assert classes[0] == first["answer_class"]
    assert classes[1] == classes[2] not in (None, first["answer_class"])
    assert lines[-1]["solved"]["candidates"] == [by_index[0], by_index[1]]
    (solve,) = read_trace((tmp_path / "t.jsonl").read_text().splitlines(), "t")
    with (tmp_path / "out").open("w") as out:
        console = Console(width=200, record=True, file=out)
        console.print(tree(solve))
    shown = console.export_text()
    shares = [shown.count(f"shares the vote: {answer}") for answer in ("41", "42", "7")]
    assert shares == [1, 2, 0], "the other candidate may have worked out a part"
    assert result.selection.answer == "40", "1 of 2 votes, and half of one for each other answer"


async def test_every_line_of_a_trace_is_an_event_of_the_contract(tmp_path: Path) -> None:
    await traced(tmp_path / "t.jsonl")
    for line in (tmp_path / "t.jsonl").read_text().splitlines():
        event = ParseDict(json.loads(line), pb.SolveEvent())
        assert to_json(event) == json.loads(line)


async def test_a_trace_is_shown_as_a_tree(tmp_path: Path) -> None:
    await traced(tmp_path / "t.jsonl")
    (solve,) = read_trace((tmp_path / "t.jsonl").read_text().splitlines(), "t")
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    console.print(tree(solve))
    shown = console.export_text()
    for expected in ("What is 6 times 7?", "candidate 0", "step 1", "✗ 41", "✓ 42", "verified: 42", "critical path"):
        assert expected in shown


async def test_a_re_join_is_shown_as_one(tmp_path: Path) -> None:
    def script(request: GenerateRequest, _: int) -> str:
        return response("a", "b", answer=boxed("41")) if request.given is None else f"hm</takeaway>{boxed('42')}"

    engine = ScriptedEngine(script, info=EngineInfo("scripted", 1 << 20, parallel=True, rejoins=True))
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await Solver(engine, ScriptedJudge({"42": PASS, "41": FAIL})).solve(
            PROBLEM, Greedy(), Budget(candidates=1, rejoins=1), observer=fan_out(trace.observer("p"))
        )
    (solve,) = read_trace((tmp_path / "t.jsonl").read_text().splitlines(), "t")
    console = Console(width=200, record=True, file=(tmp_path / "out").open("w"))
    console.print(tree(solve))
    shown = console.export_text()
    assert "candidate 1, joins candidate 0 again" in shown
    assert "✓ 42" in shown


async def test_candidates_that_an_earlier_delivery_kept_are_shown_with_their_texts(tmp_path: Path) -> None:
    result, _ = await traced(tmp_path / "first.jsonl")
    entries = [Entry(judged.candidate) for judged in result.judged[:2]]
    entries[0] = Entry(entries[0].candidate, result.judged[0].verdict)
    engine, judge = ScriptedEngine.of(boxed("42")), ScriptedJudge({"42": PASS, "41": FAIL, "40": FAIL, "39": FAIL})
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await Solver(engine, judge).solve(
            PROBLEM, Adaptive(), Budget(candidates=4), observer=trace.observer("p"), entries=entries
        )
    (solve,) = read_trace((tmp_path / "t.jsonl").read_text().splitlines(), "t")
    assert [(index, kept.kept) for index, kept in sorted(solve.candidates.items())][:3] == [
        (0, True),
        (1, True),
        (2, False),
    ]
    with (tmp_path / "out").open("w") as out:
        console = Console(width=200, record=True, file=out)
        console.print(tree(solve))
    shown = console.export_text()
    assert shown.count("kept from an earlier delivery") == 2
    for expected in ("✗ 40", "✗ 39", "✓ 42", "verified: 42"):
        assert expected in shown


async def test_generated_tests_are_shown_with_their_cost(tmp_path: Path) -> None:
    engine = ScriptedEngine.of("assert f(1) == 1\nassert f(2) == 4\nassert f(1) == 1")
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await Solver(engine, ScriptedJudge()).solve(
            Problem("p", "Write f."),
            Greedy(),
            observer=trace.observer("p"),
            verification=Verification(generated_tests=5),
        )
    (solve,) = read_trace((tmp_path / "t.jsonl").read_text().splitlines(), "t")
    with (tmp_path / "out").open("w") as out:
        console = Console(width=200, record=True, file=out)
        console.print(tree(solve))
    shown = console.export_text()
    assert "2 generated tests  51 tokens" in shown
    assert "assert f(1) == 1  written 2 times" in shown


async def test_stated_examples_are_shown(tmp_path: Path) -> None:
    problem = Problem("p", "Write a Python function f(x).\nf(1) == 2\nf(2) == 4")
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await Solver(ScriptedEngine.of("?"), ScriptedJudge()).solve(problem, Greedy(), observer=trace.observer("p"))
    (solve,) = read_trace((tmp_path / "t.jsonl").read_text().splitlines(), "t")
    with (tmp_path / "out").open("w") as out:
        console = Console(width=200, record=True, file=out)
        console.print(tree(solve))
    shown = console.export_text()
    assert "2 stated examples" in shown
    assert "f(2) == 4" in shown


async def test_a_trace_that_breaks_off_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    await traced(tmp_path / "t.jsonl")
    text = (tmp_path / "t.jsonl").read_text()
    (solve,) = read_trace(text[: len(text) // 2].splitlines(), "t")
    assert solve.result is None


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"solve_id": "p", "delta": {}}'])
async def test_what_is_no_trace_is_named_with_its_line(line: str, tmp_path: Path) -> None:
    await traced(tmp_path / "t.jsonl")
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    with pytest.raises(TraceError, match="t:2: "):
        read_trace([lines[0], line, *lines[1:]], "t")
    with pytest.raises(TraceError, match="t is empty"):
        read_trace([], "t")


async def test_a_trace_of_an_older_version_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"old\.jsonl:1: an older version of Espalier wrote this trace"):
        read_trace(['{"at": 0, "problem": "p", "event": "accepted"}', '{"at": 1}'], "old.jsonl")


async def test_a_full_disk_ends_the_trace_but_not_the_solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TraceWriter(tmp_path / "t.jsonl")

    def full(_: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trace, "_file", type("Full", (), {"write": staticmethod(full), "close": lambda _: None})())
    with trace:
        result = await Solver(ScriptedEngine.of(boxed("42")), ScriptedJudge({"42": PASS})).solve(
            PROBLEM, Adaptive(), observer=trace.observer("p")
        )
    assert result.selection.verified
    assert "No space left" in trace.fault
