"""A fake SGLang server: speaks its HTTP and the plugin's protocol over the embedded engine, and misbehaves when told.

For what a real server cannot be made to do: dying in the middle of a message, talking garbage, falling silent. What the
real one does is tested in `tests/sglang`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from espalier.runtime.engine import Finished, GenerateRequest, Limits, Mode, SamplingParams, Tokens
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.local import SEEDLING, LocalConfig, LocalEngine
from espalier.runtime.sglang.protocol import (
    EVENTS,
    FORCED,
    KEY,
    PATHS,
    POSITIONS,
    OptionError,
    Summary,
    event_to_json,
    format_path,
    parse_switch,
)
from tests.runtime.local.tiny import SIZES, TinyTokenizer, tiny_qwen3
from tests.runtime.scripted import Script, ScriptedSampler

VOCABULARY = Vocabulary.of(TinyTokenizer())
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ForEveryRequest(dict[str, Script]):
    """One script, whatever the request is called."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def get(self, key: str, default: Any = None) -> Any:
        return self.script


def embedded(script: Script) -> LocalEngine:
    sampler = ScriptedSampler(VOCABULARY, ForEveryRequest(script))
    return LocalEngine.serve(tiny_qwen3(), TinyTokenizer(), LocalConfig(device="cpu", kv_tokens=1 << 14), sampler)


