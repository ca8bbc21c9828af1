"""A fake server of OpenAI's chat completions, for what a real one cannot be made to do: refuse, stall, break off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(eq=False)
class FakeOpenAI:
    """One server.

    Attributes:
        deltas: What each response is made of.
        usage: Completion tokens that it counts; None: it does not count.
        finish: Its finish reason; None: it breaks off without one.
        models: Names that it lists.
        refusals: Statuses of the next requests, each with its headers, before one is served.
        tell: What a response says, from the body of its request; None: the deltas.
        stall: Whether it falls silent behind the deltas.
        seen: Bodies of the requests.
        open: Responses on their way.
        most_open: The most at once.
        closed: Set when a response has ended, whichever side ended it.
    """

    deltas: tuple[dict[str, str], ...] = ({"content": "4"}, {"content": "2"})
    usage: int | None = 2
    finish: str | None = "stop"
    models: tuple[str, ...] = ("tiny",)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    tell: Callable[[dict[str, Any]], str] | None = None
    stall: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def list_models(self, _: web.Request) -> web.Response:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "x", "max_model_len": 99} for name in self.models
        ]
        return web.json_response({"object": "list", "data": data})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return web.json_response({"error": {"message": "not now", "type": "x"}}, status=status, headers=headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            for delta in self.deltas if self.tell is None else ({"content": self.tell(body)},):
                await self._send(response, [{"index": 0, "delta": delta, "finish_reason": None}])
                await asyncio.sleep(0)
            if self.stall:
                await asyncio.sleep(60)
            if self.finish:
                await self._send(response, [{"index": 0, "delta": {}, "finish_reason": self.finish}])
            if self.usage is not None:
                await self._send(response, [], {"prompt_tokens": 5, "completion_tokens": self.usage, "total_tokens": 7})
            await response.write(b"data: [DONE]\n\n")
        finally:
            self.open -= 1
            self.closed.set()
        return response

    async def _send(self, response: web.StreamResponse, choices: list[Any], usage: Any = None) -> None:
        piece = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny", "choices": choices}
        await response.write(b"data: " + json.dumps(piece | ({"usage": usage} if usage else {})).encode() + b"\n\n")


@asynccontextmanager
async def serving(fake: FakeOpenAI) -> AsyncIterator[str]:
    """The base URL of a fake server."""
    app = web.Application()
    app.add_routes([web.get("/v1/models", fake.list_models), web.post("/v1/chat/completions", fake.complete)])
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()
