"""From this project's requests to SGLang's JSON, and from its messages back to this project's events."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.runtime.decoding.given import whole
from espalier.runtime.decoding.transcript import Transcript
from espalier.runtime.engine import (
    EngineError,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Mode,
    RequestRefused,
    Rollout,
    Tokens,
    Usage,
)
from espalier.runtime.sglang.client.server import REFUSED
from espalier.runtime.sglang.protocol import (
    EVENTS,
    FORCED,
    KEY,
    PATHS,
    POSITIONS,
    OptionError,
    Summary,
    event_from_json,
    parse_path,
    request_options,
)

SEEDS = 1 << 31
"""SGLang's seeds are 32-bit numbers with a sign."""


def generate_body(request: GenerateRequest, request_id: str, context_length: int) -> dict[str, Any]:
    """The body of `POST /generate`.

    Args:
        request: What to generate.
        request_id: SGLang's id for it. SGLang aborts by prefix, so no id may begin another one.
        context_length: Most tokens of a sequence on the server, all branches included.

    Raises:
        RequestRefused: A limit is beyond what the plugin takes.
    """
    sampling, limits = request.sampling, request.limits
    switch: bool | dict[str, Any] = False  # not left out: the server's default may be on
    tokens = request.prompt + (request.given.tokens if request.given else ())
    room = min(limits.max_tokens, context_length - len(tokens))
    if request.mode is Mode.PARALLEL:
        try:
            switch = request_options(request, events=not request.final_event_only).to_json()
        except OptionError as error:
            raise RequestRefused(str(error)) from None
    elif limits.max_critical_path is not None:
        room = min(room, limits.max_critical_path)
    seed = secrets.randbelow(SEEDS) if sampling.seed is None else sampling.seed % SEEDS
    return {
        "rid": request_id,
        "input_ids": list(tokens),
        "stream": not request.final_event_only,
        "return_logprob": True,
        "sampling_params": {
            "max_new_tokens": room,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "sampling_seed": seed,
            "stop_token_ids": sorted(request.stop),
            "custom_params": {KEY: switch},
        },
    }


def require_served(message: dict[str, Any]) -> None:
    """
    Raises:
        RequestRefused: The message says that the request will not be served.
        EngineUnavailable: It says that the server cannot serve it now.
        EngineError: It says that the server failed, or it is no message of SGLang's.
    """
    if "error" in message:
        error = message["error"]
        status, said = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
    elif isinstance(message.get("meta_info"), dict):
        end = message["meta_info"].get("finish_reason") or {}
        if end.get("type") != "abort" or KEY in message["meta_info"]:
            return
        status, said = end.get("status_code"), end.get("message")
        if status is None:
            return
    else:
        raise EngineError(f"the SGLang server sent what is no part of an answer: {str(message)[:200]}")
    if status in REFUSED:
        raise RequestRefused(str(said))
    raise (EngineUnavailable if status == 503 else EngineError)(f"the SGLang server failed: {said}")


def read_whole(request: GenerateRequest, message: dict[str, Any], context_length: int) -> Finished:
    """The last event of a response that came in one message, without streaming.

    Args:
        request: What is answered.
        message: The answer.
        context_length: Of the server.

    Raises:
        ValueError, LookupError, TypeError: The message is not in the protocol.
    """
    meta, tokens = message["meta_info"], message["output_ids"]
    if request.mode is Mode.PARALLEL and KEY not in meta and meta["finish_reason"]["type"] != "abort":
        raise ValueError("it has lost the plugin")
    if KEY not in meta:  # sequential, or given up in SGLang's queue before it has forked
        answer = Transcript(request)
        plain = replace(request, mode=Mode.SEQUENTIAL)
        *_, last = Reader(plain, answer, context_length, incremental=False).read(message)
        if not isinstance(last, Finished):
            raise ValueError("it has no finish_reason")
        return last
    summary = Summary.from_json(meta[KEY][-1])
    logprobs = [float(item[0]) for item in meta["output_token_logprobs"]]
    count = summary.sampled_tokens + summary.forced_tokens
    if summary.reason is FinishReason.ABORTED:  # SGLang samples a token more, which the response has not taken
        tokens, logprobs = tokens[:count], logprobs[:count]
    columns = (tokens, logprobs, meta[FORCED], meta[POSITIONS], meta[PATHS])
    if any(len(column) != count for column in columns):
        raise ValueError(f"it says {count} tokens and has {', '.join(str(len(column)) for column in columns)}")
    paths = {text: parse_path(text) for text in set(meta[PATHS])}
    new = Rollout(
        prompt=request.prompt,
        tokens=tuple(tokens),
        logprobs=tuple(logprobs),
        forced=tuple(map(bool, meta[FORCED])),
        positions=tuple(meta[POSITIONS]),
        paths=tuple(paths[text] for text in meta[PATHS]),
        weight_version=weight_number(str(meta.get("weight_version", ""))),
    )
    usage = Usage(len(request.prompt), summary.sampled_tokens, summary.forced_tokens, summary.critical_path_tokens)
    return Finished(request.request_id, summary.reason, usage, whole(request.given, new), summary.detail)


