"""Webhooks: signed as the specification says, told at least once, and only to those who may be called."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import openai
import pytest
from aiohttp import web

from espalier.common.errors import FieldError
from espalier.common.ports import free_port
from espalier.solver.batch import webhooks
from espalier.solver.batch.batches import BatchInfo
from espalier.solver.batch.handler import JobRefusedError
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.webhooks import WebhookSender, WebhookSettings, is_public, read_webhook_secret
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import NoWork, problems, until, working

if TYPE_CHECKING:
    from redis.asyncio import Redis

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
KEY = read_webhook_secret(SECRET)
LOCAL = WebhookSettings(KEY, ["127.0.0.1", "localhost"], private=True)


@dataclass
class Receiver:
    """A real HTTP server that answers with the next of these statuses, the last one for ever, once `before` is over."""

    statuses: list[int] = field(default_factory=lambda: [200])
    before: Callable[[], Awaitable[object]] | None = None
    requests: list[web.Request] = field(default_factory=list)
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def hear(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.heard.append((dict(request.headers), await request.read()))
        if self.before is not None:
            await self.before()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, headers={"Location": self.url} if status == 302 else None)


@dataclass
class Counted:
    outcomes: list[str] = field(default_factory=list)

    def webhook(self, outcome: str) -> None:
        self.outcomes.append(outcome)


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses) or [200])
    app = web.Application()
    app.router.add_post("/told", receiver.hear)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/told"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sending(redis: Redis, settings: WebhookSettings = LOCAL) -> AsyncIterator[Counted]:
    counted = Counted()
    task = asyncio.create_task(WebhookSender(redis, settings, counted).run())
    try:
        yield counted
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other without pauses."""
    monkeypatch.setattr(webhooks, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(webhooks, "DELAYS", (0.0, 0.0, 0.0))


async def submit(redis: Redis, url: str, count: int = 2, key: str = "monday", caller: str = "") -> str:
    response = await JobQueue(redis).submit(problems(count), key=key, info=BatchInfo(caller, webhook=url))
    return response.batch_id


async def submit_cancelled(redis: Redis, url: str, key: str, caller: str = "") -> str:
    """A batch that has ended, without any worker."""
    queue, batch = JobQueue(redis), await submit(redis, url, key=key, caller=caller)
    await queue.cancel_batch(await queue.batch(batch))
    return batch


async def refuse(job: pb.Job) -> None:
    raise JobRefusedError("too hard")


async def test_a_batch_that_ends_is_told_once_and_the_stock_client_accepts_the_signature(
    redis: Redis, server: RedisServer
) -> None:
    async with receiving() as receiver, sending(redis) as counted:
        batch = await submit(redis, receiver.url)
        async with working(server, NoWork()):
            await until(lambda: counted.outcomes == ["delivered"])
        await asyncio.sleep(0.2)
        ((headers, body),) = receiver.heard
    event: Any = openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=SECRET)
    assert (event.type, event.data.id) == ("batch.completed", f"batch_{batch}")
    assert json.loads(body)["data"]["request_counts"] == {"total": 2, "completed": 2}
    assert json.loads(body)["data"]["key"] == "monday"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        openai.OpenAI(api_key="none").webhooks.unwrap(body + b" ", headers, secret=SECRET)
    assert await redis.zcard(Keys().webhooks) == 0


async def test_a_cancelled_batch_is_told_as_such(redis: Redis) -> None:
    queue = JobQueue(redis)
    async with receiving() as receiver, sending(redis):
        await submit(redis, receiver.url)
        assert not receiver.heard
        await queue.cancel_batch(await queue.batch("monday"))
        await until(lambda: bool(receiver.heard))
    assert json.loads(receiver.heard[0][1])["type"] == "batch.cancelled"


async def test_a_receiver_that_fails_is_told_again_with_the_same_id(redis: Redis, server: RedisServer) -> None:
    async with receiving(500, 302, 200) as receiver, sending(redis) as counted:
        await submit(redis, receiver.url)
        async with working(server, NoWork()):
            await until(lambda: counted.outcomes == ["failed", "failed", "delivered"])
    assert len(receiver.heard) == 3  # a redirect was not followed
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len({body for _, body in receiver.heard}) == 1


@pytest.mark.parametrize(("statuses", "outcomes"), [([500], ["failed"] * 3), ([410], [])])
async def test_a_receiver_that_never_confirms_is_given_up(
    redis: Redis, server: RedisServer, statuses: list[int], outcomes: list[str]
) -> None:
    async with receiving(*statuses) as receiver, sending(redis) as counted:
        batch = await submit(redis, receiver.url)
        async with working(server, NoWork()):
            await until(lambda: counted.outcomes == [*outcomes, "given_up"])
    assert await redis.zcard(Keys().webhooks) == 0
    assert not await redis.hexists(Keys().batch(batch), "webhook_tries")


