from __future__ import annotations

import asyncio
import base64
import dataclasses
import pickle
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import web

from espalier.runtime.engine import (
    EngineError,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Limits,
    Mode,
    RequestRefused,
    Rollout,
    SamplingParams,
    Tokens,
)
from espalier.runtime.grammar import GrammarLimits
from espalier.runtime.sglang.client import engine as engine_module
from espalier.runtime.sglang.client import server as server_module
from espalier.runtime.sglang.client.engine import ClientConfig, SglangEngine
from espalier.runtime.sglang.client.weights import TensorSpec, WeightGroup
from tests.runtime.local.tiny import TinyTokenizer
from tests.runtime.scripted import Script, Shape, random_script
from tests.runtime.sglang_client.fake import VOCABULARY, FakeSglang, embedded, silence, status

PROMPT = tuple(range(30, 50))
REQUEST = GenerateRequest("a", PROMPT, SamplingParams(seed=11), limits=Limits(max_tokens=100_000))
WHOLE = dataclasses.replace(REQUEST, final_event_only=True)
SEQUENTIAL = dataclasses.replace(REQUEST, mode=Mode.SEQUENTIAL, limits=Limits(max_tokens=24))
ENDLESS: Script = {(): (None,) * 100_000}
BLOCKS = random_script(random.Random(5), VOCABULARY, Shape(blocks=(1, 1), plans=(2, 3), text=(1, 4)))
HASTY = ClientConfig(retries=(0.0, 0.01))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SILENCE", 3.0)  # a busy machine may be silent for a second


@pytest.fixture
def same_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads tokens as the engine behind the fake server writes them."""
    monkeypatch.setattr(engine_module, "_load_tokenizer", lambda _: TinyTokenizer())


@asynccontextmanager
async def connected(*fakes: FakeSglang, config: ClientConfig = HASTY) -> AsyncIterator[SglangEngine]:
    async with AsyncExitStack() as stack:
        for fake in fakes:
            await stack.enter_async_context(fake.engine)
            await stack.enter_async_context(fake.serving())
        yield await stack.enter_async_context(SglangEngine(*(fake.url for fake in fakes), config=config))


async def collect(engine: Any, request: GenerateRequest = REQUEST) -> list[Event]:
    return [event async for event in engine.generate(request)]


def with_version(event: Event, version: int) -> Event:
    if not isinstance(event, Finished):
        return event
    return dataclasses.replace(event, rollout=dataclasses.replace(event.rollout, weight_version=version))


@pytest.mark.usefixtures("same_tokenizer")
@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_a_request_has_the_same_events_and_rollout_as_in_this_process(seed: int, incremental: bool) -> None:
    script = random_script(random.Random(seed), VOCABULARY)
    async with embedded(script) as local:
        here = await collect(local)
    async with connected(FakeSglang(embedded(script), incremental)) as engine:
        there = await collect(engine)
    assert there == [with_version(event, 7) for event in here]


@pytest.mark.usefixtures("same_tokenizer")
@pytest.mark.parametrize("incremental", [True, False])
async def test_a_sequential_request_needs_no_plugin(incremental: bool) -> None:
    async with embedded(ENDLESS) as local:
        here = (await collect(local, SEQUENTIAL))[-1]
    assert isinstance(here, Finished)
    assert here.structure is not None
    async with connected(FakeSglang(embedded(ENDLESS), incremental, plugin=False)) as engine:
        assert not engine.info.parallel
        events = await collect(engine, SEQUENTIAL)
    assert events[-1] == with_version(here, 7)
    assert sum(len(event.tokens) for event in events[:-1] if isinstance(event, Tokens)) == 24


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("seed", range(2))
async def test_a_request_for_the_last_event_is_one_reply_with_the_same_rollout(seed: int, mode: Mode) -> None:
    script = random_script(random.Random(seed), VOCABULARY)
    fake = FakeSglang(embedded(script))
    async with connected(fake) as engine:
        asked = dataclasses.replace(REQUEST if mode is Mode.PARALLEL else SEQUENTIAL, mode=mode)
        streamed = await collect(engine, asked)
        whole = await collect(engine, dataclasses.replace(asked, final_event_only=True))
    assert whole == streamed[-1:]
    assert [body["stream"] for body in fake.candidates] == [True, False]
    if mode is Mode.PARALLEL:
        assert "events" not in fake.candidates[1]["sampling_params"]["custom_params"]["npr"]


async def test_a_request_does_not_count_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions of tokenizers walk over all of it for that."""
    async with connected(FakeSglang(embedded(BLOCKS))) as engine:
        monkeypatch.setattr(type(engine.tokenizer), "__len__", lambda _: pytest.fail("counted"))
        (last,) = await collect(engine, WHOLE)
    assert isinstance(last, Finished)


