"""Short memory makes requests wait, take turns and move to the host, but changes no token and leaks nothing."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.budget import FULL
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Shape
from tests.runtime.sglang.memory import memory_when_idle, watch_memory
from tests.runtime.sglang.requests import CHECKED, IDS, TWO_RANKS, VOCABULARY, cases, check, generate
from tests.runtime.sglang.scripts import follow_scripts, length
from tests.runtime.sglang.server import Server

SCHEDULES = 500 if FULL else 150
SMALL = Shape(blocks=(1, 1), plans=(1, 2), text=(0, 1), nesting=0.1)


def retract_often() -> None:
    import sglang.srt.managers.scheduler as scheduler

    follow_scripts()
    scheduler.TEST_RETRACT = True
    scheduler.TEST_RETRACT_INTERVAL = 4


@pytest.mark.parametrize("flags", [{}, {"disable_overlap_schedule": True}], ids=["overlap", "no overlap"])
def test_retraction_changes_nothing(model, tmp_path, flags):
    requests = cases(10, 30 if FULL else 16)
    path = tmp_path / "memory"

    def job(engine):
        answers = generate(engine, requests)
        engine.flush_cache()
        return answers, memory_when_idle(path)

    answers, memory = Server(model, flags, IDS | CHECKED, watch_memory(path, retract_often)).run(job)
    module = tiny_qwen3(0)
    for case, answer in zip(requests, answers, strict=True):
        check(module, case, answer)
    assert memory.retracted > len(requests)
    assert memory.saved > len(requests) // 4
    assert memory.clean, memory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "environment", "count"),
    [({}, {}, 24 if FULL else 14), (*TWO_RANKS, 12 if FULL else 8)],
    ids=["one rank", "two ranks"],
)
def test_branches_take_turns_when_the_pool_is_small(model, tmp_path, flags, environment, count):
    """On two ranks of tensor parallelism also that both decide alike: they would hang otherwise."""
    requests = cases(11, count)
    path = tmp_path / "memory"
    largest = max(len(case.prompt) + length(case.script, VOCABULARY) for case in requests)

    def job(engine):
        answers = generate(engine, requests)
        engine.flush_cache()
        return answers, memory_when_idle(path)

    small = flags | {"max_total_tokens": largest + 8, "max_running_requests": 6}
    server = Server(model, small, IDS | CHECKED | environment, watch_memory(path, follow_scripts))
    answers, memory = server.run(job)
    module = tiny_qwen3(0)
    for case, answer in zip(requests, answers, strict=True):
        check(module, case, answer)
    assert memory.saved > count // 4, memory
    assert memory.clean, memory


def test_urgent_requests_displace_branches_and_change_nothing(model, tmp_path):
    requests = cases(13, 16)
    path = tmp_path / "memory"

    def job(engine):
        async def one(number, case):
            await asyncio.sleep(number * 0.05)
            return await engine.async_generate(
                input_ids=case.prompt, sampling_params=case.params(), return_logprob=True, priority=number
            )

        async def every():
            made = asyncio.gather(*(one(*item) for item in enumerate(requests)))
            return await asyncio.wait_for(made, 200)

        answers = engine.loop.run_until_complete(every())
        engine.flush_cache()
        return answers, memory_when_idle(path)

    flags = {"enable_priority_scheduling": True, "priority_scheduling_preemption_threshold": 1}
    flags |= {"max_running_requests": 3}
    answers, memory = Server(model, flags, IDS | CHECKED, watch_memory(path, follow_scripts)).run(job)
    module = tiny_qwen3(0)
    for case, answer in zip(requests, answers, strict=True):
        check(module, case, answer)
    assert memory.retracted > 5
    assert memory.clean, memory


@pytest.mark.slow
def test_no_random_schedule_jams(model, tmp_path):
    """Schedules of two or three requests arrive at random moments, fifty at a time; the pool hardly holds two."""
    rng = random.Random(12)
    schedules = [cases(1000 + number, rng.randint(2, 3), SMALL) for number in range(SCHEDULES)]
    largest = max(len(case.prompt) + length(case.script, VOCABULARY) for made in schedules for case in made)
    path = tmp_path / "memory"

    def job(engine):
        async def one(case, delay):
            await asyncio.sleep(delay)
            return await engine.async_generate(
                input_ids=case.prompt, sampling_params=case.params(), return_logprob=True
            )

        async def every():
            answers = []
            for first in range(0, len(schedules), 50):
                wave = [case for schedule in schedules[first : first + 50] for case in schedule]
                made = asyncio.gather(*(one(case, rng.random()) for case in wave))
                answers += zip(wave, await asyncio.wait_for(made, 100), strict=True)
            return answers

        answers = engine.loop.run_until_complete(every())
        engine.flush_cache()
        return answers, memory_when_idle(path)

    flags = {"max_total_tokens": largest * 3 // 2, "max_running_requests": 24, "schedule_conservativeness": 0.01}
    answers, memory = Server(model, flags, IDS | CHECKED, watch_memory(path, follow_scripts)).run(job)
    module = tiny_qwen3(0)
    for number, (case, answer) in enumerate(answers):
        assert answer["meta_info"]["npr"][0]["reason"] == "stop"
        assert len(answer["output_ids"]) == length(case.script, VOCABULARY)
        if number % 25 == 0:
            check(module, case, answer)
    assert memory.retracted + memory.saved > SCHEDULES // 25, memory
    assert memory.clean, memory
