"""The stock `openai` client, unchanged, against a real server."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from espalier.common.security import ServerSecurity
from espalier.solver.service.replies import MAX_PIECE, pieces
from espalier.verifiers.local import LocalVerifiers
from tests.solver.scripted import ERROR, ScriptedJudge
from tests.solver.service.serving import LIMITS, serving, until
from tests.solver.service.stock import answering, client
from tests.solver.service.telling import free_tokens, telling

RIGHT = "so \\boxed{42}"
WRONG = "so \\boxed{41}"
TLS = Path(__file__).parents[2] / "verifiers" / "tls"
TOKEN = "a-token-of-enough-length"  # noqa: S105
QUESTION: list[Any] = [{"role": "user", "content": "What is 6 times 7?"}]


async def test_the_winner_is_the_message_and_the_rest_is_metadata(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        reply = await ask.chat.completions.create(
            model="espalier",
            messages=QUESTION,
            seed=7,
            extra_body={"k": 4, "policy": "refine", "check": "reference:42"},
        )
    message = reply.choices[0].message
    assert (message.content, message.refusal, reply.choices[0].finish_reason) == ("42", None, "stop")
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == RIGHT
    told: Any = reply
    metadata = told.metadata
    assert (metadata["outcome"], metadata["decided_by"]) == ("OUTCOME_VERIFIED", "DECIDED_BY_CHECK")
    assert metadata["seed"] == "7"
    assert metadata["candidates"][metadata["candidate"]]["verdict"]["status"] == "STATUS_PASS"
    assert reply.usage is not None
    fates = [metadata["spent"][fate] for fate in ("accepted", "failed", "aborted")]
    new_tokens = sum(fate["sampled_tokens"] + fate["forced_tokens"] for fate in fates)
    assert reply.usage.completion_tokens == new_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


async def test_a_problem_without_an_answer_is_a_refusal_and_not_an_error(hub: LocalVerifiers) -> None:
    async with answering(WRONG, hub) as ask:
        reply = await ask.chat.completions.create(
            model="espalier", messages=QUESTION, extra_body={"k": 2, "check": {"reference": {"answer": "42"}}}
        )
    message = reply.choices[0].message
    assert message.content is None
    assert message.refusal is not None
    assert message.refusal.startswith("UNSOLVED")
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize("text", ["", "\n", "a\n\n b", "x" * 5000, "\r\n" + "é" * 1024 + "\n", "a\u2028b\x0c"])
def test_pieces_of_a_text_are_the_text_and_none_is_long(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert max(map(len, pieces(text)), default=0) <= MAX_PIECE + 1


async def test_the_winners_response_is_streamed_once_it_is_decided_line_by_line(hub: LocalVerifiers) -> None:
    words = "first\n\n  then\n" + RIGHT
    async with answering(words, hub) as ask:
        stream = await ask.chat.completions.create(
            model="espalier", messages=QUESTION, stream=True, extra_body={"check": "reference:42", "k": 2}
        )
        chunks = [chunk async for chunk in stream]
    told: list[str] = [
        (chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "") for chunk in chunks if chunk.choices
    ]
    assert "".join(told) == words
    assert [piece for piece in told if piece] == words.splitlines(keepends=True)
    last_progress = max(number for number, chunk in enumerate(chunks) if "round_finished" in str(chunk.model_extra))
    assert not any(told[:last_progress])
    assert any(chunk.choices[0].delta.content == "42" for chunk in chunks[-3:])


async def test_a_stream_shows_progress_and_ends_with_answer_metadata_and_usage(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        stream = await ask.chat.completions.create(
            model="espalier",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"check": "reference:42"},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert content == "42"
    told = [chunk.model_extra["metadata"] for chunk in chunks if chunk.model_extra and "metadata" in chunk.model_extra]
    assert "candidate_started" in told[0]
    kinds = {kind for entry in told[:-1] for kind in entry}
    assert {"answer_judged", "candidate_finished", "round_finished"} <= kinds
    assert told[-1]["outcome"] == "OUTCOME_VERIFIED"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_clients_own_streaming_helper_understands_the_stream(hub: LocalVerifiers) -> None:
    async with (
        answering(RIGHT, hub) as ask,
        ask.chat.completions.stream(model="espalier", messages=QUESTION) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "42"


async def test_the_blocking_client_works_too(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        with openai.OpenAI(base_url=served.http, api_key="none", max_retries=0) as ask:
            create = ask.chat.completions.create
            reply = await asyncio.to_thread(lambda: create(model="espalier", messages=QUESTION))
    assert reply.choices[0].message.content == "42"


async def test_models_are_listed(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        listed = [model.id async for model in ask.models.list()]
        described = await ask.models.retrieve(listed[0])
    assert len(listed) == 1
    assert described.owned_by == "espalier"


async def test_system_messages_stand_before_the_problem(hub: LocalVerifiers) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is 6 "}, {"type": "text", "text": "times 7?"}]},
    ]
    async with answering(RIGHT, hub) as ask:
        reply: Any = await ask.chat.completions.create(model="espalier", messages=messages)
    assert reply.metadata["problem"]["text"] == "Be brief.\n\nWhat is 6 times 7?"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}, *QUESTION]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, *QUESTION]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "content": None}, *QUESTION]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x" * 99_990}, *QUESTION]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "x" * 100_001}]}, "messages"),
        ({"messages": [{"role": "user", "content": "many words " * 3000}]}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"stop": ["a", 1]}, "stop"),
        ({"stop": list("abcde")}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": "x" * 257}, "stop[0]"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"max_tokens": 513}, "max_completion_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"extra_body": {"k": 0}}, "k"),
        ({"extra_body": {"k": "4"}}, "k"),
        ({"extra_body": {"k": True}}, "k"),
        ({"extra_body": {"tokens": 1}}, "tokens"),
        ({"extra_body": {"seconds": 0}}, "seconds"),
        ({"extra_body": {"rejoins": 17}}, "rejoins"),
        ({"extra_body": {"rejoins": -1}}, "rejoins"),
        ({"extra_body": {"ways": "words,program"}}, "ways"),
        ({"extra_body": {"ways": ["words", 1]}}, "ways"),
        ({"extra_body": {"ways": ["guess"]}}, "ways"),
        ({"extra_body": {"generated_tests": 201}}, "generated_tests"),
        ({"extra_body": {"comparisons": 65}}, "comparisons"),
        ({"extra_body": {"certainty": 0.5}}, "certainty"),
        ({"extra_body": {"certainty": "high"}}, "certainty"),
        ({"extra_body": {"seed": -1}}, "seed"),
        ({"extra_body": {"seed": 1 << 64}}, "seed"),
        ({"extra_body": {"policy": "guess"}}, "policy"),
        ({"extra_body": {"check": "guess:42"}}, "check"),
        ({"extra_body": {"check": {"reference": {}}}}, "check"),
        ({"extra_body": {"check": {"custom": {"verifier": "absent"}}}}, "check.custom.verifier"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_bad_request_names_its_field(
    hub: LocalVerifiers, fields: dict[str, Any], param: str, stream: bool
) -> None:
    request: dict[str, Any] = {"model": "espalier", "messages": QUESTION, "stream": stream, **fields}
    async with answering(RIGHT, hub) as ask:
        # What only shows once generation has begun is an error inside the stream, and of the same shape.
        with pytest.raises(openai.APIError) as caught:
            reply = await ask.chat.completions.create(**request)
            async for _ in reply:
                pass
    assert isinstance(caught.value, openai.BadRequestError) or stream
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


async def test_another_model_is_not_found(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        with pytest.raises(openai.NotFoundError) as caught:
            await ask.chat.completions.create(model="another", messages=QUESTION)
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await ask.models.retrieve("another")


async def test_a_wrong_key_is_refused(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub, security=ServerSecurity(token=TOKEN)) as served:
        async with client(served, "wrong") as ask:
            with pytest.raises(openai.AuthenticationError) as caught:
                await ask.chat.completions.create(model="espalier", messages=QUESTION)
            assert caught.value.code == "invalid_api_key"
        async with client(served, TOKEN) as ask:
            reply = await ask.chat.completions.create(model="espalier", messages=QUESTION)
    assert reply.choices[0].message.content == "42"


async def test_a_server_that_asks_for_client_certificates_answers_nobody_without(hub: LocalVerifiers) -> None:
    files = {name: TLS / f"{name}.pem" for name in ("ca", "server", "client")}
    mutual = ServerSecurity(
        certificate=files["server"].read_bytes(),
        key=(TLS / "server.key").read_bytes(),
        client_authority=files["ca"].read_bytes(),
    )
    async with telling(RIGHT) as engine, serving(engine, hub, security=mutual, warm=False) as served:
        url = served.http.replace("http://127.0.0.1", "https://localhost") + "/models"
        stranger = ssl.create_default_context(cafile=files["ca"])
        known = ssl.create_default_context(cafile=files["ca"])
        known.load_cert_chain(files["client"], TLS / "client.key")
        async with httpx.AsyncClient(verify=stranger, timeout=60) as ask:
            with pytest.raises(httpx.TransportError):
                await ask.get(url)
        async with httpx.AsyncClient(verify=known, timeout=60) as ask:
            assert (await ask.get(url)).status_code == 200


async def test_a_full_server_says_when_to_come_back() -> None:
    judge = ScriptedJudge(gate=asyncio.Event())
    async with telling(RIGHT) as engine, serving(engine, judge, slots=1, places=0) as served, client(served) as ask:
        first = asyncio.ensure_future(ask.chat.completions.create(model="espalier", messages=QUESTION))
        await until(lambda: served.session.admission.running == 1)
        with pytest.raises(openai.RateLimitError) as caught:
            await ask.chat.completions.create(model="espalier", messages=QUESTION)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        judge.gate.set()
        assert (await first).choices[0].message.content == "42"


async def test_an_engine_that_is_gone_and_verifiers_that_are_down_are_unavailable(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, ScriptedJudge({"42": ERROR})) as ask:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask.chat.completions.create(model="espalier", messages=QUESTION, extra_body={"check": "reference:42"})
        assert caught.value.status_code == 503
    async with telling(RIGHT) as engine, serving(engine, hub) as served, client(served) as ask:
        await engine.close()
        with pytest.raises(openai.InternalServerError) as caught:
            await ask.chat.completions.create(model="espalier", messages=QUESTION)
        assert caught.value.status_code == 503


async def test_trouble_on_the_way_is_an_error_in_the_stream() -> None:
    async with answering(RIGHT, ScriptedJudge({"42": ERROR})) as ask:
        stream = await ask.chat.completions.create(
            model="espalier", messages=QUESTION, stream=True, extra_body={"check": "reference:42"}
        )
        with pytest.raises(openai.APIError, match="the box died"):
            async for _ in stream:
                pass


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_engine(hub: LocalVerifiers, stream: bool) -> None:
    async with telling(None) as engine, serving(engine, hub) as served, client(served) as ask:
        all_free = free_tokens(engine)

        async def wait_for_it() -> None:
            reply: Any = await ask.chat.completions.create(model="espalier", messages=QUESTION, stream=stream)
            async for _ in reply:
                pass

        waiting = asyncio.create_task(wait_for_it())
        await until(lambda: free_tokens(engine) < all_free)
        waiting.cancel()
        await asyncio.wait([waiting])
        await until(lambda: free_tokens(engine) == all_free and served.session.admission.running == 0)
        assert served.ended("cancelled") == 1


async def test_a_client_that_leaves_the_line_leaves_nothing_behind(hub: LocalVerifiers) -> None:
    async with telling(None) as engine, serving(engine, hub, slots=1) as served, client(served) as ask:
        all_free = free_tokens(engine)
        create = ask.chat.completions.create
        first = asyncio.ensure_future(create(model="espalier", messages=QUESTION))
        await until(lambda: free_tokens(engine) < all_free)
        second = asyncio.ensure_future(create(model="espalier", messages=QUESTION, stream=True))
        await until(lambda: served.session.admission.waiting == 1)
        for call in (second, first):
            call.cancel()
        await asyncio.wait([first, second])
        await until(lambda: served.session.admission.waiting + served.session.admission.running == 0)
        assert served.ended("cancelled") == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 400), (b"[]", 400), (b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b" " * (17 << 20), 413)],
)
async def test_a_body_that_is_no_request_is_refused(hub: LocalVerifiers, content: bytes, status: int) -> None:
    async with answering(RIGHT, hub) as ask:
        reply = await ask._client.post(
            "chat/completions", content=content, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code == status
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


async def test_paths_that_do_not_exist_answer_in_the_same_shape(hub: LocalVerifiers) -> None:
    async with answering(RIGHT, hub) as ask:
        for path, status, code in (
            ("nothing", 404, "unknown_url"),
            ("chat/completions", 405, "method_not_allowed"),
        ):
            reply = await ask._client.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_the_most_that_may_be_asked_for_is_what_the_tests_above_think() -> None:
    assert LIMITS.candidate_tokens == 512
