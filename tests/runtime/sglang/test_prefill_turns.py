"""Prefills wait for company while many rows decode: fewer passes, the same responses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from espalier.runtime.sglang.plugin.prefill_turns import ROWS, SHARE, VARIABLE, PrefillTurns
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Shape
from tests.runtime.sglang.requests import CHECKED, IDS, cases, check, generate
from tests.runtime.sglang.scripts import follow_scripts
from tests.runtime.sglang.server import Server

COUNTED = "TEST_COUNTED"
MANY = ROWS * 2


def test_few_wait_for_company_behind_many_and_no_longer_than_they_are_told():
    turns = PrefillTurns(3)
    assert [turns.wait(MANY, 1) for _ in range(8)] == [True, True, True, False] * 2


@pytest.mark.parametrize(
    ("decoding", "waiting"), [(ROWS - 1, 1), (MANY, 0), (MANY, MANY // SHARE)], ids=["few rows", "nobody", "company"]
)
def test_nobody_waits_where_it_saves_nothing(decoding, waiting):
    turns = PrefillTurns(3)
    assert not turns.wait(decoding, waiting)


def test_a_server_that_does_not_say_so_lets_nobody_wait():
    assert not PrefillTurns.of({}).wait(MANY, 1)
    assert PrefillTurns.of({VARIABLE: "1"}).wait(MANY, 1)
    with pytest.raises(ValueError, match=f"{VARIABLE} is a number of decode steps, not 'often'"):
        PrefillTurns.of({VARIABLE: "often"})


def counting() -> None:
    """In the server: follow scripts, and write down which passes are prefills."""
    from sglang.srt.managers.scheduler import Scheduler

    follow_scripts()
    run_batch = Scheduler.run_batch

    def counted(scheduler, batch, *rest, **more):
        with Path(os.environ[COUNTED]).open("a") as file:
            print("prefill" if batch.forward_mode.is_extend() else "decode", file=file)
        return run_batch(scheduler, batch, *rest, **more)

    Scheduler.run_batch = counted


def test_fewer_passes_give_what_the_dense_pass_gives(model, tmp_path):
    requests = cases(21, 20, Shape(blocks=(1, 1), plans=(4, 4), text=(2, 20), nesting=0))
    module, passes = tiny_qwen3(0), {}
    for told in ("0", "4"):
        counted = tmp_path / told
        environment = IDS | CHECKED | {VARIABLE: told, COUNTED: str(counted)}
        answers = Server(model, {"max_running_requests": 96}, environment, counting).run(
            lambda engine: generate(engine, requests)
        )
        assert sum(check(module, case, answer) for case, answer in zip(requests, answers, strict=True)) > 1000
        passes[told] = counted.read_text().split()
    prefills, together = (passes[told].count("prefill") for told in ("0", "4"))
    assert together < prefills
