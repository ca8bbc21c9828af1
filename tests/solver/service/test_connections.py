"""Connections that are slow or idle, and what a caller that must wait is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest

from espalier.solver.service import http, requests
from espalier.solver.session.admission import Admission, AdmissionFullError
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import Served, serving

BODY = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "check": "reference:42"}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(engine: Any) -> AsyncIterator[tuple[Served, Streams]]:
    async with serving(engine, ScriptedJudge({"42": PASS})) as served:
        url = httpx.URL(served.http)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            yield served, (reader, writer)
        finally:
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /he"])
async def test_a_head_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.2)
    async with connected(ScriptedEngine.of("42")) as (_, (reader, writer)):
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(60):
            await reader.read()  # to the end


async def test_a_reply_may_take_longer_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.05)
    judge = ScriptedJudge({"42": PASS}, seconds=0.3)
    async with serving(ScriptedEngine.of("\\boxed{42}"), judge) as served, httpx.AsyncClient(timeout=20) as client:
        for _ in range(2):  # the second request comes over the same connection
            reply = await client.post(f"{served.http}/chat/completions", json=BODY)
            assert reply.status_code == 200


async def test_a_client_that_offers_http_2_is_answered_over_http_1() -> None:
    """As Java's own client does with every request: its body must not be taken for another protocol's."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQBAAAAAAIAAAAA"}
    async with (
        serving(ScriptedEngine.of("\\boxed{42}"), ScriptedJudge({"42": PASS})) as served,
        httpx.AsyncClient(timeout=20) as client,
    ):
        for _ in range(2):  # the second request comes over the same connection
            reply = await client.post(f"{served.http}/chat/completions", json=BODY, headers=offer)
            assert reply.json()["choices"][0]["message"]["content"] == "42"


async def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.2)
    async with connected(ScriptedEngine.of("42")) as (_, (reader, writer)):
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        async with asyncio.timeout(60):
            assert b" 408 " in await reader.readline()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"k": ' + "1" * 5000 + "}", "body: is not JSON"),
        ('{"model": "espalier", "messages": {}}', "messages: is an object, not a list"),
        ('{"model": 7}', "model: is a number, not a string"),
        ('{"model": "espalier", "messages": [], "user": "\\ud800"}', "half of a surrogate pair"),
    ],
)
async def test_a_body_of_wrong_types_is_refused_by_name(content: str, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with serving(ScriptedEngine.of("42"), ScriptedJudge()) as served, httpx.AsyncClient(timeout=20) as client:
        reply = await client.post(f"{served.http}/chat/completions", content=content, headers=headers)
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


async def test_a_stream_without_news_is_kept_alive_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_SECONDS", 0.05)
    async with serving(ScriptedEngine.of(None), ScriptedJudge()) as served, httpx.AsyncClient(timeout=20) as client:
        asked = client.stream("POST", f"{served.http}/chat/completions", json={**BODY, "stream": True, "k": 2})
        async with asked as reply:
            comments = 0
            async for line in reply.aiter_lines():
                comments += line.startswith(":")
                assert not line or line.startswith(":") or json.loads(line.removeprefix("data: "))
                if comments == 2:
                    break


async def test_a_longer_line_is_told_to_come_back_later() -> None:
    delays = []
    for places in (0, 3):
        admission = Admission(1, places)
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(_hold(admission)) for _ in range(1 + places)]
            await asyncio.sleep(0)
            with pytest.raises(AdmissionFullError) as caught:
                async with admission.enter():
                    raise AssertionError("there was no place")
            delays.append(caught.value.delay)
            for task in held:
                task.cancel()
    assert delays[1] == 4 * delays[0]


async def _hold(admission: Admission) -> None:
    async with admission.enter():
        await asyncio.Event().wait()