async def test_a_reply_that_the_server_fails_to_make_is_an_error_of_that_request_alone() -> None:
    """Asking again would fail again, for ever; a server that is away is asked again."""
    fake = FakeSglang(embedded(BLOCKS), answers={"/generate": [status(500, "ZeroDivisionError"), status(503)]})
    async with connected(fake) as engine:
        (failed,) = await collect(engine, WHOLE)
        (good,) = await collect(engine, WHOLE)
    assert (failed.reason, failed.rollout.tokens) == (FinishReason.ERROR, ())
    assert "ZeroDivisionError" in failed.detail
    assert good.reason is FinishReason.STOP
    assert len(fake.candidates) == 3


async def test_a_reply_whose_server_dies_comes_from_the_next() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    fakes = [FakeSglang(embedded(BLOCKS), answers={"/generate": [hang_up] * 2}), FakeSglang(embedded(BLOCKS))]
    async with connected(*fakes) as engine:
        asked = [dataclasses.replace(WHOLE, request_id=str(i), prompt=(i, *PROMPT)) for i in range(6)]
        ends = [(await collect(engine, one))[-1] for one in asked]
    assert {end.reason for end in ends} == {FinishReason.STOP}


@pytest.mark.parametrize("broken", ["npr_positions", "npr_paths", "npr_forced", "output_token_logprobs", "npr"])
async def test_a_reply_that_lacks_a_column_is_an_error_not_a_rollout(broken: str) -> None:
    fake = FakeSglang(embedded(BLOCKS))

    async def lacking(request: web.Request) -> web.Response:
        reply = await fake._reply(await request.json(), parallel=True)
        reply["meta_info"][broken] = reply["meta_info"][broken][1:]
        return web.json_response(reply)

    fake.answers["/generate"] = [lacking]
    async with connected(fake) as engine:
        with pytest.raises(EngineError, match="makes no sense"):
            await collect(engine, WHOLE)


async def test_a_silent_server_is_asked_whether_it_lives_before_its_reply_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeSglang(embedded(ENDLESS))
    fake.answers = {"/health": [status(200), *[status(503)] * 2]}
    async with connected(fake) as engine:
        monkeypatch.setattr(server_module, "SILENCE", 0.2)
        with pytest.raises(EngineUnavailable, match="has stopped answering"):
            await collect(engine, dataclasses.replace(WHOLE, limits=Limits(max_tokens=100_000)))
    assert len(fake.seen["/health"]) == 3