@dataclass(eq=False, slots=True)
class Reader:
    """Reads the messages of one response.

    Attributes:
        request: What is answered.
        answer: What was read so far.
        context_length: Of the server.
        incremental: Whether a message holds only what is new.
    """

    request: GenerateRequest
    answer: Transcript
    context_length: int
    incremental: bool
    _events: int = 0

    def read(self, message: dict[str, Any]) -> list[Event]:
        """The events of one message; the last one of the last message is :class:`Finished`.

        Raises:
            ValueError, LookupError, TypeError: The message contradicts what came before, or is not in the protocol.
        """
        meta = message["meta_info"]
        parallel = self.request.mode is Mode.PARALLEL
        events = self._parallel(meta) if parallel else self._sequential(message["output_ids"], meta)
        for event in events:
            self.answer.take(event)
        if meta.get("finish_reason"):
            events.append(self._finished(meta))
        return events

    def _parallel(self, meta: dict[str, Any]) -> list[Event]:
        records = meta.get(EVENTS, [])
        fresh = records if self.incremental else records[self._events :]
        self._events += len(fresh)
        return [event_from_json(self.request.request_id, record) for record in fresh]

    def _sequential(self, tokens: Sequence[int], meta: dict[str, Any]) -> list[Event]:
        done = self.answer.new_tokens
        count = int(meta["completion_tokens"]) - done
        if count <= 0:  # an abort repeats the last token
            return []
        start = len(self.request.prompt) + done
        return [
            Tokens(
                request_id=self.request.request_id,
                path=(),
                tokens=tuple(tokens[-count:]),
                logprobs=tuple(float(item[0]) for item in meta["output_token_logprobs"][-count:]),
                forced=(False,) * count,
                positions=tuple(range(start, start + count)),
            )
        ]

    def _finished(self, meta: dict[str, Any]) -> Finished:
        end = meta["finish_reason"]
        weights = weight_number(str(meta.get("weight_version", "")))
        if self.request.mode is Mode.PARALLEL and KEY in meta:
            summary = Summary.from_json(meta[KEY][-1])
            return self.answer.finish(summary.reason, summary.detail, weights)
        if end["type"] == "abort":
            return self.answer.finish(FinishReason.ABORTED, "", weights)
        if self.request.mode is Mode.PARALLEL:
            raise ValueError("it has lost the plugin")
        reason = FinishReason(end["type"])
        return self.answer.finish(reason, self._limit() if reason is FinishReason.LENGTH else "", weights)

    def _limit(self) -> str:
        limits, new = self.request.limits, self.answer.new_tokens
        if new >= limits.max_tokens:
            return f"max_tokens {limits.max_tokens} reached"
        if limits.max_critical_path is not None and new >= limits.max_critical_path:
            return f"max_critical_path {limits.max_critical_path} reached"
        return f"context length {self.context_length} reached"


def weight_number(version: str) -> int:
    """The number in SGLang's name of the weights; 0 for weights as they were loaded ("default")."""
    return int(version) if version.isdecimal() else 0
