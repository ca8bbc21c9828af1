"""`/v1/responses` by the stock client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from espalier.verifiers.local import LocalVerifiers
from tests.solver.scripted import ERROR, ScriptedJudge
from tests.solver.service.stock import answering

RIGHT, WRONG = "so \\boxed{42}", "so \\boxed{41}"
ASKED: dict[str, Any] = {"model": "espalier", "input": "What is 6 times 7?"}
CHECKED = {"check": "reference:42", "k": 2}


async def test_the_answer_is_the_message_and_the_response_its_reasoning(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        reply: Any = await ask.responses.create(**ASKED, instructions="Be brief.", extra_body=CHECKED)
    assert (reply.status, reply.output_text) == ("completed", "42")
    reasoning, message = reply.output
    assert (reasoning.content[0].text, message.role) == (RIGHT, "assistant")
    assert reply.result["outcome"] == "OUTCOME_VERIFIED"
    assert reply.result["problem"]["text"] == "Be brief.\n\nWhat is 6 times 7?"
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


async def test_a_reply_can_be_sent_back_as_context(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        first = await ask.responses.create(**ASKED, extra_body=CHECKED)
        turns: list[Any] = [{"role": "user", "content": ASKED["input"]}, *first.output]
        turns.append({"role": "user", "content": [{"type": "input_text", "text": "Really?"}]})
        reply: Any = await ask.responses.create(model="espalier", input=turns)
    problem = reply.result["problem"]
    assert problem["text"] == "Really?"
    assert [(turn["role"], turn["content"]) for turn in problem["context"]] == [
        ("user", "What is 6 times 7?"),
        ("assistant", "42"),
    ]


async def test_a_problem_without_an_answer_is_incomplete_and_refused(hub: LocalVerifiers) -> None:
    async with answering(WRONG, hub) as ask:
        reply: Any = await ask.responses.create(**ASKED, extra_body=CHECKED)
        async with ask.responses.stream(**ASKED, extra_body=CHECKED) as stream:
            events: list[Any] = [event async for event in stream]
    assert (reply.status, reply.output_text, reply.incomplete_details.reason) == ("incomplete", "", "max_output_tokens")
    assert reply.output[-1].content[0].refusal.startswith("UNSOLVED")
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output[-1].content[0].refusal.startswith("UNSOLVED")


@pytest.mark.parametrize("k", [1, 2])
async def test_a_stream_is_the_reply_in_pieces(hub: LocalVerifiers, k: int) -> None:
    async with answering(RIGHT, hub) as ask:
        stream = await ask.responses.create(**ASKED, stream=True, extra_body={**CHECKED, "k": k})
        events: list[Any] = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"

    def told(kind: str) -> str:
        return "".join(event.delta for event in events if event.type == kind)

    assert told("response.reasoning_text.delta") == RIGHT
    assert told("response.output_text.delta") == "42"
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == events[-1].response.output
    assert events[-1].type == "response.completed"
    assert any("candidate_finished" in getattr(event, "event", {}) for event in events)


@pytest.mark.filterwarnings("error")
async def test_the_clients_own_streaming_helper_understands_the_stream(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask, ask.responses.stream(**ASKED, extra_body=CHECKED) as stream:
        final = await stream.get_final_response()
    assert final.output_text == "42"


async def test_trouble_on_the_way_is_an_error_in_the_stream() -> None:
    async with answering(RIGHT, ScriptedJudge({"42": ERROR})) as ask:
        stream = await ask.responses.create(**ASKED, stream=True, extra_body=CHECKED)
        with pytest.raises(openai.APIError, match="the box died"):
            async for _ in stream:
                pass


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input[0].content"),
        ({"input": []}, "input"),
        ({"instructions": "x" * 100_000}, "input"),
        (
            {"instructions": "x", "input": [{"role": "tool", "content": "y"}, {"role": "user", "content": "z"}]},
            "input[0].role",
        ),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "id": "x", "summary": []}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"max_output_tokens": 513}, "max_output_tokens"),
        ({"extra_body": {"n": 2}}, "n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_request_names_its_field(hub: LocalVerifiers, fields: dict[str, Any], param: str) -> None:
    async with answering(RIGHT, hub) as ask:
        with pytest.raises(openai.BadRequestError) as caught:
            await ask.responses.create(**{**ASKED, **fields})
    assert caught.value.param == param