async def test_a_reply_that_is_aborted_is_the_tokens_so_far_even_if_the_server_forgets_the_first_abort(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forget(_: web.Request) -> web.Response:
        return web.Response()

    monkeypatch.setattr(server_module, "TICK", 0.05)
    fake = FakeSglang(embedded(ENDLESS), answers={"/abort_request": [forget]})
    async with connected(fake) as engine:
        running = asyncio.create_task(collect(engine, WHOLE))
        while not fake.engine.info.details["running"]:  # noqa: ASYNC110 (the engine is another thread)
            await asyncio.sleep(0.01)
        await engine.abort("a")
        (end,) = await running
    assert end.reason is FinishReason.ABORTED
    assert end.usage.sampled_tokens == len(end.rollout.tokens)
    assert len(fake.seen["/abort_request"]) >= 2


async def test_a_parallel_request_is_refused_without_the_plugin_and_told_what_to_start() -> None:
    async with connected(FakeSglang(embedded(BLOCKS), plugin=False)) as engine:
        with pytest.raises(RequestRefused, match=r"runs without Espalier's plugin.*espalier engine serve.*sequential"):
            await collect(engine)


async def test_limits_and_sampling_reach_the_server() -> None:
    fake = FakeSglang(embedded(ENDLESS))
    asked = GenerateRequest(
        "a",
        PROMPT,
        SamplingParams(temperature=0.5, top_p=0.9, top_k=0, min_p=0.1, seed=(1 << 40) + 3),
        SamplingParams(repetition_penalty=1.02),
        Limits(8, max_critical_path=7, max_branch_tokens=6, grammar=GrammarLimits(5, 4)),
        stop=frozenset((21, 20)),
    )
    async with connected(fake) as engine:
        await collect(engine, asked)
    body = fake.candidates[0]
    assert body["input_ids"] == list(PROMPT)
    options = body["sampling_params"].pop("custom_params")["npr"]
    assert body["sampling_params"] == {
        "max_new_tokens": 8,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": -1,
        "min_p": 0.1,
        "repetition_penalty": 1.0,
        "sampling_seed": 3,
        "stop_token_ids": [20, 21],
    }
    limits = {"max_plans": 5, "max_depth": 4, "max_branch_tokens": 6, "max_critical_path": 7}
    step = {"step_temperature": 1.0, "step_top_p": 1.0, "step_top_k": 0, "step_min_p": 0.0}
    assert options == {**limits, **step, "step_repetition_penalty": 1.02, "events": True}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": ()}, "prompt is empty"),
        ({"prompt": (10**6,)}, "prompt holds token id 1000000; the tokenizer.s ids are 0 to"),
        ({"prompt": (1,) * 2048}, "prompt has 2048 tokens; the server's context holds 2048"),
        ({"limits": Limits(grammar=GrammarLimits(max_plans=17))}, "max_plans must be at most 16"),
        (
            {"given": Rollout(PROMPT, (1,), (0.0,), (False,), (len(PROMPT),), ((),))},
            "given: the response does not end where",
        ),
    ],
)
async def test_an_impossible_request_is_refused_with_the_name_of_the_field(changes: Any, said: str) -> None:
    async with connected(FakeSglang(embedded(BLOCKS))) as engine:
        with pytest.raises(RequestRefused, match=said):
            await collect(engine, dataclasses.replace(REQUEST, **changes))


async def test_a_server_whose_plugin_knows_no_re_joins_is_named_and_asked_for_none() -> None:
    given = Rollout(PROMPT, (1,), (0.0,), (False,), (len(PROMPT),), ((),))
    fake = FakeSglang(embedded(BLOCKS), rejoins=False)
    async with connected(fake) as engine:
        assert engine.info.parallel
        assert not engine.info.rejoins
        with pytest.raises(
            RequestRefused, match=rf"given: the plugin of the server at {fake.url} cannot join .* update"
        ):
            await collect(engine, dataclasses.replace(REQUEST, given=given))
        assert not fake.candidates
        assert await collect(engine)
    async with connected(FakeSglang(embedded(BLOCKS))) as engine:
        assert engine.info.rejoins


async def test_what_the_server_refuses_is_refused_in_its_words_and_not_tried_elsewhere() -> None:
    fakes = [
        FakeSglang(embedded(BLOCKS), answers={"/generate": [status(400, "top_p must be in (0, 1]")]}) for _ in "ab"
    ]
    async with connected(*fakes) as engine:
        with pytest.raises(RequestRefused, match=r"top_p must be in \(0, 1\]"):
            await collect(engine)
    assert sum(len(fake.candidates) for fake in fakes) == 1