async def test_a_receiver_that_is_away_is_told_when_it_is_back(
    redis: Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "DELAYS", (0.0,) * 1000)
    port = free_port()
    async with sending(redis) as counted:
        await submit(redis, f"http://127.0.0.1:{port}/told")
        async with working(server, NoWork()):
            await until(lambda: "failed" in counted.outcomes)
        receiver, app = Receiver(), web.Application()
        app.router.add_post("/told", receiver.hear)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            await until(lambda: counted.outcomes[-1] == "delivered")
        finally:
            await runner.cleanup()
    assert len(receiver.heard) == 1


async def test_two_senders_tell_once(redis: Redis, server: RedisServer) -> None:
    async with receiving() as receiver, sending(redis) as one, sending(redis) as other:
        for number in range(8):
            await submit(redis, receiver.url, 1, str(number))
        async with working(server, NoWork()):
            await until(lambda: len(one.outcomes) + len(other.outcomes) == 8)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == len(receiver.heard) == 8


async def test_a_batch_that_goes_on_is_told_of_its_next_end(redis: Redis, server: RedisServer) -> None:
    """Its dead jobs are queued again: the first end is told only if that was done before."""
    queue = JobQueue(redis)
    batch = await submit(redis, "http://127.0.0.1:1/told")
    await queue.cancel_batch(await queue.batch(batch))
    assert await redis.zcard(Keys().webhooks) == 1
    ended = await queue.batch(batch)
    assert webhooks.event_of(ended) == webhooks.event_of(await queue.batch(batch))


async def test_the_next_end_of_a_batch_has_all_tries_of_its_own(
    redis: Redis, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "DELAYS", (0.0, 3600.0))
    async with receiving(500) as receiver, sending(redis) as counted, working(server, NoWork(refuse)):
        await submit(redis, receiver.url)
        await until(lambda: counted.outcomes == ["failed"] * 2)
        assert await JobQueue(redis).retry_dead() == 2
        await until(lambda: counted.outcomes == ["failed"] * 4)


