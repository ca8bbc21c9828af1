"""The same call again with the same key gets the same reply, and nothing is generated twice."""

from __future__ import annotations

import asyncio

import grpc
import httpx2 as httpx
import pytest

from espalier.common.errors import FieldError
from espalier.solver.session import idempotency
from espalier.solver.session.idempotency import IdempotentCalls
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import asking, serving, until

BODY = {
    "model": "espalier",
    "messages": [{"role": "user", "content": "What is 6 times 7?"}],
    "check": "reference:42",
    "k": 1,
}
RIGHT = "so \\boxed{42}"
SENT = {"Idempotency-Key": "monday"}


async def test_the_same_key_gets_the_same_reply_over_http() -> None:
    engine = ScriptedEngine.of(RIGHT)
    async with serving(engine, ScriptedJudge({"42": PASS})) as served, httpx.AsyncClient(timeout=20) as client:
        warm, url = len(engine.requests), f"{served.http}/chat/completions"
        both = await asyncio.gather(*(client.post(url, json=BODY, headers=SENT) for _ in range(2)))
        again = await client.post(url, json=dict(reversed(BODY.items())), headers=SENT)
        assert both[0].json() == both[1].json() == again.json()
        assert len(engine.requests) == warm + 1
        for changed in ({"k": 2}, {"stream": True}):
            refused = await client.post(url, json={**BODY, **changed}, headers=SENT)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "idempotency-key")
        assert (await client.post(url, json=BODY)).json()["id"] != again.json()["id"]


async def test_the_same_key_gets_the_same_reply_over_grpc() -> None:
    engine = ScriptedEngine.of(RIGHT)
    async with serving(engine, ScriptedJudge({"42": PASS})) as served:
        metadata = (("idempotency-key", "monday"),)
        first = await served.stub.SolveOnce(asking(k=1), metadata=metadata)
        assert await served.stub.SolveOnce(asking(k=1), metadata=metadata) == first
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.SolveOnce(asking(k=2), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_solve_with_a_key_goes_on_when_its_client_is_gone() -> None:
    judge = ScriptedJudge({"42": PASS}, gate=asyncio.Event())
    async with serving(ScriptedEngine.of(RIGHT), judge) as served:
        metadata = (("idempotency-key", "monday"),)
        call = served.stub.SolveOnce(asking(k=1), metadata=metadata)
        await until(lambda: bool(judge.asked))
        call.cancel()
        assert judge.gate is not None
        judge.gate.set()
        assert (await served.stub.SolveOnce(asking(k=1), metadata=metadata)).answer == "42"
        assert judge.asked["42"] == 1


async def test_a_failure_is_not_kept() -> None:
    calls = IdempotentCalls()

    async def fail() -> str:
        raise RuntimeError("the moon is full")

    async def answer() -> str:
        return "42"

    with pytest.raises(RuntimeError, match="moon"):
        await calls.reply("", "monday", b"a", fail)
    assert await calls.reply("", "monday", b"a", answer) == "42"


async def test_keys_of_other_callers_are_not_ones_own() -> None:
    calls = IdempotentCalls()

    async def said(word: str) -> str:
        return word

    assert await calls.reply("alice", "monday", b"a", lambda: said("alice")) == "alice"
    assert await calls.reply("bob", "monday", b"b", lambda: said("bob")) == "bob"
    with pytest.raises(FieldError, match="another request"):
        await calls.reply("bob", "monday", b"a", lambda: said("bob"))


async def test_only_the_newest_replies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_REPLIES", 2)
    calls, made = IdempotentCalls(), []

    async def make(key: str) -> str:
        made.append(key)
        return key

    for key in ("a", "b", "c", "b", "c", "a"):
        assert await calls.reply("", key, b"", lambda key=key: make(key)) == key  # type: ignore[misc]
    assert made == ["a", "b", "c", "a"]
