"""A server of chat completions between best-of-k tools and a model: it counts what they cost, and replays responses.

Every tool has a base URL of its own, and what it asks for is counted under its name, problem by problem, in one way for
all: what tools say of themselves differs (some leave out responses that they throw away). Requests go on to a live
server. With recorded responses (`espalier data sample --responses`) a request for a plain sample gets the next one of
its problem instead, in the order of their numbers (of requests that come together, in the order in which they arrive):
the same for every tool, so tools differ only in what they make of the samples.

**A replay is no model**: it knows one prompt, one temperature and one limit, and refuses what differs. It ends a
response at once, so nothing can be aborted and saved; its wall clock says nothing about generating.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from espalier.solver.core.candidate import Candidate
from espalier.solver.core.responses import Sampling, read

ENDS = ("stop", "length")
"""How a response ends that a model has finished, or a limit."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a tool has asked for.

    Attributes:
        samples: Responses to the problem as it is put.
        new_tokens: Of all responses; of one that was aborted, the pieces of its stream.
        prompt_tokens: Of all requests.
    """

    samples: int = 0
    new_tokens: int = 0
    prompt_tokens: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.samples + other.samples,
            self.new_tokens + other.new_tokens,
            self.prompt_tokens + other.prompt_tokens,
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """Responses to be replayed: how they were sampled, and those of each problem in their order."""

    sampling: Sampling
    responses: Mapping[str, Sequence[Candidate]]

    @classmethod
    def load(cls, path: Path) -> Recording:
        """What a file of responses holds, without those that ended in an error.

        Raises:
            ValueError: It holds something else.
        """
        sampling, found = read(path)
        responses: dict[str, list[Candidate]] = defaultdict(list)
        for (_, problem, _), candidate in sorted(found, key=lambda pair: pair[0][2]):
            if candidate.reason.value in ENDS:
                responses[problem].append(candidate)
        return cls(sampling, dict(responses))

    def differs(self, body: Mapping[str, Any]) -> str:
        """In what a request asks for something else than what was recorded; empty where in nothing."""
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        asked = {
            "temperature": (1.0 if body.get("temperature") is None else body["temperature"], self.sampling.temperature),
            "max_tokens": (limit or self.sampling.max_tokens, self.sampling.max_tokens),
            "top_p": (1.0 if body.get("top_p") is None else body["top_p"], 1.0),
        }
        found = [
            f"{name} {ours} was recorded, not {theirs}" for name, (theirs, ours) in asked.items() if theirs != ours
        ]
        if not is_plain(body["messages"]):
            found.append("only the problem as it is put was recorded, and there are other messages")
        return "; ".join(found)


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The first turn of the user."""
    return next((str(one.get("content")) for one in messages if one.get("role") == "user"), "")


