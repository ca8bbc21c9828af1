"""Webhooks: a signed POST when a batch has ended, after the Standard Webhooks specification.

A batch with a webhook is put into a sorted set of Redis in the step that ends it. A server takes what is due from
there, sends it, and takes it out once the receiver has confirmed it with a status 2xx: delivery is at least once, and
the receiver knows repetitions by `webhook-id`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from espalier.common.errors import FieldError
from espalier.solver.batch.batches import Batch
from espalier.solver.batch.connection import QueueUnavailableError, outage_as_unavailable
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.scripts import Script, Scripts
from espalier.solver.batch.status import UnknownJobError
from espalier.v1 import solver_pb2 as pb

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult
    from redis.asyncio import Redis
    from yarl import URL

SECRET_PREFIX = "whsec_"  # noqa: S105 (no secret: what stands before one)
MIN_SECRET = 24
"""Bytes of a secret, at least; the specification says 24 to 64."""

MAX_URL = 2048
"""Characters of an address."""

REPLY_SECONDS = 15.0
"""A receiver that takes longer has not received it."""

LOOK_SECONDS = 1.0
"""Time between two looks for batches that have ended."""

AT_ONCE, OF_ONE_CALLER = 16, 8
"""Webhooks that are told at a time: in all, and of one caller, whose receivers keep no other's from being told."""

DELAYS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0)
"""Seconds until the next try, after each that failed; after the last one it is given up: tries within two days."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is assigned of IPv6 to the internet; outside of it are old and local forms of addresses of IPv4."""

