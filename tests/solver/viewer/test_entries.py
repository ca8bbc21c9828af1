"""Entries hold all of a trace that a page shows, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.runtime.engine import EngineInfo, GenerateRequest
from espalier.solver.core.events import fan_out
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import BestOfK
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.solver.trace.reader import TraceError, path_of, read_trace
from espalier.solver.trace.writer import TraceWriter
from espalier.solver.viewer.entries import Recorded, recorded
from espalier.verifiers.verdict import Status, Verdict
from tests.solver.scripted import ScriptedEngine, ScriptedJudge, boxed, response
from tests.solver.viewer.tracing import traced

RESPONSES = (response("try " + boxed("41"), "other", answer=boxed("40")), boxed("39"))


async def solve(path: Path) -> Recorded:
    await traced(path, *RESPONSES)
    return read(path)


def read(path: Path) -> Recorded:
    (solve,) = recorded(path.read_text().splitlines(), "t")
    return solve


async def test_tokens_of_a_branch_become_one_entry_with_text_times_and_positions(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    entries = (await solve(file)).entries
    (whole,) = read_trace(file.read_text().splitlines(), "t")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    gathered = [(entry["seconds"], entry["deltas"]) for entry in entries if "deltas" in entry]
    tokens = {(deltas["candidate"], path_of(deltas)): (seconds, deltas) for seconds, deltas in gathered}
    for index, candidate in whole.candidates.items():
        for path, branch in candidate.branches.items():
            seconds, deltas = tokens.pop((index, path))
            own = [
                line
                for line in lines
                if "delta" in line and line["delta"]["candidate"] == index and path_of(line["delta"]) == path
            ]
            assert deltas["text"] == branch.text
            assert len(deltas["steps"]) == branch.sampled + branch.forced
            assert deltas["forced"] == branch.forced
            first, last = own[0]["delta"]["positions"], own[-1]["delta"]["positions"]
            assert list(deltas["positions"]) == [first[0], last[-1]]
            assert seconds + sum(deltas["steps"]) / 1000 == pytest.approx(own[-1]["seconds"], abs=0.001)
    assert not tokens


async def test_what_no_page_shows_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    small = json.dumps((await solve(file)).entries)
    assert '"token_ids": [' not in small
    assert '"plan_tokens": [' not in small
    assert '"prompt": [' not in small
    assert small.count("so \\\\boxed{39}") == 1
    assert len(small) < file.stat().st_size / 4


async def test_a_candidate_of_an_earlier_run_keeps_its_text(tmp_path: Path) -> None:
    await traced(tmp_path / "t.jsonl", *RESPONSES)
    lines = [
        line
        for line in (tmp_path / "t.jsonl").read_text().splitlines()
        if json.loads(line).keys() & {"accepted", "candidate_finished"}
    ]
    (solve,) = recorded(lines, "t")
    accepted, *finished = solve.entries
    assert accepted["accepted"]["problem"]["text"] == "What is 6 times 7?"
    candidates = [entry["candidate_finished"]["candidate"] for entry in finished]
    assert [one["text"] for one in sorted(candidates, key=lambda one: one["spec"]["index"])] == [*RESPONSES]


async def test_of_what_steps_state_a_page_is_told_what_may_share_a_vote(tmp_path: Path) -> None:
    engine = ScriptedEngine.of(
        response(f"{boxed('8')} {boxed('41')}", boxed("42"), answer=boxed("41")),
        response(boxed("7"), answer=boxed("40")),
    )
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await Solver(engine, ScriptedJudge()).solve(
            Problem("p", "What is it?"), BestOfK(), Budget(candidates=2), observer=fan_out(trace.observer("p"))
        )
    finished = [
        entry["candidate_finished"]["candidate"]
        for entry in read(tmp_path / "t.jsonl").entries
        if "candidate_finished" in entry
    ]
    told = {one["spec"]["index"]: {found["answer"] for found in one["branch_answers"]} for one in finished}
    assert told == {0: {"41", "42"}, 1: {"7"}}, "of a step what it states last"


async def test_a_page_is_told_what_each_answer_weighs_in_the_vote(tmp_path: Path) -> None:
    """Of a candidate that weighs nothing, one that shares its vote with a step, its re-join, and a comparison."""
    said = {
        "/0": response(boxed("5"), boxed("4"), answer=boxed("5")),
        "/1": boxed("6"),
        "/2": f"once more</takeaway>{boxed('7')}",
    }

    def script(request: GenerateRequest, _: int) -> str:
        return "A" if "/compare/" in request.request_id else said[request.request_id[-2:]]

    scores = {said["/0"]: Verdict(Status.UNKNOWN, 0.75, "x"), said["/1"]: Verdict(Status.UNKNOWN, 0.0, "x")}
    engine = ScriptedEngine(script, info=EngineInfo("scripted", 1 << 20, parallel=True, rejoins=True))
    with TraceWriter(tmp_path / "t.jsonl") as trace:
        await Solver(engine, ScriptedJudge(scores)).solve(
            Problem("p", "What is it?"),
            BestOfK(),
            Budget(candidates=2, rejoins=1, comparisons=1),
            observer=fan_out(trace.observer("p")),
        )
    answers: dict[str, str] = {}
    told: dict[str, float] = {}
    seen: list[dict[str, float]] = []
    for entry in read(tmp_path / "t.jsonl").entries:
        if "candidate_finished" in entry:
            one = entry["candidate_finished"]["candidate"]
            answers[str(one["answer_class"])] = one["answer"]
            answers |= {str(found["answer_class"]): found["answer"] for found in one["branch_answers"]}
        news = entry.get("candidate_finished") or entry.get("compared")
        if news is not None:
            told |= {answers[number]: weight for number, weight in news["votes"].items()}
            seen.append(dict(told))
    assert seen == [
        {},
        {"5": 0.5, "4": 0.25},
        {"5": 0.25, "4": 0.125, "7": 0.5},
        {"5": 0.75, "4": 0.125, "7": 1.0},
    ]


async def test_several_solves_of_one_trace_are_told_apart(tmp_path: Path) -> None:
    await traced(tmp_path / "a.jsonl", RESPONSES[0])
    await traced(tmp_path / "b.jsonl", RESPONSES[1])
    first, second = ((tmp_path / name).read_text().splitlines() for name in ("a.jsonl", "b.jsonl"))
    second = [line.replace('"solve_id": "p"', '"solve_id": "q"').replace('"id": "p"', '"id": "q"') for line in second]
    mixed = [line for pair in zip(first, second, strict=False) for line in pair] + first[len(second) :]
    assert [solve.id for solve in recorded(mixed, "t")] == ["p", "q"]
    assert recorded(mixed, "t")[0].entries == recorded(first, "t")[0].entries
    again = recorded([*first, *first], "t")
    assert [solve.entries for solve in again] == [recorded(first, "t")[0].entries] * 2


async def test_a_trace_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    await traced(tmp_path / "t.jsonl", *RESPONSES)
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    (solve,) = recorded([*lines[:40], lines[40][:30]], "t")
    shown = sum(len(entry["deltas"]["steps"]) for entry in solve.entries if "deltas" in entry)
    assert shown == sum('"delta": ' in line for line in lines[:40]) > 0


@pytest.mark.parametrize("broken", ["{", '{"seconds": 1}', '{"seconds": 1, "solve_id": "q", "joined": {}}', "[]", ""])
async def test_a_line_that_is_none_of_a_trace_is_named(tmp_path: Path, broken: str) -> None:
    await traced(tmp_path / "t.jsonl", *RESPONSES)
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    lines[2] = broken
    with pytest.raises(TraceError, match=r"^t:3: no line of a trace"):
        recorded(lines, "t")


def test_an_empty_trace_is_an_error() -> None:
    with pytest.raises(TraceError, match="t is empty"):
        recorded([], "t")
