"""The server between best-of-k tools and a model, asked by OpenAI's own client."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import openai
import pytest
from metered_server import MeteredServer, Recording, Spent, base_url, caller_of

from tests.benchmarks.recorded import PROMPT_TOKENS, write_responses
from tests.runtime.openai.fake import FakeOpenAI, serving

TEXTS = {"six": ["it is 6", "so it is 6", "it may be…"], "seven": ["it is 7"]}
PROMPTS = {"What is six?": "six", "What is seven?": "seven"}
ASKED = {"model": "tiny", "max_tokens": 64, "temperature": 1.0}


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording.load(write_responses(tmp_path / "responses.jsonl", TEXTS))


def client(address: str, caller: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base_url(address, caller), api_key="none", max_retries=0)


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_samples_of_a_problem_come_in_their_order_and_anew_for_each_caller(recording: Recording) -> None:
    server = MeteredServer("tiny", PROMPTS, recording=recording)
    async with server.serving() as address:
        for caller in ("one tool", "another, tool"):
            async with client(address, caller) as asking:
                assert [model.id async for model in asking.models.list()] == ["tiny"]
                replies = [
                    await asking.chat.completions.create(messages=said("What is six?"), **ASKED) for _ in range(3)
                ]
            assert [one.choices[0].message.content for one in replies] == TEXTS["six"]
            assert [one.choices[0].finish_reason for one in replies] == ["stop", "stop", "length"]
            assert [one.usage.completion_tokens for one in replies if one.usage] == [3, 4, 3]
            assert server.spent[caller_of(caller), "six"] == Spent(3, 10, 3 * PROMPT_TOKENS)


async def test_several_samples_of_one_request_share_its_prompt(recording: Recording) -> None:
    server = MeteredServer("tiny", PROMPTS, recording=recording)
    async with server.serving() as address, client(address, "tool") as asking:
        reply = await asking.chat.completions.create(messages=said("What is six?"), n=2, **ASKED)
    assert [choice.message.content for choice in reply.choices] == TEXTS["six"][:2]
    assert server.spent["tool", "six"] == Spent(2, 7, PROMPT_TOKENS)


async def test_a_stream_has_the_same_text_reason_and_counts(recording: Recording) -> None:
    server = MeteredServer("tiny", PROMPTS, recording=recording)
    async with server.serving() as address, client(address, "tool") as asking:
        stream = await asking.chat.completions.create(messages=said("What is seven?"), stream=True, **ASKED)
        pieces = [piece async for piece in stream]
    choices = [choice for piece in pieces for choice in piece.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "it is 7"
    assert choices[-1].finish_reason == "stop"
    assert pieces[-1].usage is not None
    assert (pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens) == (PROMPT_TOKENS, 3)


async def test_an_empty_system_message_is_none(recording: Recording) -> None:
    messages: list[Any] = [{"role": "system", "content": ""}, *said("What is seven?")]
    server = MeteredServer("tiny", PROMPTS, recording=recording)
    async with server.serving() as address, client(address, "tool") as asking:
        reply = await asking.chat.completions.create(messages=messages, **ASKED)
    assert reply.choices[0].message.content == "it is 7"


RATING = [*said("What is six?"), {"role": "assistant", "content": "6"}, *said("Rate it.")]


@pytest.mark.parametrize(
    ("messages", "changes", "why"),
    [
        (said("What is six?"), {"temperature": 0.1}, "temperature 1.0 was recorded, not 0.1"),
        (said("What is six?"), {"max_tokens": 65}, "max_tokens 64 was recorded, not 65"),
        (said("What is six?"), {"top_p": 0.5}, "top_p 1.0 was recorded, not 0.5"),
        (RATING, {}, "there are other messages"),
        ([{"role": "system", "content": "Think."}, *said("What is six?")], {}, "there are other messages"),
        (said("What is eight?"), {}, "no problem is put like this: 'What is eight?'"),
        (said("What is six? Hurry."), {}, "no problem is put like this"),
        (said("What is six?"), {"n": 4}, "six: 3 responses are recorded, and 4 are asked for"),
    ],
)
async def test_what_was_not_recorded_is_refused_and_not_counted(
    recording: Recording, messages: list[Any], changes: dict[str, Any], why: str
) -> None:
    server = MeteredServer("tiny", PROMPTS, recording=recording)
    async with server.serving() as address, client(address, "tool") as asking:
        with pytest.raises(openai.BadRequestError, match=re.escape(why)):
            await asking.chat.completions.create(messages=messages, **{**ASKED, **changes})
    assert sum(server.spent.values(), Spent()) == Spent()


async def test_what_cannot_be_replayed_goes_to_the_live_server_and_is_counted(recording: Recording) -> None:
    fake = FakeOpenAI(deltas=({"content": "1"}, {"content": "0"}), usage=2)
    async with serving(fake) as url:
        server = MeteredServer("tiny", PROMPTS, recording=recording, upstream=url)
        async with server.serving() as address, client(address, "tool") as asking:
            await asking.chat.completions.create(messages=said("What is six?"), **ASKED)
            stream = await asking.chat.completions.create(messages=RATING, stream=True, **ASKED)
            rating = "".join([c.delta.content or "" async for piece in stream for c in piece.choices])
    assert rating == "10"
    assert [body["messages"] for body in fake.seen] == [RATING]
    assert server.spent["tool", "six"] == Spent(1, 3 + 2, PROMPT_TOKENS + 5)


async def test_without_a_recording_all_requests_go_to_the_live_server(recording: Recording) -> None:
    live = MeteredServer("tiny", PROMPTS, recording=recording)
    async with live.serving() as behind:
        server = MeteredServer("tiny", PROMPTS, upstream=base_url(behind, "live"))
        async with server.serving() as address, client(address, "tool") as asking:
            reply = await asking.chat.completions.create(messages=said("What is six?"), n=2, **ASKED)
            with pytest.raises(openai.BadRequestError, match="temperature"):
                await asking.chat.completions.create(messages=said("What is six?"), **{**ASKED, "temperature": 0})
    assert [choice.message.content for choice in reply.choices] == TEXTS["six"][:2]
    assert server.spent["tool", "six"] == Spent(2, 7, PROMPT_TOKENS)  # refused ones cost nothing
    assert live.spent["live", "six"] == Spent(2, 7, 2 * PROMPT_TOKENS)  # asked for one at a time


async def test_of_a_stream_that_its_caller_leaves_the_pieces_are_counted() -> None:
    fake = FakeOpenAI(deltas=({"content": "a"}, {"content": "b"}), stall=True)
    async with serving(fake) as url:
        server = MeteredServer("tiny", PROMPTS, upstream=url)
        async with server.serving() as address, client(address, "tool") as asking:
            stream = await asking.chat.completions.create(messages=said("What is six?"), stream=True, **ASKED)
            async with stream:
                assert [(await anext(stream)).choices[0].delta.content for _ in range(2)] == ["a", "b"]
            await asyncio.wait_for(fake.closed.wait(), 60)  # the abort has come through
    assert server.spent["tool", "six"] == Spent(1, 2, 0)
