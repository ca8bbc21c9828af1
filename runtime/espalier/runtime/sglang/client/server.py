"""One SGLang server: what it is, and how to ask it something. Every failure becomes an `EngineError` of its kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from espalier.common.cooldown import Cooldown
from espalier.runtime.engine import EngineError, EngineUnavailable, RequestRefused
from espalier.runtime.sglang.client.sse import BrokenStream, messages
from espalier.runtime.sglang.protocol import KEY

SILENCE = 30.0
"""Seconds without a byte of an answer after which the server is asked whether it still lives."""

TICK = 1.0
"""Seconds between looks at a request that is answered in one piece."""

REFUSED = (400, 413, 422)


def session(key: str | None = None) -> aiohttp.ClientSession:
    """What carries requests to servers, with the key that they want.

    One connection a request: SGLang closes those that rest for five seconds, and a request that is sent at that moment
    is lost.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0, force_close=True))


class NoSuchEndpoint(EngineError):
    """The server does not know the path: an older SGLang, or none at all."""


class RequestFailed(EngineUnavailable):
    """The server answered 500: it lives, and this request failed there."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a server says about itself.

    Attributes:
        model: Path or name of its model.
        tokenizer: Path or name of its tokenizer.
        version: Of SGLang.
        context_length: Most tokens of a sequence.
        kv_tokens: Tokens whose keys and values fit into its memory.
        ranks: Processes that hold a part of the model.
        incremental: Whether a message of a stream holds what is new only, instead of everything so far.
        weight_version: SGLang's name for its weights.
        no_plugin: Why it cannot fork and join; empty if it can.
        no_rejoins: Why it cannot begin with finished branches, if it can fork and join at all; empty if it can.
    """

    model: str
    tokenizer: str
    version: str
    context_length: int
    kv_tokens: int
    ranks: int
    incremental: bool
    weight_version: str
    no_plugin: str
    no_rejoins: str = ""


