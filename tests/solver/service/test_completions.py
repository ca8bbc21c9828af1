"""`/v1/completions` by the stock client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from espalier.verifiers.local import LocalVerifiers
from tests.solver.service.stock import answering

RIGHT, WRONG = "so \\boxed{42}", "so \\boxed{41}"
ASKED: dict[str, Any] = {"model": "espalier", "prompt": "What is 6 times 7?"}
CHECKED = {"check": "reference:42"}


async def test_the_text_is_the_answer_and_best_of_is_k(hub: LocalVerifiers) -> None:
    async with answering(WRONG, hub) as ask:
        reply: Any = await ask.completions.create(**ASKED, best_of=3, n=2, extra_body={"check": "reference:41"})
        failed: Any = await ask.completions.create(**ASKED, best_of=3, extra_body=CHECKED)
    assert [choice.text for choice in reply.choices] == ["41", "41"]
    assert [choice.metadata["outcome"] for choice in reply.choices] == ["OUTCOME_VERIFIED"] * 2
    assert (failed.choices[0].text, failed.choices[0].finish_reason) == ("", "length")
    assert (failed.metadata["outcome"], len(failed.metadata["candidates"])) == ("OUTCOME_UNSOLVED", 3)
    assert failed.usage.completion_tokens > 0


async def test_a_stream_ends_with_text_metadata_and_usage(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        stream = await ask.completions.create(
            **ASKED, stream=True, stream_options={"include_usage": True}, extra_body=CHECKED
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "42"
    *_, last, usage = chunks
    assert last.choices[0].finish_reason == "stop"
    assert last.model_extra is not None
    assert last.model_extra["metadata"]["outcome"] == "OUTCOME_VERIFIED"
    assert usage.usage is not None
    assert any("candidate_finished" in str(chunk.model_extra) for chunk in chunks)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "x" * 100_001}, "prompt"),
        ({"logprobs": 2}, "logprobs"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 99}, "best_of"),
        ({"best_of": 2, "extra_body": {"k": 3}}, "best_of"),
        ({"max_tokens": 513}, "max_tokens"),
        ({"extra_body": {"messages": []}}, "messages"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_request_names_its_field(hub: LocalVerifiers, fields: dict[str, Any], param: str) -> None:
    async with answering(RIGHT, hub) as ask:
        with pytest.raises(openai.BadRequestError) as caught:
            await ask.completions.create(**{**ASKED, **fields})
    assert caught.value.param == param