async def test_an_id_that_is_running_is_refused() -> None:
    async with connected(FakeSglang(embedded(ENDLESS))) as engine:
        events = engine.generate(REQUEST)
        await anext(events)
        with pytest.raises(RequestRefused, match="'a' is already running"):
            await collect(engine)
        await events.aclose()
        await engine.generate(REQUEST).__anext__()


@pytest.mark.parametrize("cut", [b"", b'data: {"output_ids": [1', b'data: {"output_ids": [1]}'])
@pytest.mark.parametrize("at", [0, 3])
async def test_a_server_that_dies_in_the_middle_is_unavailable_never_an_empty_answer(at: int, cut: bytes) -> None:
    fake = FakeSglang(embedded(BLOCKS), corrupt=(at, cut))
    async with connected(fake) as engine:
        with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1"):
            await collect(engine)
    assert len(fake.candidates) == (len(HASTY.retries) if at == 0 else 1)


@pytest.mark.parametrize(
    "garbage",
    [b"<html>\n\n", b"data: {nonsense\n\n", b"data: [1]\n\n", b'data: {"a": 1}\n\n', b'data: {"meta_info": {}}\n\n'],
)
@pytest.mark.parametrize("mode", list(Mode))
async def test_garbage_is_an_error_not_an_answer(garbage: bytes, mode: Mode) -> None:
    if mode is Mode.PARALLEL and garbage == b'data: {"meta_info": {}}\n\n':
        garbage = b'data: {"meta_info": {"npr_events": [["tokens", "0.1", [1], [0.0], [0], [2]]]}}\n\n'
    async with connected(FakeSglang(embedded(BLOCKS), corrupt=(0, garbage))) as engine:
        with pytest.raises(EngineError, match=r"127.0.0.1|SGLang") as caught:
            await collect(engine, dataclasses.replace(SEQUENTIAL, mode=mode))
    assert not isinstance(caught.value, EngineUnavailable | RequestRefused)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"error": {"message": "input is too long", "code": 400}}, RequestRefused),
        ({"meta_info": {"finish_reason": {"type": "abort", "status_code": 400, "message": "m"}}}, RequestRefused),
        ({"meta_info": {"finish_reason": {"type": "abort", "status_code": 503, "message": "full"}}}, EngineUnavailable),
        ({"meta_info": {"finish_reason": {"type": "abort", "status_code": 500, "message": "bug"}}}, EngineError),
    ],
)
async def test_an_error_inside_a_stream_is_told_by_its_status(message: Any, kind: type[Exception]) -> None:
    corrupted = b"data: " + str(message).replace("'", '"').encode() + b"\n\n"
    async with connected(FakeSglang(embedded(BLOCKS), corrupt=(0, corrupted))) as engine:
        with pytest.raises(EngineError) as caught:
            await collect(engine)
    assert type(caught.value) is kind


async def test_a_server_that_is_full_or_starting_is_tried_again_under_a_new_id() -> None:
    fake = FakeSglang(embedded(BLOCKS), answers={"/generate": [status(503)]})
    async with connected(fake) as engine:
        assert isinstance((await collect(engine))[-1], Finished)
    first, second = (body["rid"] for body in fake.candidates)
    assert first != second


async def test_a_silent_server_is_waited_for_while_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSglang(embedded(BLOCKS))
    fake.answers["/generate"] = [silence_in_stream(fake, 1.2)]
    async with connected(fake) as engine:
        monkeypatch.setattr(server_module, "SILENCE", 0.5)
        assert isinstance((await collect(engine))[-1], Finished)
    assert len(fake.seen["/health"]) == 2


