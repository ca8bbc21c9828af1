"""The live pages' server: who may ask for what, and streams that go on where they were cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.common.callers import Callers
from espalier.common.security import ServerSecurity
from espalier.solver.batch.batches import BatchInfo
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.working import problems
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge, boxed, response
from tests.solver.service.serving import until
from tests.solver.viewer.paging import Paged, paged

if TYPE_CHECKING:
    from redis.asyncio import Redis

RIGHT = response("try " + boxed("41"), "other", answer=boxed("42"))
TOKEN = "a-token-of-some-length"  # noqa: S105


def judge() -> ScriptedJudge:
    return ScriptedJudge({"42": PASS})


async def entries(pages: Paged, solve: str, last: str = "") -> list[dict[str, Any]]:
    return [
        entry
        async for _, name, data in pages.events(f"solves/{solve}/events", last)
        if name == "message"
        for entry in data
    ]


async def test_a_solve_that_is_asked_for_is_told_to_its_end() -> None:
    async with paged(ScriptedEngine.of(RIGHT), judge()) as pages:
        told = await entries(pages, await pages.ask(k=1))
        assert "accepted" in told[0]
        assert "solved" in told[-1]
        text = "".join(
            entry["deltas"]["text"] for entry in told if "deltas" in entry and not entry["deltas"]["path"]["turns"]
        )
        assert text.startswith("<guideline>")
        assert "\\boxed{42}" in text
        (listed,) = (await pages.client.get("/ui/api/solves")).json()["solves"]
        assert listed["end"] == "verified"


async def test_a_watcher_goes_on_behind_the_last_event_that_it_has() -> None:
    async with paged(ScriptedEngine.of(RIGHT), judge()) as pages:
        solve = await pages.ask(k=1)
        whole = await entries(pages, solve)
        assert await entries(pages, solve, last="3") == whole[3:]
        assert await entries(pages, solve, last="nonsense") == whole
        assert await entries(pages, solve, last="99999") == []


async def test_solves_of_other_doors_can_be_watched_while_they_run() -> None:
    engine = ScriptedEngine.of(None)
    async with paged(engine) as pages:
        body = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "k": 1}
        asking = asyncio.create_task(pages.client.post("/v1/chat/completions", json=body))
        await engine.busy.wait()
        (listed,) = (await pages.client.get("/ui/api/solves")).json()["solves"]
        assert (listed["text"], listed["end"]) == ("What is 6 times 7?", "")
        async for _, _, data in pages.events(f"solves/{listed['id']}/events"):
            if any("deltas" in entry for entry in data):
                break
        asking.cancel()
        await until(lambda: bool(pages.live_solves.newest()[0].end))
        assert "broken_off" in (await entries(pages, listed["id"]))[-1]


async def test_a_solve_of_the_page_can_be_cancelled_and_leaves_the_engine() -> None:
    engine = ScriptedEngine.of(None)
    async with paged(engine) as pages:
        solve = await pages.ask(k=2)
        await engine.busy.wait()
        assert (await pages.client.delete(f"/ui/api/solves/{solve}")).status_code == 204
        await until(lambda: not engine.running)
        assert (await entries(pages, solve))[-1]["broken_off"] == {"reason": "cancelled"}
        assert (await pages.client.delete(f"/ui/api/solves/{solve}")).status_code == 404


async def test_a_solve_that_fails_says_why() -> None:
    async with paged(ScriptedEngine.of(RIGHT, fails_after=3)) as pages:
        last = (await entries(pages, await pages.ask()))[-1]
        assert "broken_off" in last
        assert "the scripted engine is gone" in last["broken_off"]["reason"]


async def test_whoever_finds_no_place_in_line_is_told_at_once() -> None:
    engine = ScriptedEngine.of(None)
    async with paged(engine, places=0) as pages:
        await pages.ask()
        await engine.busy.wait()
        reply = await pages.client.post("/ui/api/solves", json={"text": "x"})
        assert reply.status_code == 429
        assert [play.end != "" for play in pages.live_solves.newest()] == [True, False]
        await pages.client.delete(f"/ui/api/solves/{pages.live_solves.newest()[1].id}")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": " "}, "text"),
        ({"text": "x" * 100_001}, "text"),
        ({"text": "x", "check": "nonsense"}, "check"),
        ({"text": "x", "check": 1}, "check"),
        ({"text": "x", "k": 99}, "k"),
        ({"text": "x", "k": "1"}, "k"),
        ({"text": "x", "seed": -1}, "seed"),
        ({"text": "x", "policy": "magic"}, "policy"),
        ([], "body"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_field(body: Any, field: str) -> None:
    async with paged(ScriptedEngine.of(RIGHT)) as pages:
        reply = await pages.client.post("/ui/api/solves", json=body)
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == field
        assert not pages.live_solves.newest()


async def test_the_pages_are_for_anyone_and_what_they_show_for_those_with_the_token() -> None:
    async with paged(ScriptedEngine.of(RIGHT), security=ServerSecurity(token=TOKEN)) as pages:
        client = pages.client
        for path in ("/ui/", "/ui/app.js", "/ui/app.css", "/ui/notices.txt"):
            reply = await client.get(path)
            assert reply.status_code == 200
            assert "default-src 'none'" in reply.headers["content-security-policy"]
            assert "unsafe" not in reply.headers["content-security-policy"]
        assert (await client.get("/")).headers["location"] == "/ui/"
        calls = [
            ("GET", path) for path in ("about", "solves", "solves/x/events", "queue/events", "jobs/x/events", "runs")
        ]
        for method, path in [
            *calls,
            ("POST", "solves"),
            ("POST", "dead"),
            ("DELETE", "solves/x"),
            ("DELETE", "jobs/x"),
        ]:
            assert (await client.request(method, f"/ui/api/{path}")).status_code == 401, path
            bad = await client.request(method, f"/ui/api/{path}", headers={"Authorization": "Bearer wrong"})
            assert bad.status_code == 401, path
        good = await client.get("/ui/api/about", headers={"Authorization": f"Bearer {TOKEN}"})
        assert good.json()["model"] == "scripted"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
)
async def test_another_site_cannot_ask_through_a_browser_on_this_machine(headers: dict[str, str]) -> None:
    async with paged(ScriptedEngine.of(RIGHT)) as pages:
        assert (await pages.client.get("/ui/api/solves", headers=headers)).status_code == 403
        reply = await pages.client.post("/ui/api/solves", json={"text": "x"}, headers=headers)
        assert reply.status_code == 403
        assert not pages.live_solves.newest()


async def test_half_a_surrogate_pair_is_refused_and_the_list_of_solves_goes_on() -> None:
    async with paged(ScriptedEngine.of(RIGHT), judge()) as pages:
        body = b'{"text": "What is 6 times 7? \\ud800", "check": "reference:42"}'
        headers = {"Content-Type": "application/json"}
        refused = await pages.client.post("/ui/api/solves", content=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "text")
        await pages.ask()
        assert len((await pages.client.get("/ui/api/solves")).json()["solves"]) == 1


async def test_an_event_id_of_other_digits_is_refused(redis: Redis) -> None:
    async with paged(ScriptedEngine.of(RIGHT), queue=JobQueue(redis)) as pages:
        headers = {"Last-Event-ID": "\u0661-\u0662".encode()}
        reply = await pages.client.get("/ui/api/jobs/x/events", headers=headers)
        assert reply.status_code == 400


async def test_a_form_of_another_site_is_no_json() -> None:
    async with paged(ScriptedEngine.of(RIGHT)) as pages:
        reply = await pages.client.post(
            "/ui/api/solves", content='{"text": "x"}', headers={"Content-Type": "text/plain"}
        )
        assert reply.status_code == 415


async def test_what_the_pages_show_of_all_callers_is_for_none_of_them(redis: Redis, tmp_path: Path) -> None:
    """They watch, cancel and revive whatever there is: that is for the token of the server."""
    callers = tmp_path / "callers.toml"
    callers.write_text('[bob]\ntoken = "the-token-of-bob-here"\n')
    security = ServerSecurity(token=TOKEN, callers=Callers(callers))
    queue = JobQueue(redis)
    (job,) = (await queue.submit(problems(1), info=BatchInfo(caller="alice"))).job_ids
    async with paged(ScriptedEngine.of(RIGHT), queue=queue, security=security) as pages:
        as_bob = {"Authorization": "Bearer the-token-of-bob-here"}
        for method, path in (
            ("GET", "solves"),
            ("GET", "queue/events"),
            ("GET", f"jobs/{job}/events"),
            ("DELETE", f"jobs/{job}"),
            ("POST", "dead"),
        ):
            reply = await pages.client.request(method, f"/ui/api/{path}", headers=as_bob)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_for_callers")
            assert "--token-file" in reply.json()["error"]["message"]
        assert (await queue.get(job)).status.state == pb.JOB_STATE_QUEUED
        as_server = {"Authorization": f"Bearer {TOKEN}"}
        assert (await pages.client.delete(f"/ui/api/jobs/{job}", headers=as_server)).status_code == 204


async def test_what_the_server_lacks_is_not_found_with_what_to_do() -> None:
    async with paged(ScriptedEngine.of(RIGHT)) as pages:
        told = {
            "queue/events": "--redis",
            "jobs/x/events": "--redis",
            "runs": "--runs",
            "solves/none/events": "no such solve",
        }
        for path, said in told.items():
            reply = await pages.client.get(f"/ui/api/{path}")
            assert reply.status_code == 404, path
            assert said in reply.json()["error"]["message"]


async def test_runs_are_listed_and_read(tmp_path: Path) -> None:
    (tmp_path / "sweep/a").mkdir(parents=True)
    (tmp_path / "sweep/a/metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    async with paged(ScriptedEngine.of(RIGHT), runs=tmp_path) as pages:
        (run,) = (await pages.client.get("/ui/api/runs")).json()["runs"]
        read = (await pages.client.get(f"/ui/api/runs/{run['id']}")).json()
        assert read["records"] == [{"step": 1, "reward": 0.5}]
        assert (await pages.client.get(f"/ui/api/runs/sweep/a?from={read['offset']}")).json()["records"] == []
        assert (await pages.client.get("/ui/api/runs/sweep/a?from=x")).status_code == 400
        assert (await pages.client.get("/ui/api/runs/sweep/b")).status_code == 404
