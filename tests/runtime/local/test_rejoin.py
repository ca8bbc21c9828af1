"""Requests that begin with finished branches: exact, and cheap."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from espalier.runtime.decoding.given import first_position
from espalier.runtime.engine import (
    BranchOpened,
    Finished,
    FinishReason,
    GenerateRequest,
    Joined,
    Limits,
    Mode,
    RequestRefused,
    Rollout,
    SamplingParams,
    Tokens,
    until_last_join,
)
from espalier.runtime.grammar import Tag
from espalier.runtime.local import Capacity, LocalConfig, LocalEngine
from tests.budget import FULL
from tests.runtime.local.test_engine import free, until
from tests.runtime.local.test_exactness import GREEDY, ROOMY, TOKENIZER, VOCABULARY, check, finish
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Script, ScriptedSampler, Shape, random_script

TIMES = 3


def scripts(seed: int, count: int, shape: Shape) -> dict[str, Script]:
    """Of whole responses, and of their re-joins: what the root does behind its last join."""
    rng = random.Random(seed)
    made: dict[str, Script] = {}
    for index in range(count):
        made[f"request-{index}"] = whole = random_script(rng, VOCABULARY, shape)
        root = whole[()]
        behind = len(root) - root[::-1].index(VOCABULARY.id_of(Tag.END_GUIDELINE))
        for time in range(TIMES):
            made[f"request-{index}/{time}"] = {(): (*[None] * rng.randint(0, 9), *root[behind:])}
    return made


def rejoins(request: GenerateRequest, end: Finished) -> list[GenerateRequest]:
    given = until_last_join(end.rollout)
    assert given is not None
    return [replace(request, request_id=f"{request.request_id}/{time}", given=given) for time in range(TIMES)]


async def joined_again(
    module: Any,
    config: LocalConfig,
    seed: int,
    shape: Shape = Shape(),
    count: int = 12,
    sampling: SamplingParams = GREEDY,
) -> tuple[list[tuple[Finished, list[Finished]]], dict[str, Any]]:
    """Responses on random trees, and what their branches lead to when they are joined again."""
    rng = random.Random(seed)
    sampler = ScriptedSampler(VOCABULARY, scripts(seed, count, shape))
    prompts = [tuple(rng.randrange(30, 64) for _ in range(rng.randint(1, 40))) for _ in range(3)]
    limits = Limits(max_tokens=100_000)
    requests = [GenerateRequest(f"request-{i}", rng.choice(prompts), sampling, limits=limits) for i in range(count)]
    async with LocalEngine.serve(module, TOKENIZER, config, sampler) as engine:
        firsts = await asyncio.gather(*(finish(engine, request) for request in requests))
        again = [rejoins(request, end) for request, end in zip(requests, firsts, strict=True)]
        ends = await asyncio.gather(*(finish(engine, one) for group in again for one in group))
        assert engine.info.details["kv_tokens_free"] == engine.info.details["kv_tokens"]
        assert engine.info.details["running"] == 0
        details = engine.info.details
    return [(first, list(ends[i * TIMES : (i + 1) * TIMES])) for i, first in enumerate(firsts)], details


@pytest.mark.parametrize("seed", range(8 if FULL else 2))
async def test_every_token_behind_a_re_join_equals_the_dense_pass(seed: int) -> None:
    module = tiny_qwen3(seed)
    chosen = 0
    found, _ = await joined_again(module, ROOMY, seed)
    for first, ends in found:
        given = until_last_join(first.rollout)
        assert given is not None
        for end in ends:
            assert end.reason is FinishReason.STOP, end
            assert end.rollout.tokens[: len(given.tokens)] == given.tokens
            chosen += check(module, end.rollout)
    assert chosen > 1000


@pytest.mark.parametrize("seed", range(2))
async def test_fixed_shapes_and_small_pages_change_nothing(seed: int) -> None:
    module = tiny_qwen3(seed)
    config = replace(ROOMY, fixed_shapes=True, page_size=(1, 5)[seed])
    found, _ = await joined_again(module, config, seed, count=6)
    assert all(check(module, end.rollout) for _, ends in found for end in ends)


@pytest.mark.parametrize("seed", range(4 if FULL else 2))
async def test_short_memory_makes_re_joins_wait_but_changes_nothing(seed: int) -> None:
    module = tiny_qwen3(seed)
    shape = Shape(text=(4, 12))
    found, _ = await joined_again(module, ROOMY, seed, shape)
    longest = max(len(first.rollout.prompt) + len(first.rollout.tokens) for first, _ in found)
    tight = LocalConfig(device="cpu", kv_tokens=2 * longest, page_size=4, capacity=Capacity(rows=40, tokens=48))
    found, details = await joined_again(module, tight, seed, shape)
    for _, ends in found:
        for end in ends:
            assert end.reason is FinishReason.STOP
            check(module, end.rollout)
    assert details["evictions"] > 0


async def test_a_re_join_costs_its_conclusion_and_no_branch_again() -> None:
    """Usage counts new tokens; the passes compute the given tokens once for all requests that share them."""
    computed = 0
    module = tiny_qwen3(0)
    forward = module.model.layers[0].mlp.forward

    def counted(hidden: Any) -> Any:
        nonlocal computed
        computed += hidden.shape[-2]
        return forward(hidden)

    module.model.layers[0].mlp.forward = counted
    sampler = ScriptedSampler(VOCABULARY, scripts(7, 1, Shape(blocks=(2, 2), plans=(3, 4), text=(6, 9))))
    request = GenerateRequest("request-0", (40, 41, 42), GREEDY, limits=Limits(max_tokens=100_000))
    async with LocalEngine.serve(module, TOKENIZER, ROOMY, sampler) as engine:
        first = await finish(engine, request)
        before = computed
        with engine.together():
            waiting = asyncio.gather(*(finish(engine, one) for one in rejoins(request, first)))
            await asyncio.sleep(0)
        ends = await waiting
    given = until_last_join(first.rollout)
    assert given is not None
    new = 0
    for end in ends:
        own = end.rollout.forced[len(given.tokens) :]
        assert end.usage.forced_tokens == sum(own) == len(VOCABULARY.takeaway_opening())
        assert end.usage.sampled_tokens == len(own) - sum(own)
        assert end.usage.critical_path_tokens == len(own), "behind its join it forks no more"
        new += len(own)
    shared = len(request.prompt) + len(given.tokens)
    assert computed - before <= shared + new, "the last token of each is not computed"
    assert computed - before > shared


async def test_seeds_tell_re_joins_apart_and_repeat_them() -> None:
    rng = random.Random(3)
    script = random_script(rng, VOCABULARY, Shape(blocks=(1, 1)))
    closing: Script = {(): (*[None] * 12, VOCABULARY.id_of(Tag.END_TAKEAWAY), None, VOCABULARY.id_of(Tag.END_OF_TURN))}
    names = [f"again-{i}" for i in range(6)]
    sampler = ScriptedSampler(VOCABULARY, {"first": script, **dict.fromkeys(names, closing)})
    request = GenerateRequest("first", (40,), SamplingParams(seed=1), limits=Limits(max_tokens=10_000))
    async with LocalEngine.serve(tiny_qwen3(1), TOKENIZER, ROOMY, sampler) as engine:
        given = until_last_join((await finish(engine, request)).rollout)
        again = [
            replace(request, request_id=name, given=given, sampling=SamplingParams(seed=i // 2))
            for i, name in enumerate(names)
        ]
        ends = [(await finish(engine, one)).rollout.tokens for one in again]
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]
    assert len(set(ends)) == 3


async def test_the_events_of_a_re_join_are_those_of_its_new_tokens() -> None:
    sampler = ScriptedSampler(VOCABULARY, scripts(5, 1, Shape(blocks=(1, 1))))
    request = GenerateRequest("request-0", (40, 41), GREEDY, limits=Limits(max_tokens=10_000))
    async with LocalEngine.serve(tiny_qwen3(1), TOKENIZER, ROOMY, sampler) as engine:
        first = await finish(engine, request)
        given = until_last_join(first.rollout)
        assert given is not None
        events = [event async for event in engine.generate(rejoins(request, first)[0])]
    assert isinstance(events[0], Joined)
    assert not any(isinstance(event, BranchOpened) for event in events)
    last = events[-1]
    assert isinstance(last, Finished)
    streamed = [token for event in events if isinstance(event, Tokens) for token in event.tokens]
    assert streamed == list(last.rollout.tokens[len(given.tokens) :])


async def test_an_aborted_re_join_frees_what_it_shares() -> None:
    sampler = ScriptedSampler(VOCABULARY, scripts(5, 1, Shape(blocks=(1, 1))))
    request = GenerateRequest("request-0", (40, 41), GREEDY, limits=Limits(max_tokens=10_000))
    async with LocalEngine.serve(tiny_qwen3(1), TOKENIZER, ROOMY, sampler) as engine:
        again = rejoins(request, await finish(engine, request))
        streams = [engine.generate(one) for one in again]
        for stream in streams:
            await anext(stream)
            await stream.aclose()
        for one in again:
            await engine.abort(one.request_id)
        await until(lambda: free(engine))


async def test_what_cannot_be_joined_is_refused_by_name() -> None:
    sampler = ScriptedSampler(VOCABULARY, scripts(5, 1, Shape(blocks=(1, 1), plans=(2, 3))))
    request = GenerateRequest("request-0", (40, 41), GREEDY, limits=Limits(max_tokens=10_000))
    async with LocalEngine.serve(tiny_qwen3(1), TOKENIZER, ROOMY, sampler) as engine:
        first = await finish(engine, request)
        given = until_last_join(first.rollout)
        assert given is not None
        whole, cut = first.rollout, _cut(given, len(given.tokens) - 1)
        cases = [
            (replace(request, given=whole), "is not what an engine decodes"),  # it ends the turn
            (replace(request, given=_cut(whole, len(given.tokens) + 3)), "does not end where"),
            (replace(request, given=cut), "does not end where"),
            (replace(request, given=_cut(given, 0)), "equally long and not empty"),
            (replace(request, given=replace(given, prompt=(40,))), "another prompt"),
            (replace(request, given=given, mode=Mode.SEQUENTIAL), "mode parallel"),
            (replace(request, given=replace(given, positions=given.positions[:-1])), "equally long"),
            (replace(request, given=replace(given, positions=tuple(p + 1 for p in given.positions))), "the positions"),
            (replace(request, given=replace(given, tokens=(*given.tokens[:-1], 99))), "token id 99"),
            (replace(request, given=replace(given, tokens=(8, *given.tokens[1:]))), "is not what an engine decodes"),
            (replace(request, given=replace(given, paths=(((4, 1),), *given.paths[1:]))), "no block opens"),
        ]
        for bad, said in cases:
            with pytest.raises(RequestRefused, match=said):
                await finish(engine, bad)
        assert (await finish(engine, rejoins(request, first)[0])).reason is FinishReason.STOP


async def test_a_re_join_has_room_for_a_token_or_is_refused() -> None:
    """The context holds positions, which steps share: a response may have more tokens than it has positions."""
    sampler = ScriptedSampler(VOCABULARY, scripts(5, 1, Shape(blocks=(1, 1), plans=(2, 3))))
    request = GenerateRequest("request-0", (40, 41), GREEDY, limits=Limits(max_tokens=10_000))
    async with LocalEngine.serve(tiny_qwen3(1), TOKENIZER, ROOMY, sampler) as engine:
        again, *_ = rejoins(request, await finish(engine, request))
    assert again.given is not None
    start = first_position(again) + len(VOCABULARY.takeaway_opening())
    assert start < len(again.prompt) + len(again.given.tokens)
    for context, fits in ((start, False), (start + 1, True)):
        module = tiny_qwen3(1)
        module.config.max_position_embeddings = context
        async with LocalEngine.serve(module, TOKENIZER, ROOMY, sampler) as engine:
            if fits:
                end = await finish(engine, again)
                assert (end.reason, end.usage.sampled_tokens) == (FinishReason.LENGTH, 1)
                assert max(end.rollout.positions) < context
            else:
                with pytest.raises(RequestRefused, match=f"given: .* position {start}; the context holds {context}"):
                    await finish(engine, again)


def _cut(given: Rollout, end: int) -> Rollout:
    return Rollout(
        given.prompt,
        given.tokens[:end],
        given.logprobs[:end],
        given.forced[:end],
        given.positions[:end],
        given.paths[:end],
    )


def test_a_response_that_joined_nothing_gives_no_beginning() -> None:
    assert until_last_join(Rollout((1,), (31, 8), (0.0,) * 2, (False,) * 2, (1, 2), ((), ()))) is None
    assert until_last_join(Rollout((1,), (31, 8), (0.0,) * 2, (False,) * 2, (1, 2), ((), ((0, 1),)))) is None
    assert until_last_join(Rollout((1,), (), (), (), (), ())) is None