async def test_a_silent_server_that_no_longer_generates_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSglang(embedded(BLOCKS))
    fake.answers = {"/generate": [silence_in_stream(fake, 1.2)] * 2, "/health": [status(503)] * 2}
    async with connected(fake) as engine:
        monkeypatch.setattr(server_module, "SILENCE", 0.5)
        with pytest.raises(EngineUnavailable, match="has stopped answering"):
            await collect(engine)


def silence_in_stream(fake: FakeSglang, seconds: float) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(seconds)
        async for message in fake._messages(await request.json(), parallel=True):
            await response.write(b"data: " + web.json_response(message).body + b"\n\n")
        return response

    return answer


async def test_nobody_to_connect_to_is_unavailable() -> None:
    with pytest.raises(EngineUnavailable, match=r"http://127.0.0.1:9 cannot be reached"):
        async with SglangEngine("http://127.0.0.1:9"):
            pass


async def test_something_else_than_sglang_is_said_to_be_so() -> None:
    fake = FakeSglang(embedded(BLOCKS), answers={"/v1/models": [silence(0, status(404))]})
    with pytest.raises(EngineError, match="is it an SGLang server"):
        async with connected(fake):
            pass


async def test_different_models_are_refused() -> None:
    with pytest.raises(EngineError, match="serves elsewhere"):
        async with connected(FakeSglang(embedded(BLOCKS)), FakeSglang(embedded(BLOCKS), model="elsewhere")):
            pass


async def test_a_tokenizer_that_is_not_here_can_be_named() -> None:
    with pytest.raises(EngineError, match=r"tokenizer /no/such .*\?tokenizer=PATH"):
        async with connected(FakeSglang(embedded(BLOCKS), model="/no/such")):
            pass


async def test_an_aborted_request_ends_so_and_its_tokens_are_counted() -> None:
    async with connected(FakeSglang(embedded(ENDLESS))) as engine:
        events: list[Event] = []
        async for event in engine.generate(REQUEST):
            events.append(event)
            if len(events) == 3:
                await engine.abort("a")
        await engine.abort("a")
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.ABORTED
    told = [token for event in events if isinstance(event, Tokens) for token in event.tokens]
    assert end.rollout.tokens == tuple(told)
    assert end.usage.sampled_tokens == end.usage.critical_path_tokens == len(told) >= 3


async def test_an_abort_that_the_server_forgets_is_repeated() -> None:
    async def forget(_: web.Request) -> web.Response:
        return web.Response()

    fake = FakeSglang(embedded(ENDLESS), answers={"/abort_request": [forget]})
    async with connected(fake) as engine:
        events = []
        async for event in engine.generate(REQUEST):
            events.append(event)
            if len(events) == 1:
                await engine.abort("a")
    assert events[-1].reason is FinishReason.ABORTED


@pytest.mark.parametrize("way", ["close", "cancel", "engine"])
async def test_a_consumer_that_stops_frees_the_server(way: str) -> None:
    fake = FakeSglang(embedded(ENDLESS))
    async with connected(fake) as engine:
        begun = asyncio.Event()

        async def consume() -> None:
            async for _ in engine.generate(REQUEST):
                begun.set()
                if way == "close":
                    break

        task = asyncio.create_task(consume())
        await begun.wait()
        if way == "cancel":
            task.cancel()
        elif way == "engine":
            await engine.close()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(60):
            while fake.engine.info.details["running"]:  # noqa: ASYNC110 (the engine is another thread)
                await asyncio.sleep(0.01)


async def test_no_request_id_is_the_prefix_of_another() -> None:
    fake = FakeSglang(embedded(BLOCKS))
    async with connected(fake) as engine:
        requests = [dataclasses.replace(REQUEST, request_id=f"1{'0' * i}") for i in range(12)]
        await asyncio.gather(*(collect(engine, request) for request in requests))
    ids = {body["rid"] for body in fake.candidates}
    assert len(ids) == 12
    assert len({len(each) for each in ids}) == 1


