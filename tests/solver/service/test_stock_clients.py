"""LangChain's and LiteLLM's clients, unchanged, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from espalier.verifiers.local import LocalVerifiers
from tests.solver.service.serving import Served, serving
from tests.solver.service.telling import telling

RIGHT = "so \\boxed{42}"
QUESTION = "What is 6 times 7?"
CHECKED = {"check": "reference:42", "k": 2}


@asynccontextmanager
async def answering(judge: Any) -> AsyncIterator[Served]:
    async with telling(RIGHT) as engine, serving(engine, judge) as served:
        yield served


def chat_model(served: Served, **settings: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        base_url=served.http, api_key="none", model="espalier", max_retries=0, extra_body=CHECKED, **settings
    )


@pytest.mark.parametrize("responses", [False, True])
async def test_langchain_asks_and_streams_a_conversation(hub: LocalVerifiers, responses: bool) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    turns = [SystemMessage("Be brief."), HumanMessage("Hello"), AIMessage("Hello!"), HumanMessage(QUESTION)]
    async with answering(hub) as served:
        model = chat_model(served, use_responses_api=responses)
        reply = await model.ainvoke(turns)
        pieces = [piece async for piece in model.astream(turns)]
    assert reply.text == "42"
    assert reply.usage_metadata["output_tokens"] > 0
    assert "".join(piece.text for piece in pieces) == "42"


async def test_langchain_takes_several_choices_stops_and_chains(hub: LocalVerifiers) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    async with answering(hub) as served:
        chain = ChatPromptTemplate.from_template("What is {a} times {b}?") | chat_model(served) | StrOutputParser()
        assert await chain.ainvoke({"a": 6, "b": 7}) == "42"
        generated = await chat_model(served, n=2, temperature=0.5).agenerate([[HumanMessage(QUESTION)]], stop=["\nObs"])
    assert [choice.text for choice in generated.generations[0]] == ["42", "42"]


async def test_langchain_is_told_what_a_solve_cannot_do(hub: LocalVerifiers) -> None:
    import openai

    async with answering(hub) as served:
        with pytest.raises(openai.BadRequestError, match="tools: is not something that a solve can do"):
            await chat_model(served).bind_tools([{"name": "f", "description": "f", "parameters": {}}]).ainvoke(QUESTION)


async def test_litellm_asks_and_streams_a_conversation(hub: LocalVerifiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its list of prices is not asked for over the network
    import litellm

    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": QUESTION},
    ]
    async with answering(hub) as served:
        asked: dict[str, Any] = {
            "model": "openai/espalier",
            "api_base": served.http,
            "api_key": "none",
            "messages": turns,
            "max_retries": 0,
            "extra_body": CHECKED,
        }
        reply = await litellm.acompletion(**asked, n=2, stop=["\nObs"])
        stream = await litellm.acompletion(**asked, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        with pytest.raises(litellm.BadRequestError, match="logprobs"):
            await litellm.acompletion(**asked, logprobs=True)
    assert [choice.message.content for choice in reply.choices] == ["42", "42"]
    assert reply.choices[0].message.reasoning_content == RIGHT
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "42"
    assert (
        "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks if chunk.choices)
        == RIGHT
    )
    assert chunks[-1].usage.completion_tokens > 0
