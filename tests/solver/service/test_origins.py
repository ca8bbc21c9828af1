"""Who may make `/v1` work: our own clients, and no page of another site through a browser on this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest

from espalier.common.security import ServerSecurity
from tests.solver.scripted import ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import serving

BODY = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "check": "reference:42"}
TOKEN = "a-token-of-some-length"  # noqa: S105


@asynccontextmanager
async def asked(security: ServerSecurity = ServerSecurity()) -> AsyncIterator[tuple[httpx.AsyncClient, ScriptedEngine]]:
    engine = ScriptedEngine.of("so \\boxed{42}")
    async with (
        serving(engine, ScriptedJudge(), security=security, warm=False) as served,
        httpx.AsyncClient(base_url=served.http, timeout=20) as client,
    ):
        yield client, engine


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://evil.example"}, "cross_site"),
        ({"Origin": "null"}, "cross_site"),
        ({"Origin": "http://["}, "cross_site"),
        ({"Sec-Fetch-Site": "cross-site"}, "cross_site"),
        ({"Sec-Fetch-Site": "same-site"}, "cross_site"),
        ({"Host": "evil.example"}, "wrong_host"),
        ({"Host": "evil.example:8000"}, "wrong_host"),
        ({"Host": "127.0.0.1.evil.example:80"}, "wrong_host"),
    ],
)
async def test_another_site_is_refused(headers: dict[str, str], code: str) -> None:
    async with asked() as (client, _):
        for reply in (
            await client.post("/chat/completions", json=BODY, headers=headers),
            await client.get("/models", headers=headers),
        ):
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, code)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]", "[::1]:8000"])
async def test_this_machine_may_call_itself_by_its_names(host: str) -> None:
    async with asked() as (client, _):
        assert (await client.get("/models", headers={"Host": host})).status_code == 200


async def test_with_a_token_any_name_is_as_good() -> None:
    async with asked(ServerSecurity(token=TOKEN)) as (client, _):
        headers = {"Host": "solver.example", "Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/models", headers=headers)).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_only_json_that_says_so_is_read(kind: str) -> None:
    async with asked() as (client, _):
        headers = {"Content-Type": kind} if kind else {}
        reply = await client.post("/chat/completions", content=json.dumps(BODY), headers=headers)
        assert (reply.status_code, reply.json()["error"]["type"]) == (415, "invalid_request_error")
        spelled = {"Content-Type": "Application/JSON; charset=utf-8"}
        reply = await client.post("/chat/completions", content=json.dumps(BODY), headers=spelled)
        assert reply.status_code == 200


SURROGATE = "\\ud800"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": f"What is 1?{SURROGATE}"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": SURROGATE}]}]},
            "messages[0].content[0].text",
        ),
        ({"model": f"espalier{SURROGATE}"}, "model"),
        ({"check": {"custom": {"verifier": SURROGATE}}}, "check.custom.verifier"),
        ({"metadata": {SURROGATE: "x"}}, "metadata"),
    ],
)
async def test_half_a_surrogate_pair_is_refused_wherever_it_stands(body: dict[str, Any], param: str) -> None:
    async with asked() as (client, engine):
        content = json.dumps({**BODY, **body}).replace("\\\\", "\\")
        reply = await client.post("/chat/completions", content=content, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
        assert not engine.running


async def test_a_whole_pair_is_a_character() -> None:
    async with asked() as (client, _):
        content = json.dumps({**BODY, "user": "\U0001f600"})
        reply = await client.post("/chat/completions", content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code == 200


@pytest.mark.parametrize("content", [b"\xed\xa0\x80", b'{"a": "\xff"}', b"\xff\xfe{\x00}\x00", b"[" * 100_000, b"nope"])
async def test_what_is_no_json_is_a_field_that_is_wrong(content: bytes) -> None:
    async with asked() as (client, _):
        reply = await client.post("/chat/completions", content=content, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "body")
