"""A request that is given up, or fails, frees all it holds, whatever it is doing; other requests notice nothing."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from espalier.runtime.engine import FinishReason, Joined, Tokens
from espalier.runtime.sglang.protocol import event_from_json
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Shape
from tests.runtime.sglang.memory import memory_when_idle, watch_memory
from tests.runtime.sglang.requests import CHECKED, IDS, Case, cases, check
from tests.runtime.sglang.scripts import follow_scripts
from tests.runtime.sglang.server import Server

SHAPE = Shape(blocks=(2, 2), plans=(2, 4), text=(3, 8), nesting=0.3)
FLAGS = {"incremental_streaming_output": True}


def at_events(kind, count):
    """Abort when so many events of a kind have arrived."""

    def reached(events):
        return sum(isinstance(event, kind) and bool(event.path or kind is Joined) for event in events) >= count

    return reached


STATES = {
    "root running": lambda events: any(isinstance(event, Tokens) and not event.path for event in events),
    "children running": at_events(Tokens, 12),
    "some children closed": lambda events: sum(type(event).__name__ == "BranchClosed" for event in events) >= 1,
    "joined root queued": at_events(Joined, 1),
}


async def give_up(engine, case, rid, reached):
    """Stream a request until `reached`, abort it, and return the last chunk."""
    events, told = [], False
    stream = await engine.async_generate(
        input_ids=case.prompt, sampling_params=case.params(npr={"events": True}), stream=True, rid=rid
    )
    async for chunk in stream:
        events += [event_from_json(rid, record) for record in chunk["meta_info"]["npr_events"]]
        if not told and reached(events):
            told = True
            engine.tokenizer_manager.abort_request(rid=rid)
    return chunk


@pytest.mark.parametrize("flags", [{}, {"disable_overlap_schedule": True}], ids=["overlap", "no overlap"])
def test_abort_in_every_state_frees_everything(model, tmp_path, flags):
    requests, bystanders = cases(30, 12, SHAPE), cases(31, 4, SHAPE)
    path = tmp_path / "memory"

    def job(engine):
        async def every():
            states = list(STATES.values())
            doomed = [
                give_up(engine, case, f"doomed-{number:04}", states[number % len(states)])
                for number, case in enumerate(requests)
            ]
            others = [
                engine.async_generate(input_ids=case.prompt, sampling_params=case.params(), return_logprob=True)
                for case in bystanders
            ]
            return await asyncio.wait_for(asyncio.gather(asyncio.gather(*doomed), asyncio.gather(*others)), 120)

        ends, answers = engine.loop.run_until_complete(every())
        engine.flush_cache()
        return ends, answers, memory_when_idle(path)

    server = Server(model, FLAGS | flags, IDS | CHECKED, watch_memory(path, follow_scripts))
    ends, answers, memory = server.run(job)
    assert memory.clean, memory
    module = tiny_qwen3(0)
    for case, answer in zip(bystanders, answers, strict=True):
        check(module, case, answer)
    reasons = [end["meta_info"]["finish_reason"]["type"] for end in ends]
    assert reasons.count("abort") >= len(ends) // 2  # the others were done before the word got through
    for end in ends:
        aborted = end["meta_info"]["finish_reason"]["type"] == "abort"
        summaries = [record["reason"] for record in end["meta_info"].get("npr", [])]
        assert summaries in ([], [FinishReason.ABORTED.value if aborted else FinishReason.STOP.value])


def test_abort_at_random_moments_of_a_crowded_server_frees_everything(model, tmp_path):
    rng = random.Random(32)
    requests = cases(33, 60, SHAPE)
    path = tmp_path / "memory"

    def job(engine):
        async def one(number, case):
            rid = f"random-{number:04}"
            made = asyncio.ensure_future(
                engine.async_generate(input_ids=case.prompt, sampling_params=case.params(), rid=rid)
            )
            await asyncio.sleep(rng.random() * 3)
            engine.tokenizer_manager.abort_request(rid=rid)
            return await made

        async def every():
            return await asyncio.wait_for(asyncio.gather(*(one(*item) for item in enumerate(requests))), 120)

        answers = engine.loop.run_until_complete(every())
        engine.flush_cache()
        return answers, memory_when_idle(path)

    flags = {"max_total_tokens": 900, "max_running_requests": 12}
    answers, memory = Server(model, flags, IDS | CHECKED, watch_memory(path, follow_scripts)).run(job)
    assert memory.clean, memory
    assert sum(answer["meta_info"]["finish_reason"]["type"] == "abort" for answer in answers) > 5


def break_fork_and_join() -> None:
    """The third fork and the third join of a server fail."""
    from espalier.runtime.sglang.plugin.fork_join import ForkJoinScheduler

    follow_scripts()
    for name in ("_fork", "_join"):
        count = iter(range(1000))

        def broken(self, state, original=getattr(ForkJoinScheduler, name), count=count, name=name):
            if next(count) == 2:
                raise ZeroDivisionError(f"broken {name}")
            return original(self, state)

        setattr(ForkJoinScheduler, name, broken)


def test_an_exception_ends_one_request_and_the_scheduler_lives_on(model, tmp_path):
    requests = cases(34, 10, SHAPE)
    path = tmp_path / "memory"

    def job(engine):
        async def one(case):
            last = None
            stream = await engine.async_generate(
                input_ids=case.prompt, sampling_params=case.params(), return_logprob=True, stream=True
            )
            async for chunk in stream:
                last = chunk
            return last

        async def every(some):
            return await asyncio.wait_for(asyncio.gather(*map(one, some)), 60)

        answers = engine.loop.run_until_complete(every(requests[:5]))
        answers += engine.loop.run_until_complete(every(requests[5:]))
        engine.flush_cache()
        return answers, memory_when_idle(path)

    server = Server(model, {}, IDS | CHECKED, watch_memory(path, break_fork_and_join))
    answers, memory = server.run(job)
    assert memory.clean, memory
    failed = [answer for answer in answers if answer["meta_info"]["finish_reason"]["type"] == "abort"]
    assert len(failed) == 2
    messages = sorted(answer["meta_info"]["finish_reason"]["message"] for answer in failed)
    assert messages == ["ZeroDivisionError: broken _fork", "ZeroDivisionError: broken _join"]
    module = tiny_qwen3(0)
    good = [(case, answer) for case, answer in zip(requests, answers, strict=True) if answer not in failed]
    assert sum(check(module, case, answer) for case, answer in good) > 100


def sample_slowly() -> None:
    """Ten steps a second, so that what waits for a branch waits for long."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    follow_scripts()
    sample = "sglang.srt.model_executor.model_runner.ModelRunner.sample"
    HookRegistry.register(sample, lambda *_args, **_kwargs: time.sleep(0.1), HookType.BEFORE)


