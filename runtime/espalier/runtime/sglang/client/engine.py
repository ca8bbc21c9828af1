"""The engine behind HTTP: one or several SGLang servers, with the plugin of this package for fork and join."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from espalier.common.distribution import install
from espalier.runtime.decoding.finished import with_structure
from espalier.runtime.decoding.given import require_joinable, require_known_ids
from espalier.runtime.decoding.response import Response
from espalier.runtime.decoding.transcript import Transcript
from espalier.runtime.engine import (
    EngineError,
    EngineInfo,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Mode,
    RequestRefused,
)
from espalier.runtime.grammar import TagError, Vocabulary
from espalier.runtime.sglang.client import weights as update
from espalier.runtime.sglang.client.messages import (
    Reader,
    generate_body,
    read_whole,
    require_served,
    weight_number,
)
from espalier.runtime.sglang.client.server import Profile, RequestFailed, Server, session
from espalier.runtime.sglang.client.servers import Servers
from espalier.runtime.sglang.client.weights import TensorSpec, WeightGroup

if TYPE_CHECKING:
    import torch

Load = Callable[[Server, int], Awaitable[None]]
"""Puts weights in place on a server under a version."""

RETRIES = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Seconds before each round over the servers."""

ABORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Settings of the client.

    Attributes:
        tokenizer: Directory or name; None: what the server names, which then has to be readable here too.
        key: The servers' API key; read it from a file, never from a URL.
        retries: Seconds to wait before each round over the servers, until one takes the request.
    """

    tokenizer: str | Path | None = None
    key: str | None = field(default=None, repr=False)
    retries: tuple[float, ...] = RETRIES


@dataclass(eq=False, slots=True)
class _Running:
    """A request on its way: where it is, under which id, and whether its caller wants it to end."""

    server: Server | None = None
    sglang_id: str = ""
    unwanted: bool = False


class SglangEngine:
    """Generates on SGLang servers. Implements `Engine`.

    One HTTP stream per request, or one reply for a request of which only the last event is wanted. All requests with
    the same prompt prefer the same server, where they share the keys and values of the prompt. A request that no server
    has begun to answer is sent to the next one; a stream that breaks in the middle is `EngineUnavailable`, since
    nothing is generated twice without being asked for. A reply has no middle: if its server dies, the next one is
    asked.
    """

    def __init__(self, *urls: str, config: ClientConfig = ClientConfig()) -> None:
        """
        Args:
            urls: Like `http://127.0.0.1:30000`; all with the same model.
            config: Settings.
        """
        if not urls:
            raise ValueError("urls: give at least one SGLang server")
        self._urls = [url.rstrip("/") for url in urls]
        self._config = config
        self._servers = Servers(())
        self._running: dict[str, _Running] = {}
        self._http: aiohttp.ClientSession | None = None
        self._tokenizer: Any = None
        self._ids = 0
        self._end_of_turn: tuple[int, ...] = ()
        self._vocabulary: Vocabulary | None = None
        self._weight_version = 0
        self._present: Load | None = None
        self._updated = False
        self._meeting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Meet the servers.

        Raises:
            EngineUnavailable: None of them can be reached.
            EngineError: They serve different models, or the tokenizer cannot be loaded.
        """
        self._http = session(self._config.key)
        try:
            self._servers = Servers(tuple(Server(url, self._http) for url in self._urls))
            await self._servers.meet()
            source = self._config.tokenizer or self._servers.profiles[0].tokenizer
            self._tokenizer = await asyncio.to_thread(_load_tokenizer, source)
            self._ids = len(self._tokenizer)  # up to 50 ms with some versions of tokenizers: not once a request
            self._end_of_turn = await asyncio.to_thread(_end_of_turn, source)
            with contextlib.suppress(TagError):  # a model without tags answers in sequential mode
                self._vocabulary = Vocabulary.of(self._tokenizer, end_of_turn=self._end_of_turn)
        except BaseException:
            await self.close()
            raise
        self._weight_version = max(weight_number(profile.weight_version) for profile in self._servers.profiles)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def info(self) -> EngineInfo:
        profiles = self._servers.profiles
        return EngineInfo(
            model=profiles[0].model,
            context_length=min(profile.context_length for profile in profiles),
            parallel=not any(profile.no_plugin for profile in profiles),
            weight_version=self._weight_version,
            end_of_turn=self._end_of_turn,
            details={
                "servers": {server.url: "down" if server.stale else "up" for server in self._servers.all},
                "sglang": profiles[0].version,
                "kv_tokens": sum(profile.kv_tokens for profile in profiles),
                "running": len(self._running),
            },
            rejoins=not any(profile.no_plugin or profile.no_rejoins for profile in profiles),
        )

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        """See :meth:`espalier.runtime.engine.Engine.generate`."""
        if request.request_id in self._running:
            raise RequestRefused(f"request_id {request.request_id!r} is already running")
        running = self._running[request.request_id] = _Running()
        finished = False
        try:
            async with aclosing(self._events(request, running)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        finished = True
                        yield with_structure(event, self._vocabulary, request.limits.grammar)
                    else:
                        yield event
        finally:
            del self._running[request.request_id]
            if not finished:
                await _abort(running)

    async def abort(self, request_id: str) -> None:
        """See :meth:`espalier.runtime.engine.Engine.abort`."""
        running = self._running.get(request_id)
        if running is not None:
            running.unwanted = True
            await _abort(running)

    async def update_weights(self, weights: Mapping[str, torch.Tensor] | Path) -> int:
        """Put new weights in place on all servers. Each waits until its requests are done; new ones wait meanwhile.

        Args:
            weights: A directory with safetensors files that the servers can read, or tensors by parameter name for
                servers on this host.

        Returns:
            The new weight version.

        A server that is away gets them when it is back; tensors are kept for that until the next update.

        Raises:
            EngineUnavailable: None of the servers can be reached.
            EngineError: A server could not take them. It may serve other weights than the rest now: update again.
        """
        if isinstance(weights, Path):
            return await self._update(lambda server, version: update.load_from_disk(server, weights, version))
        return await self._update(lambda server, version: update.load_from_tensors(server, weights, version))

    def expect_weights(self, version: int) -> None:
        """Another process has put weights of this version in place on the servers; others are not generated with."""
        self._weight_version = version
        self._updated = True

    async def join_weight_group(self, group: WeightGroup) -> None:
        """Let the servers join a trainer's process group; the trainer joins as rank 0 meanwhile.

        Raises:
            EngineError: A server could not join.
        """
        sizes = [(await self._servers.profile(server)).ranks for server in self._servers.all]
        first = itertools.accumulate(sizes, initial=1)  # rank 0 is the trainer
        await asyncio.gather(
            *(update.join_group(server, group, rank) for server, rank in zip(self._servers.all, first, strict=False))
        )

    async def receive_weights(self, specs: Sequence[TensorSpec], group: WeightGroup) -> int:
        """Let the servers receive tensors that the trainer broadcasts meanwhile, in this order.

        Returns:
            The new weight version.

        Raises:
            EngineError: A server could not take them.
        """
        return await self._update(lambda server, version: update.receive(server, specs, group, version))

    async def leave_weight_group(self, group: WeightGroup) -> None:
        """Let the servers leave the group.

        Raises:
            EngineError: A server could not leave.
        """
        await asyncio.gather(*(update.leave_group(server, group) for server in self._servers.all))

    async def close(self) -> None:
        """Abort what is running and disconnect. The servers live on."""
        await asyncio.gather(*(self.abort(request_id) for request_id in list(self._running)))
        if self._http is not None:
            await self._http.close()

    async def _events(self, request: GenerateRequest, running: _Running) -> AsyncGenerator[Event, None]:
        """The events of a response from the first server that takes the request."""
        last: EngineUnavailable | None = None
        for seconds in self._config.retries:
            await asyncio.sleep(seconds)
            for server in self._servers.preferred(request.prompt):
                if running.unwanted:
                    yield Transcript(request).finish(FinishReason.ABORTED, "", self._weight_version)
                    return
                begun = False
                try:
                    async with aclosing(self._events_of(server, request, running)) as events:
                        async for event in events:
                            begun = True
                            yield event
                    return
                except EngineUnavailable as error:
                    self._servers.back_off(server)
                    if begun:
                        raise
                    last = error
        raise last or EngineUnavailable("no SGLang server was asked: retries is empty")

    async def _events_of(
        self, server: Server, request: GenerateRequest, running: _Running
    ) -> AsyncGenerator[Event, None]:
        if self._http is None or self._http.closed:
            raise EngineUnavailable("the engine is closed")
        profile = await self._profile(server)
        _require_possible(request, profile, self._ids)
        if request.given is not None:
            self._require_joinable(request, profile)
        running.server, running.sglang_id = server, uuid.uuid4().hex
        body = generate_body(request, running.sglang_id, profile.context_length)
        if request.final_event_only:
            yield await self._whole(server, request, running, body, profile.context_length)
            return
        answer = Transcript(request)
        reader = Reader(request, answer, profile.context_length, profile.incremental)
        async with aclosing(server.stream("/generate", body)) as stream:
            async for message in stream:
                require_served(message)
                try:
                    events = reader.read(message)
                except (ValueError, LookupError, TypeError) as error:
                    raise EngineError(f"the SGLang server at {server.url} makes no sense: {error}") from error
                for event in events:
                    yield event
                if events and isinstance(events[-1], Finished):
                    return
                if running.unwanted:  # the server forgets an abort that comes before it knows the request
                    await _abort(running)
        raise EngineUnavailable(f"the SGLang server at {server.url} ended in the middle of {request.request_id}")

    async def _whole(
        self, server: Server, request: GenerateRequest, running: _Running, body: dict[str, Any], context_length: int
    ) -> Finished:
        """The response in one reply."""

        async def tick() -> None:
            if running.unwanted:  # the server forgets an abort that comes before it knows the request
                await _abort(running)

        try:
            message = await server.post_and_watch("/generate", body, tick)
        except RequestFailed as error:
            answer = Transcript(request)
            return answer.finish(FinishReason.ERROR, str(error), self._weight_version)
        require_served(message)
        try:
            return read_whole(request, message, context_length)
        except (ValueError, LookupError, TypeError) as error:
            raise EngineError(f"the SGLang server at {server.url} makes no sense: {error}") from error

    def _require_joinable(self, request: GenerateRequest, profile: Profile) -> None:
        """
        Raises:
            RequestRefused: The server cannot join branches again, or what is given is not what an engine decodes.
        """
        if profile.no_rejoins:
            raise RequestRefused(f"given: {profile.no_rejoins}")
        require_joinable(request)
        Response(request, self._vocabulary, profile.context_length)

    async def _profile(self, server: Server) -> Profile:
        """What a server is. One that was away gets the present weights first, whatever it calls its own: it may have
        been started anew, or an earlier trainer may have numbered its weights alike."""
        if not (server.stale or server.profile is None or self._meeting.locked()):
            return server.profile
        async with self._meeting:
            away = server.stale or server.profile is None
            profile = await self._servers.profile(server)
            if away and self._present is not None:
                await self._present(server, self._weight_version)
            elif away and self._updated and weight_number(profile.weight_version) != self._weight_version:
                self._servers.back_off(server)  # another process hands them over
                raise EngineUnavailable(f"{server.url} does not have the present weights yet")
            return profile

    async def _update(self, load: Load) -> int:
        version = self._weight_version + 1
        done = await asyncio.gather(*(load(server, version) for server in self._servers.all), return_exceptions=True)
        failed = [
            (server, e) for server, e in zip(self._servers.all, done, strict=True) if isinstance(e, BaseException)
        ]
        grave = [error for _, error in failed if not isinstance(error, EngineUnavailable)]
        if grave or len(failed) == len(done):
            raise (grave or [error for _, error in failed])[0]
        for server, _ in failed:  # away: it gets them when it is back
            self._servers.back_off(server)
        self._weight_version, self._present, self._updated = version, load, True
        return version


def _require_possible(request: GenerateRequest, profile: Profile, ids: int) -> None:
    if not request.prompt:
        raise RequestRefused("prompt is empty")
    if request.mode is Mode.PARALLEL and profile.no_plugin:
        raise RequestRefused(
            f"mode parallel: {profile.no_plugin}; start it with `espalier engine serve --model PATH` "
            f"({install('sglang')}, on its machine), or use mode sequential"
        )
    given = request.given.tokens if request.given else ()
    if len(request.prompt) + len(given) >= profile.context_length:
        name = "prompt with the given branches" if given else "prompt"
        raise RequestRefused(
            f"{name} has {len(request.prompt) + len(given)} tokens; the server's context holds {profile.context_length}"
        )
    require_known_ids(request, ids, "tokenizer")  # others would kill the whole server (seen with SGLang 0.5.21)


async def _abort(running: _Running) -> None:
    """Best effort: a server that is gone runs nothing, and a server drops a response whose stream is closed."""
    if running.server is not None:
        with contextlib.suppress(EngineError):
            await running.server.post("/abort_request", {"rid": running.sglang_id}, ABORT_SECONDS)


def _load_tokenizer(source: str | Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(
            f"the tokenizer {source} of the SGLang server cannot be loaded here; name a directory that holds it: "
            "sglang://HOST:PORT?tokenizer=PATH"
        ) from error


def _end_of_turn(source: str | Path) -> tuple[int, ...]:
    """Ids that end a turn, from the generation config beside the tokenizer if there is one."""
    from transformers import GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(source).eos_token_id
    except (OSError, ValueError):
        return ()
    return tuple(named) if isinstance(named, list | tuple) else () if named is None else (named,)