@dataclass(eq=False, slots=True)
class Server:
    """A server at one address.

    Attributes:
        url: Like `http://127.0.0.1:30000`; holds no secrets.
        http: Carries the key, if there is one.
        profile: What it said when it was last met; None before the first time.
        stale: It has been away since; ask it again.
        cooldown: Says for how long it is asked last after a failure.
    """

    url: str
    http: aiohttp.ClientSession = field(repr=False)
    profile: Profile | None = None
    stale: bool = True
    cooldown: Cooldown = field(default_factory=Cooldown, repr=False)

    async def meet(self) -> Profile:
        """Ask who it is, and whether its scheduler forks and joins: one token is generated for that.

        Raises:
            EngineUnavailable: It cannot be reached or is still starting.
            EngineError: It is no SGLang server, or refuses our key.
        """
        model, server, listed = await asyncio.gather(
            self.get("/model_info"), self.get("/server_info"), self.get("/v1/models")
        )
        no_plugin = await self._no_plugin()
        no_rejoins = "" if no_plugin else await self._no_rejoins()
        try:
            self.profile = Profile(
                model=str(model["model_path"]),
                tokenizer=str(model["tokenizer_path"]),
                version=str(server["version"]),
                context_length=int(listed["data"][0]["max_model_len"]),
                kv_tokens=int(server["max_total_num_tokens"]),
                ranks=int(server["tp_size"]) * int(server["pp_size"]),
                incremental=bool(server.get("incremental_streaming_output", False)),
                weight_version=str(model.get("weight_version", "")),
                no_plugin=no_plugin,
                no_rejoins=no_rejoins,
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineError(f"{self.url} does not answer like SGLang 0.5.17 or newer: {error!r}") from error
        self.stale = False
        self.cooldown.reset()
        return self.profile

    async def _no_plugin(self) -> str:
        try:
            answer = await self._one_token({})
        except RequestRefused as error:
            return str(error)
        if KEY in answer.get("meta_info", {}):
            return ""
        return f"the server at {self.url} runs without Espalier's plugin"

    async def _no_rejoins(self) -> str:
        """A plugin that does not know the option refuses it."""
        try:
            await self._one_token({"given": 0})
        except RequestRefused as error:
            return f"the plugin of the server at {self.url} cannot join branches again ({error}); update it"
        return ""

    async def _one_token(self, options: dict[str, Any]) -> dict[str, Any]:
        sampling = {"max_new_tokens": 1, "temperature": 0.0, "custom_params": {KEY: options}}
        return await self.post("/generate", {"input_ids": [0], "sampling_params": sampling})

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises as :meth:`post`."""
        with self._failures():
            async with self.http.get(self.url + path, timeout=aiohttp.ClientTimeout(total=SILENCE)) as response:
                return await self._object(response)

    async def post(self, path: str, body: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Send a JSON object and return the one that comes back (empty if the answer has no content).

        Args:
            path: Where to.
            body: What.
            seconds: How long it may take; None: as long as the server lives.

        Raises:
            RequestRefused: The server does not take the request.
            EngineUnavailable: The server cannot be reached, is starting, overloaded or failing.
            EngineError: The answer makes no sense, or our key is refused.
        """
        with self._failures():
            timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
            async with self.http.post(self.url + path, json=body, timeout=timeout) as response:
                return await self._object(response)

    async def post_and_watch(
        self, path: str, body: dict[str, Any], tick: Callable[[], Awaitable[None]]
    ) -> dict[str, Any]:
        """As :meth:`post`, for an answer that may take long; a server that is silent is asked whether it lives.

        Args:
            path: Where to.
            body: What.
            tick: Called every :data:`TICK` seconds until the answer is there.

        Raises:
            RequestRefused: The server does not take the request.
            RequestFailed: It failed on this request.
            EngineUnavailable: It cannot be reached, has stopped answering, is starting, overloaded or failing.
            EngineError: The answer makes no sense, or our key is refused.
        """
        clock = asyncio.get_running_loop().time
        answer = asyncio.ensure_future(self.post(path, body))
        try:
            heard = clock()
            while not (await asyncio.wait((answer,), timeout=min(TICK, SILENCE)))[0]:
                await tick()
                if clock() - heard >= SILENCE:
                    await self._require_alive()
                    heard = clock()
            return await answer
        finally:
            answer.cancel()

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Send a JSON object and yield the messages that come back. Raises as :meth:`post`, at any time."""
        with self._failures():
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            async with self.http.post(self.url + path, json=body, timeout=timeout) as response:
                await self._require_success(response)
                async for message in messages(self._pieces(response)):
                    yield message

    async def alive(self) -> bool:
        """Whether the scheduler behind the server generates tokens."""
        try:
            await self.get("/health")
        except EngineError:
            return False
        return True

    async def _require_alive(self) -> None:
        if not await self.alive():
            raise EngineUnavailable(f"the SGLang server at {self.url} has stopped answering") from None

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    piece = await response.content.readany()
            except TimeoutError:  # a queue may be long; a host that is gone says nothing either
                await self._require_alive()
                continue
            if not piece:
                return
            yield piece

    async def _object(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        await self._require_success(response)
        body = await response.read()
        answer = json.loads(body) if body else {}
        if not isinstance(answer, dict):
            raise EngineError(f"{response.url} answered with no JSON object")
        return answer

    async def _require_success(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 200:
            return
        said = _said(await response.read()) or response.reason or ""
        if response.status in REFUSED:
            raise RequestRefused(said)
        if response.status in (401, 403):
            raise EngineError(f"the SGLang server at {self.url} wants a key; write sglang://HOST:PORT?key-file=FILE")
        if response.status >= 500:
            kind = RequestFailed if response.status == 500 else EngineUnavailable
            raise kind(f"the SGLang server at {self.url} answered {response.status}: {said}")
        raise NoSuchEndpoint(f"{response.url} answered {response.status}; is it an SGLang server?")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, ConnectionError) as error:
            why = str(error) or type(error).__name__
            raise EngineUnavailable(f"the SGLang server at {self.url} cannot be reached: {why}") from error
        except (aiohttp.ClientError, BrokenStream, json.JSONDecodeError) as error:
            raise EngineError(f"{self.url} does not talk like an SGLang server: {error}") from error


def _said(body: bytes) -> str:
    """What an error's body says: SGLang has `{"error": {"message": …}}`, `{"message": …}` and plain text."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace").strip()
    for name in ("error", "message", "detail"):
        if isinstance(answer, dict) and name in answer:
            answer = answer[name]
    return answer if isinstance(answer, str) else json.dumps(answer)[:200]
