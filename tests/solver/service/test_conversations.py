"""Earlier turns are context, choices are solves of their own, and a stop ends a response: by the stock client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from espalier.runtime.openai.engine import OpenAIEngine
from espalier.verifiers.local import LocalVerifiers
from tests.runtime.openai.fake import FakeOpenAI
from tests.runtime.openai.fake import serving as serving_fake
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import serving, until
from tests.solver.service.stock import client
from tests.solver.service.telling import telling

EARLIER: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Using the numbers 1, 2 and 3, each once, make 6"},
    {"role": "assistant", "content": None, "refusal": "UNSOLVED: it is hard"},
    {"role": "user", "content": [{"type": "text", "text": "What is 6 times 7?"}]},
]


@asynccontextmanager
async def over_a_server(fake: FakeOpenAI, hub: LocalVerifiers, **settings: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """Our endpoint over an engine that is itself a server of chat completions."""
    async with (
        serving_fake(fake) as url,
        OpenAIEngine(url) as engine,
        serving(engine, hub, **settings) as served,
        client(served) as ask,
    ):
        yield ask


async def test_the_model_reads_earlier_turns_and_no_check_is_recognised_in_them(hub: LocalVerifiers) -> None:
    fake = FakeOpenAI()
    async with over_a_server(fake, hub) as ask:
        reply: Any = await ask.chat.completions.create(model="espalier", messages=EARLIER, extra_body={"k": 1})
    assert fake.seen[-1]["messages"] == [
        {"role": "user", "content": "Using the numbers 1, 2 and 3, each once, make 6"},
        {"role": "assistant", "content": "UNSOLVED: it is hard"},
        {"role": "user", "content": "Be brief.\n\nWhat is 6 times 7?"},
    ]
    problem = reply.metadata["problem"]
    assert problem["text"] == "Be brief.\n\nWhat is 6 times 7?"
    assert [turn["role"] for turn in problem["context"]] == ["user", "assistant"]
    assert "check" not in problem


async def test_a_chat_template_renders_earlier_turns(hub: LocalVerifiers) -> None:
    async with telling("so \\boxed{42}") as engine, serving(engine, hub) as served, client(served) as ask:
        short: Any = await ask.chat.completions.create(
            model="espalier", messages=EARLIER[-1:], extra_body={"k": 1}, seed=1
        )
        reply: Any = await ask.chat.completions.create(model="espalier", messages=EARLIER, extra_body={"k": 1}, seed=1)
    assert reply.choices[0].message.content == "42"
    assert reply.usage.prompt_tokens > short.usage.prompt_tokens


async def test_choices_are_solves_of_their_own_and_the_first_is_that_of_one(hub: LocalVerifiers) -> None:
    asked: dict[str, Any] = {"model": "espalier", "messages": EARLIER[-1:], "seed": 7}
    more = {"k": 2, "check": "reference:42"}
    async with (
        telling("so \\boxed{42}") as engine,
        serving(engine, hub, slots=1, places=0) as served,
        client(served) as ask,
    ):
        one: Any = await ask.chat.completions.create(**asked, extra_body=more)
        three: Any = await ask.chat.completions.create(**asked, n=3, extra_body=more)
    told = [choice.metadata for choice in three.choices]
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert [choice.message.content for choice in three.choices] == ["42"] * 3
    assert len({result["seed"] for result in told}) == len({result["solve_id"] for result in told}) == 3
    assert told[0]["seed"] == one.metadata["seed"] == "7"
    new = sum(
        fate["sampled_tokens"] + fate["forced_tokens"]
        for result in told
        for fate in (result["spent"][name] for name in ("accepted", "failed", "aborted"))
    )
    assert three.usage.completion_tokens == new > one.usage.completion_tokens


async def test_streamed_choices_say_whose_they_are(hub: LocalVerifiers) -> None:
    async with telling("so \\boxed{42}") as engine, serving(engine, hub) as served, client(served) as ask:
        stream = await ask.chat.completions.create(
            model="espalier",
            messages=EARLIER[-1:],
            n=2,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"k": 2, "check": "reference:42"},
        )
        chunks = [chunk async for chunk in stream]
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices and chunk.choices[0].index == index]
        assert mine[0].delta.role == "assistant"
        assert "".join(choice.delta.content or "" for choice in mine) == "42"
        assert mine[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_of_a_client_that_leaves_all_end(hub: LocalVerifiers, stream: bool) -> None:
    async with telling(None) as engine, serving(engine, hub) as served, client(served) as ask:

        async def wait_for_it() -> None:
            reply: Any = await ask.chat.completions.create(
                model="espalier", messages=EARLIER[-1:], n=3, stream=stream, extra_body={"k": 1}
            )
            async for _ in reply:
                pass

        waiting = asyncio.create_task(wait_for_it())
        await until(lambda: served.session.admission.running == 3)
        waiting.cancel()
        await asyncio.wait([waiting])
        await until(lambda: served.session.admission.running == 0)
        assert served.ended("cancelled") == 3


async def test_a_full_server_refuses_a_call_of_several_choices_as_a_whole(hub: LocalVerifiers) -> None:
    async with telling(None) as engine, serving(engine, hub, slots=1, places=0) as served, client(served) as ask:
        create = ask.chat.completions.create
        first = asyncio.ensure_future(create(model="espalier", messages=EARLIER[-1:]))
        await until(lambda: served.session.admission.running == 1)
        with pytest.raises(openai.RateLimitError):
            await create(model="espalier", messages=EARLIER[-1:], n=3)
        assert served.session.admission.waiting == 0
        first.cancel()
        await asyncio.wait([first])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_ends_the_response_before_it(hub: LocalVerifiers, stream: bool) -> None:
    words = "so \\boxed{42} it is.\nObservation: \\boxed{41} " + "and on " * 50
    async with telling(words) as engine, serving(engine, hub) as served, client(served) as ask:
        reply: Any = await ask.chat.completions.create(
            model="espalier",
            messages=EARLIER[-1:],
            stop=["\nObservation:", "never"],
            stream=stream,
            extra_body={"k": 1, "check": "reference:42"},
        )
        if stream:
            chunks = [chunk async for chunk in reply]
            deltas = [chunk.choices[0].delta for chunk in chunks]
            response = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
            content = "".join(delta.content or "" for delta in deltas)
            told = chunks[-1].model_extra["metadata"]
        else:
            message = reply.choices[0].message
            response, content, told = message.model_extra["reasoning_content"], message.content, reply.metadata
    assert (content, response) == ("42", "so \\boxed{42} it is.")
    assert told["candidates"][0]["finish_reason"] == "stop"
    assert told["spent"]["accepted"]["sampled_tokens"] < len(engine.tokenizer.encode(words)) - 50


async def test_the_response_of_the_only_candidate_is_streamed_while_it_is_generated() -> None:
    judge = ScriptedJudge({"42": PASS}, gate=asyncio.Event())
    response = "Some words first,\nthen \\boxed{42}"
    async with serving(ScriptedEngine.of(response), judge) as served, client(served) as ask:
        stream = await ask.chat.completions.create(
            model="espalier", messages=EARLIER[-1:], stream=True, extra_body={"k": 1, "check": "reference:42"}
        )
        told = ""
        async for chunk in stream:
            delta = chunk.choices[0].delta
            told += (delta.model_extra or {}).get("reasoning_content", "")
            if told == response:  # nothing is judged yet
                assert judge.gate is not None
                judge.gate.set()
            if delta.content:
                break
        assert (told, delta.content) == (response, "42")
        await stream.close()