def is_plain(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first turn of the user is all that is said. An empty message is none."""
    return sum(bool(one.get("content")) for one in messages) == 1


class MeteredServer:
    """Counts, and answers from a recording, from a live server, or both.

    Attributes:
        spent: By the caller's name and the problem's id.
    """

    def __init__(
        self,
        model: str,
        prompts: Mapping[str, str],
        *,
        recording: Recording | None = None,
        upstream: str | None = None,
    ) -> None:
        """
        Args:
            model: The name that it lists.
            prompts: The id of each problem by the prompt that puts it.
            recording: What plain samples are answered with.
            upstream: Base URL of the live server for all other requests; None: they are refused.
        """
        self.spent: dict[tuple[str, str], Spent] = defaultdict(Spent)
        self._model = model
        self._prompts = prompts
        self._recording = recording
        self._upstream = upstream

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port of this machine; yields the address, to which :func:`base_url` adds a caller."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/{caller}/v1/models", self._models),
                web.post("/{caller}/v1/chat/completions", self._complete),
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield "http://127.0.0.1:{1}".format(*runner.addresses[0])
        finally:
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        listed = {"id": self._model, "object": "model", "created": 0, "owned_by": "metered"}
        return web.json_response({"object": "list", "data": [listed]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        messages = body["messages"]
        problem = self._prompts.get(prompt_of(messages))
        if problem is None:
            return _refusal(f"no problem is put like this: {prompt_of(messages)[:200]!r}")
        key = request.match_info["caller"], problem
        if self._recording is not None:
            differs = self._recording.differs(body)
            if not differs:
                return await self._replay(request, body, key, self._recording.responses.get(problem, ()))
            if self._upstream is None:
                return _refusal(f"cannot be replayed: {differs}")
        return await self._forward(request, body, key, f"{self._upstream}/chat/completions")

    async def _replay(
        self, request: web.Request, body: Mapping[str, Any], key: tuple[str, str], responses: Sequence[Candidate]
    ) -> web.StreamResponse:
        first, count = self.spent[key].samples, body.get("n") or 1
        drawn = responses[first : first + count]
        if len(drawn) < count:
            return _refusal(f"{key[1]}: {len(responses)} responses are recorded, and {first + count} are asked for")
        new, prompt = sum(one.usage.new_tokens for one in drawn), drawn[0].usage.prompt_tokens
        self.spent[key] += Spent(count, new, prompt)
        usage = {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}
        if not body.get("stream"):
            choices = [
                {"index": at, "message": {"role": "assistant", "content": one.text}, "finish_reason": one.reason.value}
                for at, one in enumerate(drawn)
            ]
            return web.json_response(self._reply("chat.completion", choices, usage))
        response = await _event_stream(request)
        for at, one in enumerate(drawn):
            delta = {"role": "assistant", "content": one.text}
            for choice in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": one.reason.value}):
                piece = self._reply("chat.completion.chunk", [{"index": at, **choice}], None)
                await response.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
        piece = self._reply("chat.completion.chunk", [], usage)
        await response.write(b"data: " + json.dumps(piece).encode() + b"\n\ndata: [DONE]\n\n")
        return response

    def _reply(self, kind: str, choices: Sequence[Any], usage: Any) -> dict[str, Any]:
        return {"id": "1", "object": kind, "created": 0, "model": self._model, "choices": choices, "usage": usage}

    async def _forward(
        self, request: web.Request, body: dict[str, Any], key: tuple[str, str], url: str
    ) -> web.StreamResponse:
        """Pass a request on; one for several responses as so many for one: not every server makes or counts them."""
        count = body.pop("n", None) or 1
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            if body.get("stream"):
                if count > 1:
                    return _refusal("a stream is of one response")
                async with session.post(url, json=body | {"stream_options": {"include_usage": True}}) as reply:
                    if reply.status == 200:
                        return await self._relay(request, reply, key, is_plain(body["messages"]))
                    return await _passed_on(reply)

            async def one() -> web.Response | dict[str, Any]:
                async with session.post(url, json=body) as reply:
                    if reply.status != 200:
                        return await _passed_on(reply)
                    found: dict[str, Any] = await reply.json()
                    return found

            replies = await asyncio.gather(*(one() for _ in range(count)))
        found = [reply for reply in replies if isinstance(reply, dict)]
        refused = next((reply for reply in replies if isinstance(reply, web.Response)), None)
        used = [reply.get("usage") or {} for reply in found]
        usage = {
            "prompt_tokens": used[0].get("prompt_tokens", 0) if used else 0,
            "completion_tokens": sum(one.get("completion_tokens", 0) for one in used),
        }
        self._count(key, usage, len(found) * is_plain(body["messages"]))
        choices = [reply["choices"][0] | {"index": at} for at, reply in enumerate(found)]
        usage["total_tokens"] = sum(usage.values())
        return refused or web.json_response(found[0] | {"choices": choices, "usage": usage})

    async def _relay(
        self, request: web.Request, reply: aiohttp.ClientResponse, key: tuple[str, str], samples: int
    ) -> web.StreamResponse:
        pieces, usage = 0, None
        try:
            response = await _event_stream(request)
            async for line in reply.content:
                name, _, data = line.strip().partition(b": ")
                if name == b"data" and data != b"[DONE]":
                    piece = json.loads(data)
                    usage = piece.get("usage") or usage
                    pieces += sum(bool(choice["delta"].get("content")) for choice in piece["choices"])
                await response.write(line)
            return response
        finally:  # the caller may have gone
            self._count(key, usage or {"completion_tokens": pieces}, samples)

    def _count(self, key: tuple[str, str], usage: Mapping[str, Any], samples: int) -> None:
        self.spent[key] += Spent(samples, usage.get("completion_tokens") or 0, usage.get("prompt_tokens") or 0)


def caller_of(name: str) -> str:
    """A name as it can stand in an address."""
    return re.sub(r"\W+", "-", name).strip("-")


def base_url(address: str, caller: str) -> str:
    """The base URL of a caller."""
    return f"{address}/{caller_of(caller)}/v1"


async def _event_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def _passed_on(reply: aiohttp.ClientResponse) -> web.Response:
    """What a server says that refuses a request."""
    return web.Response(body=await reply.read(), status=reply.status, content_type=reply.content_type)


def _refusal(said: str) -> web.Response:
    return web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=400)
