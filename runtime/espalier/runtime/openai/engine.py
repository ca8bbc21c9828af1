"""Candidates from a server that speaks OpenAI's chat completions: one streamed request each, sequential text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import openai
import structlog

from espalier.runtime.engine import (
    EngineError,
    EngineInfo,
    EngineUnavailable,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    RequestRefused,
    Rollout,
    SamplingParams,
    Tokens,
    Usage,
)
from espalier.runtime.openai.tokenizer import END_OF_TURN, ByteTokenizer

UNKNOWN_CONTEXT = 1 << 20
"""Positions, where the server does not say: it refuses what is too long by itself."""

REASONING = ("<think>\n", "\n</think>\n")
"""Stand around what a reasoning model thinks: it is part of the text, and no answer is read from it."""

RETRY_COUNT = "x-stainless-retry-count"
"""Header of the client: how often a request was sent before."""

log = structlog.get_logger()

_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


@dataclass(frozen=True, slots=True)
class OpenAIConfig:
    """Settings of the engine.

    Attributes:
        model: Name of the model; empty: the only one that the server lists.
        key: The server's API key; read it from a file, never from a URL.
        concurrent: Requests on their way at once; further ones wait here.
        context: Context length where the server does not say.
        retries: How often a request is sent again that the server had no room for (429, 5xx) or that could not be sent:
            after `Retry-After`, or after 0.5 s, then twice as long each time, 8 s at most. The log says so.
        seconds: Longest silence of the server.
    """

    model: str = ""
    key: str | None = field(default=None, repr=False)
    concurrent: int = 16
    context: int | None = None
    retries: int = 5
    seconds: float = 600.0


class OpenAIEngine:
    """Generates on one server. Implements `Engine` for sequential responses.

    Text travels, so its tokens are bytes (:class:`ByteTokenizer`) and cannot be trained on. Usage is what the server
    counts. A response that is aborted before the server has counted is charged a token for each piece of its stream,
    which is what servers that send every token by itself have made of it; its `detail` says so.
    """

    def __init__(self, url: str, config: OpenAIConfig = OpenAIConfig()) -> None:
        """
        Args:
            url: Base of the interface, like `http://127.0.0.1:8080/v1`.
            config: Settings.
        """
        self._url = url
        self._config = config
        self._client: openai.AsyncOpenAI | None = None
        self._slots = asyncio.Semaphore(config.concurrent)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tokenizer = ByteTokenizer()
        self._info = EngineInfo(config.model, config.context or UNKNOWN_CONTEXT, parallel=False)

    async def __aenter__(self) -> Self:
        """Ask the server for its models.

        Raises:
            EngineUnavailable: It cannot be reached.
            EngineError: It refuses the key, lacks the model, or has several and none was named.
        """
        self._client = openai.AsyncOpenAI(
            base_url=self._url,
            api_key=self._config.key or "none",
            max_retries=self._config.retries,
            timeout=self._config.seconds,
            http_client=_LoggingClient(self._url, self._config.retries),
        )
        try:
            self._info = await self._meet(self._client)
        except BaseException as error:
            await self.close()
            raise (_failure(error, self._url) if isinstance(error, openai.OpenAIError) else error) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        """See :meth:`espalier.runtime.engine.Engine.generate`."""
        if request.request_id in self._running:
            raise RequestRefused(f"request_id: {request.request_id!r} is running")
        if request.given is not None:
            raise RequestRefused("given: a server of chat completions has no branches to join; the embedded engine has")
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        task = asyncio.create_task(self._read(request, pieces))
        task.add_done_callback(lambda _: pieces.put_nowait(None))  # also where it ends before it has begun
        self._running[request.request_id] = task
        text = _Text(request)
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                try:
                    events = text.feed(piece)
                except (TypeError, AttributeError, ValueError) as error:
                    raise _nonsense(self._url, error) from None
                for fresh in events:
                    yield fresh
            yield text.finished(aborted=task.cancelled())
        finally:
            del self._running[request.request_id]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def abort(self, request_id: str) -> None:
        """Close the stream, which is all that such a server can be told."""
        if (task := self._running.get(request_id)) is not None:
            task.cancel()

    async def close(self) -> None:
        """End all requests and the connections."""
        for task in tuple(self._running.values()):
            task.cancel()
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _meet(self, client: openai.AsyncOpenAI) -> EngineInfo:
        config = self._config
        listed = {model.id: model async for model in client.models.list()}
        if not config.model and len(listed) != 1:
            raise EngineError(
                f"{self._url} serves {', '.join(sorted(listed)) or 'no model'}; name one with ?model=NAME"
            )
        name = config.model or next(iter(listed))
        extra = (listed[name].model_extra if name in listed else None) or {}
        meta = extra.get("meta") or {}
        context = config.context or extra.get("max_model_len") or meta.get("n_ctx_train") or UNKNOWN_CONTEXT
        details = {"servers": {self._url: "up"}, "rows": config.concurrent}
        return EngineInfo(name, int(context), parallel=False, details=details)

    async def _read(self, request: GenerateRequest, pieces: asyncio.Queue[Any]) -> None:
        """Put the pieces of the stream into the queue, and an exception where it broke."""
        if self._client is None:
            pieces.put_nowait(EngineUnavailable("the engine is closed"))
            return
        try:
            async with self._slots:
                stream = await self._client.chat.completions.create(
                    model=self._info.model,
                    messages=self._tokenizer.messages(request.prompt),
                    stream=True,
                    stream_options={"include_usage": True},
                    max_tokens=request.limits.max_tokens,
                    **_sampling(request.sampling),
                )
                async with stream:
                    async for piece in stream:
                        pieces.put_nowait(piece)
        except openai.OpenAIError as error:
            pieces.put_nowait(_failure(error, self._url))
        except ValueError as error:  # a line that is no JSON, or no UTF-8
            pieces.put_nowait(_nonsense(self._url, error))


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    """Arguments of the call. What OpenAI itself does not know is sent only where it is asked for."""
    extra = {
        "top_k": sampling.top_k or None,
        "min_p": sampling.min_p or None,
        "repetition_penalty": None if sampling.repetition_penalty == 1.0 else sampling.repetition_penalty,
    }
    arguments: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.seed is not None:
        arguments["seed"] = sampling.seed % (1 << 31)  # some servers keep 32 bits
    if asked := {name: value for name, value in extra.items() if value is not None}:
        arguments["extra_body"] = asked
    return arguments


class _Text:
    """Folds the pieces of one stream into events."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._tokens: list[int] = []
        self._pieces = 0
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._thinking = False

    def feed(self, piece: Any) -> list[Event]:
        """The new bytes of a piece, as at most one event."""
        if piece.usage is not None:
            made = piece.usage.completion_tokens
            self._usage = Usage(piece.usage.prompt_tokens, made, 0, made)
        text = ""
        for choice in piece.choices:
            extra = choice.delta.model_extra or {}
            thought = extra.get("reasoning_content") or extra.get("reasoning") or ""
            said = choice.delta.content or ""
            self._pieces += bool(thought or said)
            if thought and not self._thinking:
                text += REASONING[0]
            if said and self._thinking:
                text += thought + REASONING[1] + said
            else:
                text += thought + said
            self._thinking = bool(thought or (self._thinking and not said))
            self._reason = choice.finish_reason or self._reason
        return self._event(list(text.encode("utf-8", errors="replace")))

    def finished(self, *, aborted: bool) -> Finished:
        """The last event."""
        request = self._request
        reason = FinishReason.ABORTED if aborted else _REASONS.get(self._reason or "", FinishReason.ERROR)
        detail = ""
        if reason is FinishReason.ERROR:
            detail = f"the server ended the response with {self._reason or 'no finish_reason'}"
        usage = self._usage
        if usage is None:
            usage = Usage(0, self._pieces, 0, self._pieces)
            detail = f"{detail}; " * bool(detail) + "tokens are counted by the pieces of the stream"
        if reason is FinishReason.STOP:
            self._tokens.append(END_OF_TURN)
        count = len(self._tokens)
        start = len(request.prompt)
        rollout = Rollout(
            prompt=request.prompt,
            tokens=tuple(self._tokens),
            logprobs=(0.0,) * count,
            forced=(False,) * count,
            positions=tuple(range(start, start + count)),
            paths=((),) * count,
        )
        return Finished(request.request_id, reason, usage, rollout, detail)

    def _event(self, fresh: list[int]) -> list[Event]:
        if not fresh:
            return []
        start = len(self._request.prompt) + len(self._tokens)
        self._tokens += fresh
        count = len(fresh)
        positions = tuple(range(start, start + count))
        return [Tokens(self._request.request_id, (), tuple(fresh), (0.0,) * count, (False,) * count, positions)]


