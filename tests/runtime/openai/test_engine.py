"""The engine over OpenAI's chat completions: text, usage, retries, aborts, limits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from espalier.common.errors import FieldError
from espalier.runtime.engine import (
    EngineError,
    EngineUnavailable,
    Finished,
    FinishReason,
    GenerateRequest,
    Limits,
    RequestRefused,
    Rollout,
    SamplingParams,
    Tokens,
    Usage,
)
from espalier.runtime.openai.engine import OpenAIConfig, OpenAIEngine
from espalier.runtime.openai.setting import engine_of
from espalier.runtime.openai.tokenizer import ByteTokenizer
from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.setting import EngineSettingError
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import BestOfK
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.open import open_verifiers
from tests.runtime.openai.fake import FakeOpenAI, serving

PROMPT = PromptTemplate().encode(ByteTokenizer(), "What is 6 · 7?")


def request(name: str = "one", **changes: Any) -> GenerateRequest:
    return GenerateRequest(name, PROMPT, **changes)


async def response(engine: OpenAIEngine, asked: GenerateRequest) -> tuple[str, Finished]:
    """Its streamed text and its last event."""
    *events, last = [event async for event in engine.generate(asked)]
    assert isinstance(last, Finished)
    streamed = [token for event in events if isinstance(event, Tokens) for token in event.tokens]
    return engine.tokenizer.decode(streamed), last


async def test_finished_branches_cannot_be_given() -> None:
    given = Rollout(PROMPT, (1,), (0.0,), (False,), (len(PROMPT),), ((),))
    fake = FakeOpenAI()
    async with serving(fake) as url, OpenAIEngine(url) as engine:
        with pytest.raises(RequestRefused, match="given: a server of chat completions"):
            await response(engine, request(given=given))
    assert fake.seen == []


async def test_text_and_usage_are_the_servers() -> None:
    fake = FakeOpenAI(
        deltas=({"content": "gr"}, {"content": "ü"}, {"content": "n \ud83c".encode("utf-8", "replace").decode()})
    )
    async with serving(fake) as url, OpenAIEngine(url) as engine:
        text, last = await response(engine, request(sampling=SamplingParams(0.5, 0.9, seed=1 << 40), limits=Limits(77)))
    assert text == "grün ?"
    assert engine.tokenizer.decode(last.rollout.tokens) == text
    assert (last.reason, last.usage, last.detail) == (FinishReason.STOP, Usage(5, 2, 0, 2), "")
    (body,) = fake.seen
    assert body["messages"] == [{"role": "user", "content": "What is 6 · 7?"}]
    assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("tiny", 0.5, 0.9, 77)
    assert 0 <= body["seed"] < 1 << 31
    assert not {"top_k", "min_p", "repetition_penalty"} & body.keys()  # OpenAI itself refuses what it does not know


async def test_reasoning_is_kept_apart_from_what_is_said() -> None:
    fake = FakeOpenAI(
        deltas=({"reasoning_content": r"perhaps \boxed{1}"}, {"reasoning_content": "!"}, {"content": r"\boxed{42}"})
    )
    async with serving(fake) as url, OpenAIEngine(url) as engine:
        text, _ = await response(engine, request())
    assert text == "<think>\nperhaps \\boxed{1}!\n</think>\n\\boxed{42}"


@pytest.mark.parametrize(("finish", "reason"), [("length", "length"), ("content_filter", "error"), (None, "error")])
async def test_an_end_has_its_reason(finish: str | None, reason: str) -> None:
    async with serving(FakeOpenAI(finish=finish)) as url, OpenAIEngine(url) as engine:
        _, last = await response(engine, request())
    assert last.reason == FinishReason(reason)
    assert (last.detail != "") == (reason == "error")


async def test_an_abort_closes_the_stream_and_charges_what_was_streamed() -> None:
    fake = FakeOpenAI(stall=True)
    async with serving(fake) as url, OpenAIEngine(url) as engine:
        stream = engine.generate(request())
        seen = [await anext(stream), await anext(stream)]
        assert all(isinstance(event, Tokens) for event in seen)
        await engine.abort("one")
        (last,) = [event async for event in stream]
        assert isinstance(last, Finished)
        assert (last.reason, last.usage.sampled_tokens) == (FinishReason.ABORTED, 2)
        assert "pieces of the stream" in last.detail
        await asyncio.wait_for(fake.closed.wait(), 10)


async def test_an_abort_of_a_request_that_waits_ends_it() -> None:
    fake = FakeOpenAI(stall=True)
    async with serving(fake) as url, OpenAIEngine(url, OpenAIConfig(concurrent=1)) as engine:
        first = engine.generate(request("first"))
        await anext(first)
        second = asyncio.ensure_future(response(engine, request("second")))
        await asyncio.sleep(0)
        await engine.abort("second")
        text, last = await second
        assert (text, last.reason, last.usage.new_tokens) == ("", FinishReason.ABORTED, 0)
        await first.aclose()  # type: ignore[attr-defined]
    assert len(fake.seen) == 1


async def test_no_more_requests_are_open_than_agreed() -> None:
    fake = FakeOpenAI()
    async with serving(fake) as url, OpenAIEngine(url, OpenAIConfig(concurrent=3)) as engine:
        await asyncio.gather(*(response(engine, request(str(number))) for number in range(12)))
    assert len(fake.seen) == 12
    assert fake.most_open <= 3


async def test_a_server_without_room_is_asked_again_when_it_says() -> None:
    fake = FakeOpenAI(refusals=[(429, {"Retry-After-Ms": "1"}), (503, {"Retry-After-Ms": "1"})])
    async with serving(fake) as url, OpenAIEngine(url) as engine:
        text, _ = await response(engine, request())
    assert (text, len(fake.seen)) == ("42", 3)


async def test_a_server_without_room_that_does_not_say_when_is_asked_again_later_and_that_is_said() -> None:
    fake = FakeOpenAI(refusals=[(429, {}), (503, {"Retry-After": "0.01"})])
    with structlog.testing.capture_logs() as logs:
        async with serving(fake) as url, OpenAIEngine(url, OpenAIConfig(retries=2)) as engine:
            text, _ = await response(engine, request())
    assert (text, len(fake.seen)) == ("42", 3)
    told = [(line["status"], line["retry"], line["retry_after"]) for line in logs if "no room" in line["event"]]
    assert told == [(429, 1, None), (503, 2, "0.01")]


async def test_a_server_that_never_has_room_is_left_with_the_number_of_times() -> None:
    fake = FakeOpenAI(refusals=[(429, {"Retry-After-Ms": "1"})] * 3)
    with structlog.testing.capture_logs() as logs:
        async with serving(fake) as url, OpenAIEngine(url, OpenAIConfig(retries=2)) as engine:
            with pytest.raises(EngineUnavailable, match=r"does not answer, asked 3 times: .*not now"):
                await response(engine, request())
    assert [line["retry"] for line in logs if "no room" in line["event"]] == [1, 2]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (400, RequestRefused, "refuses the request"),
        (401, EngineError, "key-file"),
        (404, EngineError, "lacks the model"),
        (500, EngineUnavailable, "does not answer"),
    ],
)
async def test_a_refusal_says_what_it_means(status: int, error: type[Exception], said: str) -> None:
    fake = FakeOpenAI(refusals=[(status, {})])
    async with serving(fake) as url, OpenAIEngine(url, OpenAIConfig(retries=0)) as engine:
        with pytest.raises(error, match=said):
            await response(engine, request())


@pytest.mark.parametrize("delta", [{"content": 7}, {"reasoning_content": ["x"]}])
async def test_a_server_that_speaks_something_else_is_named(delta: dict[str, Any]) -> None:
    async with serving(FakeOpenAI(deltas=(delta,))) as url, OpenAIEngine(url) as engine:
        with pytest.raises(EngineError, match=f"{url} does not stream chat completions"):
            await response(engine, request())


async def test_a_server_that_is_not_there_says_so(unused_tcp_port: int) -> None:
    with pytest.raises(EngineUnavailable, match="does not answer"):
        async with OpenAIEngine(f"http://127.0.0.1:{unused_tcp_port}/v1", OpenAIConfig(retries=0)):
            pass


async def test_a_server_that_cannot_be_reached_is_asked_again_and_that_is_said(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    with structlog.testing.capture_logs() as logs, pytest.raises(EngineUnavailable, match="does not answer"):
        async with OpenAIEngine(url, OpenAIConfig(retries=1)):
            pass
    told = [(line["server"], line["retry"], line["retries"]) for line in logs if "cannot be reached" in line["event"]]
    assert told == [(url, 1, 1)]
    assert all(line["error"] for line in logs)


async def test_a_server_with_several_models_wants_a_name() -> None:
    async with serving(FakeOpenAI(models=("a", "b"))) as url:
        with pytest.raises(EngineError, match="serves a, b; name one"):
            async with OpenAIEngine(url):
                pass
        async with OpenAIEngine(url, OpenAIConfig(model="b")) as engine:
            assert (engine.info.model, engine.info.context_length, engine.info.parallel) == ("b", 99, False)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("openai:///v1", "lacks the host"),
        ("openai://me:secret@h/v1", "no place for a secret"),
        ("openai://h/v1?modle=x", "unknown option 'modle'"),
        ("openai://h/v1?concurrent=many", "concurrent must be a whole number above 0"),
        ("openai://h/v1?key-file=/nowhere", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, said: str) -> None:
    with pytest.raises(EngineSettingError, match=said):
        engine_of(setting)


def test_the_key_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    engine = engine_of(f"openai+https://example.org/v1?key-file={tmp_path}/key&model=x&concurrent=4")
    assert engine._url == "https://example.org/v1"
    assert "secret" not in repr(engine._config)


async def test_candidates_of_any_server_are_verified() -> None:
    fake = FakeOpenAI(deltas=({"content": "The answer is "}, {"content": r"\boxed{42}"}))
    async with serving(fake) as url, OpenAIEngine(url) as engine, open_verifiers(only=["math"]) as verifiers:
        problem = Problem("1", "What is 6 · 7?", ReferenceCheck("42"))
        with pytest.raises(FieldError, match="rejoins: is 2, but"):
            await Solver(engine, verifiers).solve(problem, BestOfK(), Budget(candidates=2, rejoins=2))
        result = await Solver(engine, verifiers).solve(problem, BestOfK(), Budget(candidates=2))
    assert (result.selection.answer, result.selection.verified) == ("42", True)
    assert result.spent.accepted.sampled_tokens == 2