@dataclass(eq=False)
class FakeSglang:
    """One server.

    Attributes:
        engine: Generates.
        incremental: As `--incremental-streaming-output`.
        plugin: Whether parallel requests mean anything to it.
        rejoins: Whether its plugin knows re-joins.
        key: What a caller has to show.
        corrupt: Bytes to send in place of the message with this number, after which the connection is cut.
        answers: Handlers that take over a path's next requests, one each.
        seen: Bodies by path.
        weight_version: Of its weights, as updates name them.
        says_version: Version that its responses name; None: that of its weights.
    """

    engine: LocalEngine
    incremental: bool = True
    plugin: bool = True
    rejoins: bool = True
    key: str | None = None
    model: str = str(SEEDLING)
    corrupt: tuple[int, bytes] | None = None
    answers: dict[str, list[Handler]] = field(default_factory=dict)
    seen: dict[str, list[Any]] = field(default_factory=dict)
    url: str = ""
    weight_version: str = "default"
    says_version: str | None = "7"

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[FakeSglang]:
        app = web.Application(middlewares=[self._take])
        app.router.add_get("/model_info", self._model_info)
        app.router.add_get("/server_info", self._server_info)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._healthy)
        app.router.add_post("/generate", self._generate)
        app.router.add_post("/abort_request", self._abort)
        for source in ("disk", "tensor", "distributed"):
            app.router.add_post(f"/update_weights_from_{source}", self._updated)
        for verb in ("init", "destroy"):
            app.router.add_post(f"/{verb}_weights_update_group", self._success)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """Bodies of the requests to generate, without the probe that a client starts with."""
        return [body for body in self.seen.get("/generate", []) if "rid" in body]

    @web.middleware
    async def _take(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        body = await request.json() if request.can_read_body else None
        self.seen.setdefault(request.path, []).append(body)
        waiting = self.answers.get(request.path)
        if waiting and (request.path != "/generate" or "rid" in body):
            return await waiting.pop(0)(request)
        return await handler(request)

    async def _model_info(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"model_path": self.model, "tokenizer_path": self.model, "weight_version": self.weight_version}
        )

    async def _server_info(self, _: web.Request) -> web.Response:
        known = {"version": "0.5.21", "max_total_num_tokens": 1 << 14, "tp_size": 2, "pp_size": 1}
        return web.json_response({**known, "incremental_streaming_output": self.incremental})

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"max_model_len": SIZES["max_position_embeddings"]}]})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _updated(self, request: web.Request) -> web.Response:
        """Takes the version of the weights, and not the weights."""
        self.weight_version = (await request.json())["weight_version"]
        return web.json_response({"success": True, "message": "done"})

    async def _success(self, _: web.Request) -> web.Response:
        return web.json_response({"success": True, "message": "done"})

    async def _abort(self, request: web.Request) -> web.Response:
        prefix = (await request.json())["rid"]
        for request_id in list(self.engine._responses):
            if request_id.startswith(prefix):  # as SGLang does
                await self.engine.abort(request_id)
        return web.Response()

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = body["sampling_params"]["custom_params"][KEY]
        try:
            if not self.rejoins and isinstance(asked, dict) and "given" in asked:
                raise OptionError("npr.given is no option; there are preset, max_plans")
            switch = parse_switch(asked) if self.plugin else None
        except OptionError as error:
            return web.json_response({"error": {"message": str(error)}}, status=400)
        if "rid" not in body:
            return web.json_response({"meta_info": {KEY: [{}]} if switch else {}})
        if not body["stream"]:
            return web.json_response(await self._reply(body, parallel=switch is not None))
        response = web.StreamResponse()
        await response.prepare(request)
        number = 0
        async for message in self._messages(body, parallel=switch is not None):
            if self.corrupt is not None and self.corrupt[0] == number:
                await response.write(self.corrupt[1])
                request.transport.close()
                return response
            await response.write(b"data: " + json.dumps(message).encode() + b"\n\n")
            number += 1
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _reply(self, body: dict[str, Any], *, parallel: bool) -> dict[str, Any]:
        """A response without streaming."""
        async for event in self.engine.generate(_request(body, parallel=parallel)):
            if isinstance(event, Finished):
                break
        rollout, usage = event.rollout, event.usage
        meta: dict[str, Any] = {
            "finish_reason": {"type": event.reason if event.reason in ("stop", "length") else "abort"},
            "weight_version": self.says_version or self.weight_version,
            "completion_tokens": len(rollout.tokens),
            "output_token_logprobs": [[logprob, 0, None] for logprob in rollout.logprobs],
        }
        if parallel:
            summary = Summary(
                event.reason,
                event.detail,
                sampled_tokens=usage.sampled_tokens,
                forced_tokens=usage.forced_tokens,
                critical_path_tokens=usage.critical_path_tokens,
            )
            paths = [format_path(path) for path in rollout.paths]
            meta |= {KEY: [summary.to_json()], PATHS: paths, FORCED: rollout.forced, POSITIONS: rollout.positions}
        return {"output_ids": rollout.tokens, "meta_info": meta}

    async def _messages(self, body: dict[str, Any], *, parallel: bool) -> AsyncIterator[dict[str, Any]]:
        records: list[Any] = []
        tokens: list[int] = []
        logprobs: list[Any] = []
        async for event in self.engine.generate(_request(body, parallel=parallel)):
            if self.incremental:
                records, logprobs, sent = [], [], len(tokens)
            else:
                sent = 0
            version = self.says_version or self.weight_version
            meta: dict[str, Any] = {"finish_reason": None, "weight_version": version}
            if isinstance(event, Finished):
                tokens = list(event.rollout.tokens)
                meta["finish_reason"] = {"type": event.reason if event.reason in ("stop", "length") else "abort"}
                if parallel and event.reason != "aborted":
                    meta[KEY] = [Summary(event.reason, event.detail).to_json()]
            elif parallel:
                records = [*records, event_to_json(event)]
            elif isinstance(event, Tokens):
                tokens = [*tokens, *event.tokens]
                logprobs = [*logprobs, *([logprob, 0, None] for logprob in event.logprobs)]
            meta |= {"completion_tokens": len(tokens), "output_token_logprobs": logprobs}
            meta |= {EVENTS: records} if parallel else {}
            yield {"output_ids": tokens[sent:], "meta_info": meta}


def _request(body: dict[str, Any], *, parallel: bool) -> GenerateRequest:
    sampling = body["sampling_params"]
    return GenerateRequest(
        body["rid"],
        tuple(body["input_ids"]),
        SamplingParams(temperature=sampling["temperature"], seed=sampling["sampling_seed"]),
        limits=Limits(max_tokens=sampling["max_new_tokens"]),
        mode=Mode.PARALLEL if parallel else Mode.SEQUENTIAL,
        stop=frozenset(sampling["stop_token_ids"]),
    )


def status(code: int, said: str = "no") -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": said}}, status=code)

    return answer


def silence(seconds: float, then: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(request)

    return answer