class _LoggingClient(openai.DefaultAsyncHttpxClient):
    """The connections of the client library, which sends a request again that has failed; this says so in the log."""

    def __init__(self, server: str, retries: int) -> None:
        super().__init__()
        self._server = server
        self._retries = retries

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request once."""
        try:
            response = await super().send(request, **options)
        except Exception as error:
            said = str(error) or type(error).__name__
            self._note(request, "the server cannot be reached; it is asked again", error=said)
            raise
        if _is_passing(response.status_code):
            after = response.headers.get("retry-after")
            self._note(
                request, "the server has no room; it is asked again", status=response.status_code, retry_after=after
            )
        return response

    def _note(self, request: Any, event: str, **details: Any) -> None:
        if (sent := _times_sent(request)) <= self._retries:
            log.warning(event, server=self._server, retry=sent, retries=self._retries, **details)


def _times_sent(request: Any) -> int:
    """How often the client library has sent a request, this time included."""
    return int(request.headers.get(RETRY_COUNT, 0)) + 1


def _is_passing(status: int) -> bool:
    """Whether the client asks again after such a status."""
    return status in (408, 409, 429) or status >= 500


def _nonsense(url: str, error: Exception) -> EngineError:
    """A reply that does not follow the protocol."""
    return EngineError(f"{url} does not stream chat completions as OpenAI does ({error}); is it the right address?")


def _failure(error: openai.OpenAIError, url: str) -> EngineError:
    """What a failure of the client library means for the caller."""
    said = str(error) or type(error).__name__
    match error:
        case openai.BadRequestError() | openai.UnprocessableEntityError():
            return RequestRefused(f"{url} refuses the request: {said}")
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return EngineError(f"{url} refuses the key ({said}); name its file with ?key-file=FILE")
        case openai.NotFoundError():
            return EngineError(f"{url} lacks the model or the path ({said})")
        case openai.APIStatusError() if _is_passing(error.status_code):
            asked = _times_sent(error.response.request)
            times = "once" if asked == 1 else f"{asked} times"
            return EngineUnavailable(f"{url} does not answer, asked {times}: {said}")
        case _:
            return EngineUnavailable(f"{url} does not answer: {said}")