DROPPING = {
    "it waits too long": ({}, {"SGLANG_REQ_WAITING_TIMEOUT": "4"}, "Request waiting timeout reached."),
    "it runs too long": ({}, {"SGLANG_REQ_RUNNING_TIMEOUT": "4"}, "Request running timeout reached."),
    "something urgent comes": (
        {"enable_priority_scheduling": True, "disable_priority_preemption": True, "max_queued_requests": 2},
        {},
        "SGLang dropped a branch from its queue",
    ),
}


@pytest.mark.parametrize(("flags", "environment", "said"), DROPPING.values(), ids=DROPPING)
def test_a_branch_that_the_server_drops_takes_its_request_along(model, tmp_path, flags, environment, said):
    """One branch runs at a time while the others wait; a request that lost one of them would wait for it forever."""
    short = cases(35, 1, Shape(blocks=(1, 1), plans=(3, 3), text=(1, 1), nesting=0))[0]
    long = Case(short.prompt, {path: (*[None] * 60, *own) if path else own for path, own in short.script.items()})
    urgent = cases(36, 1, Shape(blocks=(1, 1), plans=(1, 1), text=(1, 1), nesting=0))[0]
    path = tmp_path / "memory"

    def job(engine):
        forked = asyncio.Event()

        async def one(case, priority):
            params = case.params(npr={"events": True})
            stream = await engine.async_generate(
                input_ids=case.prompt, sampling_params=params, stream=True, priority=priority
            )
            async for chunk in stream:
                if any(event[0] == "tokens" and event[1] for event in chunk["meta_info"]["npr_events"]):
                    forked.set()
            return chunk["meta_info"]

        async def every():
            given_up = asyncio.ensure_future(one(long, 1 if flags else None))
            if flags:
                await forked.wait()
                assert (await one(urgent, 9))["finish_reason"]["type"] == "stop"
            return await asyncio.wait_for(given_up, 60)

        end = engine.loop.run_until_complete(every())
        engine.flush_cache()
        return end, memory_when_idle(path)

    alone = FLAGS | flags | {"max_running_requests": 1}
    server = Server(model, alone, IDS | CHECKED | environment, watch_memory(path, sample_slowly))
    end, memory = server.run(job)
    assert memory.clean, memory
    assert (end["finish_reason"]["status_code"], end["finish_reason"]["message"]) == (503, said)
    (summary,) = end["npr"]
    assert (summary["reason"], summary["forks"], summary["joins"]) == ("aborted", 1, 0)