async def test_an_end_that_comes_while_the_one_before_it_is_told_is_told_too(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    async with receiving() as receiver, sending(redis) as counted, working(server, NoWork(refuse)):

        async def go_on() -> None:
            receiver.before = None
            assert await queue.retry_dead() == 2
            async for _ in queue.watch_batch("monday"):
                pass

        receiver.before = go_on
        await submit(redis, receiver.url)
        await until(lambda: counted.outcomes == ["delivered"] * 2)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 2


async def test_a_slow_receiver_keeps_no_other_from_being_told(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "REPLY_SECONDS", 3600.0)
    answer = asyncio.Event()
    async with receiving() as slow, receiving() as quick, sending(redis) as counted:
        slow.before = answer.wait
        await submit_cancelled(redis, slow.url, "slow")
        await until(lambda: bool(slow.heard))
        await submit_cancelled(redis, quick.url, "quick")
        await until(lambda: counted.outcomes == ["delivered"])
        answer.set()
        await until(lambda: counted.outcomes == ["delivered"] * 2)


async def test_no_more_are_told_at_a_time_than_may_be(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "AT_ONCE", 2)
    answer = asyncio.Event()
    async with receiving() as receiver, sending(redis) as counted:
        receiver.before = answer.wait
        for number in range(5):
            await submit_cancelled(redis, receiver.url, str(number))
        await until(lambda: len(receiver.heard) == 2)
        await asyncio.sleep(0.2)
        assert len(receiver.heard) == 2
        answer.set()
        await until(lambda: counted.outcomes == ["delivered"] * 5)
    assert len(receiver.heard) == 5


async def test_a_caller_with_many_webhooks_keeps_no_other_from_being_told(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice's receivers do not answer, and come first; bob's is told meanwhile."""
    monkeypatch.setattr(webhooks, "REPLY_SECONDS", 3600.0)
    monkeypatch.setattr(webhooks, "AT_ONCE", 3)
    monkeypatch.setattr(webhooks, "OF_ONE_CALLER", 2)
    answer, queue = asyncio.Event(), JobQueue(redis)
    async with receiving() as slow, receiving() as quick:
        slow.before = answer.wait
        for number in range(6):
            await submit_cancelled(redis, slow.url, str(number), "alice")
        await submit_cancelled(redis, quick.url, "mine", "bob")
        async with sending(redis) as counted:
            await until(lambda: counted.outcomes == ["delivered"])
            assert (len(slow.heard), len(quick.heard)) == (2, 1)
            answer.set()
            await until(lambda: counted.outcomes == ["delivered"] * 7)
    assert (await queue.stored()).keys() == {"alice", "bob"}


async def test_who_stops_the_sender_stops_all_that_it_tells(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the record of another batch could not be read."""
    monkeypatch.setattr(webhooks, "REPLY_SECONDS", 3600.0)
    async with receiving() as slow:
        slow.before = asyncio.Event().wait
        broken = await submit_cancelled(redis, slow.url, "broken")
        await redis.hset(Keys().batch(broken), "metadata", "{")
        await submit_cancelled(redis, slow.url, "slow")
        async with sending(redis):
            await until(lambda: bool(slow.heard))
        (request,) = slow.requests
        await until(lambda: request.transport is None)


async def test_an_address_that_may_not_be_called_is_given_up_where_it_is_sent(redis: Redis) -> None:
    """Who writes to Redis directly passes no server's check."""
    queue = JobQueue(redis)
    async with receiving() as receiver, sending(redis, WebhookSettings(KEY, ["*"])) as counted:
        for number, url in enumerate([receiver.url, receiver.url.replace("http", "https"), "https://localhost/x"]):
            await submit(redis, url, key=str(number))
            await queue.cancel_batch(await queue.batch(str(number)))
        await until(lambda: counted.outcomes.count("given_up") == 3)
    assert not receiver.heard


@pytest.mark.parametrize(
    ("settings", "url", "said"),
    [
        (WebhookSettings(KEY, ["a.example"]), "https://b.example/x", "no host that may be called"),
        (WebhookSettings(KEY, ["a.example"]), "https://a.example.evil.example", "no host that may be called"),
        (WebhookSettings(KEY, ["a.example"]), "https://a.example@evil.example", "has a user or password"),
        (WebhookSettings(KEY, ["*"]), "http://a.example", "not https"),
        (WebhookSettings(KEY, ["*"]), "ftp://a.example", "no address"),
        (WebhookSettings(KEY, ["*"]), "https://", "no address"),
        (WebhookSettings(KEY, ["*"]), "x", "no address"),
        (WebhookSettings(KEY, ["*"]), "https://[::1", "no address"),
        (WebhookSettings(KEY, ["*"]), "https://a..b", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), f"https://{'a' * 64}.example", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), "https://a b.example", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), "https://127.1", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), "https://127.0.0.1.", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), "https://2130706433", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), "https://0x7f.0x1", "neither a name nor an address"),
        (WebhookSettings(KEY, ["*"]), "https://[::127.0.0.1]/", "no public address"),
        (WebhookSettings(KEY, ["*"]), "https://127.0.0.1", "no public address"),
        (WebhookSettings(KEY, ["*"]), "https://[::ffff:10.0.0.1]/", "no public address"),
        (WebhookSettings(KEY, ["*"]), f"https://a.example/{'x' * 2048}", "characters"),
    ],
)
def test_an_address_that_may_not_be_called_is_refused(settings: WebhookSettings, url: str, said: str) -> None:
    with pytest.raises(FieldError, match="webhook") as caught:
        settings.check(url)
    assert said in str(caught.value)


def test_addresses_that_may_be_called() -> None:
    assert WebhookSettings(KEY, ["a.example"]).check("https://A.example:8443/x").port == 8443
    assert WebhookSettings(KEY, default="https://b.example/x").check("https://b.example/x").host == "b.example"
    assert WebhookSettings(KEY, ["*"]).check("https://bücher.example/x").raw_host == "xn--bcher-kva.example"
    assert WebhookSettings(KEY, ["*"]).check("https://[2606:4700::1111]/x").host == "2606:4700::1111"
    assert LOCAL.check("http://127.0.0.1:1/").host == "127.0.0.1"
    with pytest.raises(FieldError):
        WebhookSettings(KEY, default="https://b.example/x").check("https://b.example/y")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        *((address, False) for address in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0")),  # noqa: S104
        *((address, False) for address in ("::1", "fe80::1%eth0", "fc00::1", "224.0.0.1", "100.64.0.1", "ff02::1")),
        *((address, False) for address in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::")),
        *((address, False) for address in ("::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1")),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_x", base64.b64encode(b"k" * 32).decode(), "whsec_a2V5"])
def test_a_secret_that_is_none_is_refused_with_the_way_to_make_one(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand"):
        read_webhook_secret(text)


async def test_a_name_is_resolved_once_and_only_to_addresses_that_may_be_called(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of a public list may point at this machine, in any of the notations that resolvers take."""
    resolver: Any = webhooks._resolver(private=False)
    for name in ("localhost", "127.1", "0x7f.1", "2130706433"):
        with pytest.raises(OSError, match="no public address"):
            await resolver.resolve(name)
    assert await webhooks._resolver(private=True).resolve("localhost")