_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_-]{1,63}\.)*(?!\d+\.?$|0x[0-9a-f]*\.?$)[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
"""A name of a host. What ends in a number is none: resolvers take `127.1` and `0x7f.1` for addresses."""

log = structlog.get_logger()


class WebhookRefusedError(Exception):
    """The address may not be called."""


class WebhookMetrics(Protocol):
    """Counts what becomes of webhooks."""

    def webhook(self, outcome: str) -> None:
        """Note how a try ended: delivered, failed or given_up."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Who may be told of the ends of batches, and how it is signed.

    Attributes:
        secret: Key of the signatures.
        hosts: Names that addresses may have; `*` is every name.
        default: Address for batches that name none; empty: they tell nobody. It is allowed as it is.
        private: Whether loopback and private addresses may be called, and addresses without TLS.
    """

    secret: bytes = field(repr=False)
    hosts: Sequence[str] = ()
    default: str = ""
    private: bool = False

    def __post_init__(self) -> None:
        if self.default:
            self.check(self.default)

    def check(self, url: str) -> URL:
        """The address, if it may be called as far as that can be told without a look at the network.

        Raises:
            FieldError: It may not, or is none.
        """
        parsed = parse_webhook(url)
        if parsed.scheme != "https" and not self.private:
            raise FieldError("webhook", "is not https; nothing else is called from here")
        allowed = {host.lower() for host in self.hosts}
        if url != self.default and parsed.host not in allowed and "*" not in allowed:
            raise FieldError("webhook", f"{parsed.host} is no host that may be called from here")
        if not self.private and _is_address(parsed.host or "") and not is_public(parsed.host or ""):
            raise FieldError("webhook", f"{parsed.host} is no public address")
        return parsed


def parse_webhook(url: str) -> URL:
    """An address of HTTP.

    Raises:
        FieldError: It is none.
    """
    from yarl import URL

    try:
        parsed = URL(url)
    except ValueError as error:
        raise FieldError("webhook", f"is no address: {error}") from None
    if len(url) > MAX_URL:
        raise FieldError("webhook", f"has {len(url)} characters; give at most {MAX_URL}")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise FieldError("webhook", f"{url[:80]!r} is no address; write https://HOST/PATH")
    if not (_is_address(parsed.host) or _NAME.fullmatch(parsed.raw_host or "")):
        raise FieldError("webhook", f"{parsed.host[:80]!r} is neither a name nor an address of a host")
    if parsed.user is not None or parsed.password is not None:
        raise FieldError("webhook", "has a user or password in it; what is sent is signed, check that instead")
    return parsed


def read_webhook_secret(text: str) -> bytes:
    """The key in `whsec_…`, which is base64 of 24 bytes or more.

    Raises:
        ValueError: The text is none.
    """
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(SECRET_PREFIX) or len(secret) < MIN_SECRET:
        raise ValueError(
            f"a secret of webhooks is {SECRET_PREFIX} and base64 of at least {MIN_SECRET} bytes; make one with: "
            f"echo {SECRET_PREFIX}$(openssl rand -base64 32)"
        )
    return secret


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """What the header `webhook-signature` says: HMAC-SHA256 of id, time and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, sha256).digest()).decode()


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet, also where one of IPv6 stands for one of IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found not in _GLOBAL_UNICAST:
            return False
    return found.is_global and not found.is_multicast


def event_of(batch: Batch) -> dict[str, Any]:
    """What is told of a batch that has ended. The same end has the same id, however often it is told."""
    ended = batch.finished or 0.0
    counts = {"total": batch.count, "completed": batch.states[pb.JOB_STATE_DONE]}
    return {
        "id": f"evt_{batch.id}_{round(ended * 1000)}",
        "object": "event",
        "created_at": int(ended),
        "type": "batch.completed" if batch.cancelled is None else "batch.cancelled",
        "data": {"id": f"batch_{batch.id}", "key": batch.key, "request_counts": counts},
    }


class WebhookSender:
    """Tells webhooks of batches that have ended, with growing pauses between tries. Several may run side by side.

    Args:
        redis: Connections to the queue.
        settings: Who may be told, and the key of the signatures.
        metrics: Counts tries.
        keys: Of the queue.
    """

    def __init__(
        self, redis: Redis, settings: WebhookSettings, metrics: WebhookMetrics | None = None, keys: Keys = Keys()
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._metrics = metrics
        self._keys = keys
        self._queue = JobQueue(redis, keys)
        self._scripts = Scripts(redis, keys)

    async def run(self) -> None:
        """Send what is due until cancelled. An outage of Redis is waited out."""
        telling: dict[asyncio.Task[None], str] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                with _due_again():
                    for caller, batch in await self._due(Counter(telling.values())):
                        telling[group.create_task(self._tell(caller, batch))] = caller
                if len(telling) < AT_ONCE:
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    await asyncio.wait(telling, return_when=asyncio.FIRST_COMPLETED)
                telling = {task: caller for task, caller in telling.items() if not task.done()}

    async def _due(self, telling: Mapping[str, int]) -> Sequence[tuple[str, str]]:
        """Callers and batches that are to be told beside those that are told now, which are so many of each caller."""
        told = [part for caller in telling.items() for part in caller]
        arguments = (int(2 * REPLY_SECONDS), AT_ONCE - sum(telling.values()), OF_ONE_CALLER, *told)
        with outage_as_unavailable():
            due = await self._scripts.run(Script.DUE_WEBHOOKS, (), *arguments)
        return [(caller.decode(), batch.decode()) for caller, batch in due]

    async def _tell(self, caller: str, batch_id: str) -> None:
        with _due_again(batch=batch_id):
            try:
                batch = await self._queue.batch(batch_id)
            except UnknownJobError:
                await self._forget(caller, batch_id, None)
            else:
                await self._tell_end(batch)

    async def _tell_end(self, batch: Batch) -> None:
        if batch.finished is None or not batch.info.webhook:
            await self._forget_end(batch)
            return
        try:
            await self._post(batch)
        except WebhookRefusedError as error:
            await self._give_up(batch, str(error))
        except (OSError, TimeoutError) as error:
            await self._try_again(batch, f"{type(error).__name__}: {error}")
        else:
            await self._forget_end(batch)
            self._count("delivered")
            log.info("webhook told", batch=batch.id)

    async def _post(self, batch: Batch) -> None:
        """
        Raises:
            WebhookRefusedError: The address may not be called, or the receiver wants no more.
            OSError: The receiver did not confirm it.
        """
        import aiohttp

        try:
            url = self._settings.check(batch.info.webhook)
        except FieldError as error:
            raise WebhookRefusedError(str(error)) from None
        event = event_of(batch)
        body = json.dumps(event).encode()
        with outage_as_unavailable():
            now = (await self._redis.time())[0]
        headers = {
            "content-type": "application/json",
            "webhook-id": event["id"],
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._settings.secret, event["id"], now, body),
        }
        connector = aiohttp.TCPConnector(resolver=_resolver(self._settings.private), force_close=True)
        limit = aiohttp.ClientTimeout(total=REPLY_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=limit, auto_decompress=False) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as reply,
            ):
                status = reply.status
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error
        if status == 410:
            raise WebhookRefusedError("the receiver is gone for good (410)")
        if not 200 <= status < 300:
            raise ConnectionError(f"the receiver answered {status}")

    async def _try_again(self, batch: Batch, trouble: str) -> None:
        with outage_as_unavailable():
            tries = await self._scripts.run(
                Script.RETRY_WEBHOOK,
                [self._keys.batch(batch.id)],
                batch.info.caller,
                batch.id,
                _written(batch.finished),
                *DELAYS,
            )
        if tries > len(DELAYS):
            await self._give_up(batch, trouble)
            return
        self._count("failed")
        again_in = DELAYS[tries - 1] if tries else None
        log.warning("webhook failed", batch=batch.id, tries=tries, again_in=again_in, reason=trouble)

    async def _give_up(self, batch: Batch, reason: str) -> None:
        await self._forget_end(batch)
        self._count("given_up")
        log.error("webhook is given up", batch=batch.id, reason=reason)

    async def _forget_end(self, batch: Batch) -> None:
        """Nothing more is to be told of this end of a batch."""
        await self._forget(batch.info.caller, batch.id, batch.finished)

    async def _forget(self, caller: str, batch_id: str, ended: float | None) -> None:
        with outage_as_unavailable():
            own = [self._keys.batch(batch_id)]
            await self._scripts.run(Script.FORGET_WEBHOOK, own, caller, batch_id, _written(ended))

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.webhook(outcome)


def _written(ended: float | None) -> str:
    """A time as the record of a batch has it."""
    return "" if ended is None else f"{ended:.6f}"


@contextmanager
def _due_again(**about: str) -> Iterator[None]:
    """Keep the trouble of one batch from the others: what was not told is due again."""
    try:
        yield
    except QueueUnavailableError as error:
        log.debug("webhooks wait for redis", error=str(error))
    except Exception:
        log.exception("webhooks failed", **about)


def _resolver(private: bool) -> Any:
    """Finds addresses of names; those that may not be called are none. What it finds is what is connected to, so that
    a name cannot point elsewhere after it was checked.
    """
    from aiohttp.abc import AbstractResolver
    from aiohttp.resolver import ThreadedResolver

    class Guarded(AbstractResolver):
        def __init__(self) -> None:
            self._threaded = ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            found = await self._threaded.resolve(host, port, family)
            allowed = [one for one in found if private or is_public(one["host"])]
            if not allowed:
                raise OSError(f"{host} has no public address")
            return allowed

        async def close(self) -> None:
            await self._threaded.close()

    return Guarded()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