async def test_all_candidates_of_a_prompt_go_to_one_server() -> None:
    fakes = [FakeSglang(embedded(BLOCKS)) for _ in range(3)]
    async with connected(*fakes) as engine:
        for prompt in range(4):
            for candidate in range(2):
                await collect(engine, GenerateRequest(f"{prompt}-{candidate}", (30 + prompt, 31), REQUEST.sampling))
    served = [[tuple(body["input_ids"]) for body in fake.candidates] for fake in fakes]
    for one in served:
        assert all(one.count(prompt) == 2 for prompt in one)


async def test_when_a_server_dies_its_prompts_go_elsewhere_and_come_back_with_it() -> None:
    fakes = [FakeSglang(embedded(BLOCKS)) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for fake in fakes:
            await stack.enter_async_context(fake.engine)
        homes = [await stack.enter_async_context(AsyncExitStack()) for _ in fakes]
        for home, fake in zip(homes, fakes, strict=True):
            await home.enter_async_context(fake.serving())
        engine = await stack.enter_async_context(SglangEngine(*(fake.url for fake in fakes), config=HASTY))
        await collect(engine)
        first = next(index for index, fake in enumerate(fakes) if fake.candidates)
        port = int(fakes[first].url.rpartition(":")[2])
        await homes[first].aclose()
        await collect(engine)
        assert len(fakes[1 - first].candidates) == 1
        assert engine.info.details["servers"][fakes[first].url] == "down"
        await stack.enter_async_context(fakes[first].serving(port))
        await asyncio.sleep(0.25)
        await collect(engine)
        assert len(fakes[first].candidates) == 2
        assert engine.info.details["servers"][fakes[first].url] == "up"


async def test_the_key_travels_in_a_header_only() -> None:
    fake = FakeSglang(embedded(BLOCKS), key="a-secret")
    config = dataclasses.replace(HASTY, key="a-secret")
    assert "a-secret" not in repr(config)
    async with connected(fake, config=config) as engine:
        assert isinstance((await collect(engine))[-1], Finished)
    with pytest.raises(EngineError, match=r"wants a key.*\?key-file=FILE"):
        async with connected(fake):
            pass


async def test_new_weights_reach_every_server_and_rollouts_carry_their_version(tmp_path: Path) -> None:
    fakes = [FakeSglang(embedded(BLOCKS)) for _ in range(2)]
    async with connected(*fakes) as engine:
        assert await engine.update_weights(tmp_path) == 1
        assert await engine.update_weights({"w": torch.arange(3.0)}) == 2
        assert engine.info.weight_version == 2
        end = (await collect(engine))[-1]
    for fake in fakes:
        disk, tensors = (fake.seen[f"/update_weights_from_{source}"][0] for source in ("disk", "tensor"))
        assert disk == {"model_path": str(tmp_path), "weight_version": "1"}
        assert len(tensors["serialized_named_tensors"]) == 2  # one a rank
    assert isinstance(end, Finished)
    assert end.rollout.weight_version == 7  # what the server says, not what we wish


async def test_a_server_that_was_away_gets_the_present_weights_before_it_generates() -> None:
    """One that was started anew has other weights, and what it generates would train nothing."""
    fakes = [FakeSglang(embedded(BLOCKS), says_version=None) for _ in range(2)]
    async with connected(*fakes) as engine:
        for fake in fakes:
            fake.answers["/update_weights_from_tensor"] = []
        fakes[0].answers["/update_weights_from_tensor"] = [status(503)]
        assert await engine.update_weights({"w": torch.arange(3.0)}) == 1, "one is enough"
        assert [fake.weight_version for fake in fakes] == ["default", "1"]
        requests = [dataclasses.replace(REQUEST, request_id=str(i), prompt=(i, *PROMPT)) for i in range(8)]
        ends = [(await collect(engine, request))[-1] for request in requests]
        await asyncio.sleep(0.25)
        requests = [dataclasses.replace(one, request_id=f"again-{one.request_id}") for one in requests]
        ends += [events[-1] for events in await asyncio.gather(*(collect(engine, one) for one in requests))]
        assert [fake.weight_version for fake in fakes] == ["1", "1"]
        assert all(fake.candidates for fake in fakes)
    assert {end.rollout.weight_version for end in ends if isinstance(end, Finished)} == {1}


async def test_a_server_that_comes_late_gets_the_present_weights_whatever_it_calls_its_own() -> None:
    """An earlier run numbered its weights alike, and only servers that this one has met are numbered on from."""
    early, late = (FakeSglang(embedded(BLOCKS), says_version=None) for _ in range(2))
    late.weight_version = "1"
    late.answers["/model_info"] = [status(503)]
    async with connected(early, late) as engine:
        late.answers["/update_weights_from_tensor"] = [status(503)]
        assert await engine.update_weights({"w": torch.arange(3.0)}) == 1
        servers = engine._servers
        servers.all[1].cooldown.back_off(0)  # its turn to be asked has come
        prompt = next(p for i in range(99) if servers.preferred(p := (i, *PROMPT))[0] is servers.all[1])
        await collect(engine, dataclasses.replace(REQUEST, prompt=prompt))
    assert late.candidates
    assert len(late.seen["/update_weights_from_tensor"]) == 2


async def test_weights_that_another_process_has_put_in_place_are_waited_for() -> None:
    fake = FakeSglang(embedded(BLOCKS), says_version=None)
    async with connected(fake) as engine:
        engine.expect_weights(3)
        assert engine.info.weight_version == 3
        engine._servers.back_off(fake_server := engine._servers.all[0])
        with pytest.raises(EngineUnavailable, match="does not have the present weights yet"):
            await collect(engine)
        fake.weight_version = "3"
        assert fake_server.stale
        assert isinstance((await collect(engine))[-1], Finished)


async def test_tensors_are_handed_over_through_shared_memory() -> None:
    fake = FakeSglang(embedded(BLOCKS))
    taken: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        payload = (await request.json())["serialized_named_tensors"][0]
        taken.extend(pickle.loads(base64.b64decode(payload)))  # noqa: S301 (as SGLang does, in this process)
        return web.json_response({"success": True})

    fake.answers["/update_weights_from_tensor"] = [take]
    async with connected(fake) as engine:
        await engine.update_weights({"w": torch.arange(3.0)})
    ((name, tensor),) = taken
    assert name == "w"
    assert tensor.tolist() == [0, 1, 2]


async def test_a_trainer_can_broadcast() -> None:
    fakes = [FakeSglang(embedded(BLOCKS)) for _ in range(2)]
    group = WeightGroup("127.0.0.1", 29500, size=5)
    async with connected(*fakes) as engine:
        await engine.join_weight_group(group)
        assert await engine.receive_weights([TensorSpec("w", "bfloat16", (2, 3))], group) == 1
        await engine.leave_weight_group(group)
    joined = [fake.seen["/init_weights_update_group"][0] for fake in fakes]
    assert [each["rank_offset"] for each in joined] == [1, 3]
    for fake in fakes:
        assert fake.seen["/update_weights_from_distributed"][0] == {
            "names": ["w"],
            "dtypes": ["bfloat16"],
            "shapes": [[2, 3]],
            "group_name": "espalier",
            "weight_version": "1",
        }


async def test_a_failed_update_is_an_error_and_no_new_version(tmp_path: Path) -> None:
    async def fail(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "message": "no such directory"}, status=400)

    async with connected(FakeSglang(embedded(BLOCKS), answers={"/update_weights_from_disk": [fail]})) as engine:
        with pytest.raises(EngineError, match="update_weights_from_disk: no such directory"):
            await engine.update_weights(tmp_path)
        assert engine.info.weight_version == 0


async def test_a_closed_engine_is_unavailable() -> None:
    async with connected(FakeSglang(embedded(BLOCKS))) as engine:
        await engine.close()
        with pytest.raises(EngineUnavailable):
            await collect(engine)
