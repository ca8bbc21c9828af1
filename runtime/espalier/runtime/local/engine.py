"""The embedded engine: one model in this process, on the CPU or one GPU, all branches of all requests in one batch."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file

from espalier.runtime.decoding.finished import with_structure
from espalier.runtime.decoding.given import require_joinable, require_known_ids
from espalier.runtime.decoding.response import Response
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
from espalier.runtime.local.attention import KVCache
from espalier.runtime.local.cuda_graphs import CudaGraphRunner
from espalier.runtime.local.kv_pages import BlockManager
from espalier.runtime.local.model import LoadedModel, ModelError, adopt_model, fixed_pass, forward, load_model
from espalier.runtime.local.sampler import DefaultSampler, Sampler, SamplingInput, forbid
from espalier.runtime.local.scheduler import Capacity, Chunk, Scheduler


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Settings of the embedded engine.

    Attributes:
        device: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", …
        dtype: "auto" (float32 on the CPU, bfloat16 on a GPU) or a torch dtype's name.
        kv_tokens: Tokens whose keys and values fit into memory; None: as many as fit into 1 GiB on the CPU, or into
            80 % of the free memory of the GPU.
        page_size: Tokens per page.
        capacity: What fits into one pass.
        fixed_shapes: Whether passes are padded to few shapes, which a GPU records and replays; None: on a GPU.
    """

    device: str = "auto"
    dtype: str = "auto"
    kv_tokens: int | None = None
    page_size: int = 16
    capacity: Capacity = Capacity()
    fixed_shapes: bool | None = None


@dataclass(slots=True)
class _Client:
    """Where the events of a request go."""

    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[list[Event] | Exception]

    def send(self, item: list[Event] | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the client's loop is closed: it reads no events any more
            self.loop.call_soon_threadsafe(self.queue.put_nowait, item)


def _hand_out(letters: Sequence[tuple[_Client, list[Event]]]) -> None:
    for client, events in letters:
        client.queue.put_nowait(events)


class LocalEngine:
    """Fork/join decoding with any `transformers` causal model with rotary positions. Implements `Engine`.

    All decoding happens in one thread that owns the scheduler; other threads hand it work between two passes.
    """

    def __init__(self, model: LoadedModel, config: LocalConfig = LocalConfig(), sampler: Sampler | None = None) -> None:
        self._model = model
        self._sampler = sampler or DefaultSampler()
        try:
            self._vocabulary: Vocabulary | None = Vocabulary.of(model.tokenizer, end_of_turn=model.end_of_turn)
        except TagError as error:
            self._vocabulary, self._no_tags = None, str(error)
        pages = _page_count(model, config)
        text = model.config
        self._cache = KVCache(
            text.num_hidden_layers,
            pages,
            config.page_size,
            text.num_key_value_heads,
            model.head_dim,
            dtype=model.module.dtype,
            device=model.module.device,
        )
        device = model.module.device
        fixed = device.type == "cuda" if config.fixed_shapes is None else config.fixed_shapes
        computed = fixed_pass(model, self._cache)
        self._replay = CudaGraphRunner(computed, device, config.page_size, self._cache.scratch) if fixed else None
        self._scheduler = Scheduler(BlockManager(pages, config.page_size), config.capacity)
        self._clients: dict[str, _Client] = {}
        self._responses: dict[str, Response] = {}
        self._weight_version = 0
        self._replayed = 0
        self._rows = 0
        """Branches in the present pass."""
        self._pending: list[Callable[[], None]] = []
        self._updates: list[Callable[[], None]] = []
        self._wake = threading.Condition()
        self._held = False
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="espalier-engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(
        cls, path: str | Path | None = None, config: LocalConfig = LocalConfig(), sampler: Sampler | None = None
    ) -> Self:
        """Load a model and start serving it.

        Args:
            path: Model directory, or None for the bundled seedling.
            config: Settings.
            sampler: Chooses tokens; the default draws from the model's distribution.

        Raises:
            ModelError: The model cannot be loaded.
        """
        device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
        )
        default = torch.bfloat16 if device.type == "cuda" else torch.float32
        dtype = default if config.dtype == "auto" else getattr(torch, config.dtype)
        return cls(load_model(path, device, dtype), config, sampler)

    @classmethod
    def serve(
        cls, module: Any, tokenizer: Any, config: LocalConfig = LocalConfig(), sampler: Sampler | None = None
    ) -> Self:
        """Serve a model that is already in memory (training shares its weights this way)."""
        return cls(adopt_model(module, tokenizer), config, sampler)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def tokenizer(self) -> Any:
        return self._model.tokenizer

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            model=self._model.name,
            context_length=self._context_length,
            parallel=self._vocabulary is not None,
            weight_version=self._weight_version,
            end_of_turn=self._model.end_of_turn,
            details={
                "device": str(self._model.module.device),
                "dtype": str(self._model.module.dtype).removeprefix("torch."),
                "kv_tokens": self._scheduler.pool.count * self._scheduler.pool.size,
                "kv_tokens_free": self._scheduler.pool.free * self._scheduler.pool.size,
                "rows": self._scheduler.capacity.rows,
                "rows_used": self._rows if self._scheduler.running else 0,
                "running": len(self._scheduler.running),
                "waiting": len(self._scheduler.waiting),
                "evictions": self._scheduler.evictions,
                "replayed_passes": self._replayed,
            },
            rejoins=self._vocabulary is not None,
        )

    @property
    def _context_length(self) -> int:
        return int(self._model.config.max_position_embeddings)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        """See :meth:`espalier.runtime.engine.Engine.generate`."""
        self._require_possible(request)
        client = _Client(asyncio.get_running_loop(), asyncio.Queue())
        self._submit(lambda: self._start(request, client))
        finished = False
        try:
            while not finished:
                item = await client.queue.get()
                if isinstance(item, Exception):
                    finished = True
                    raise item
                for event in item:
                    if isinstance(event, Finished):
                        finished = True
                        yield with_structure(event, self._vocabulary, request.limits.grammar)
                    else:
                        yield event
        finally:
            if not finished:
                await self.abort(request.request_id)

    async def abort(self, request_id: str) -> None:
        """See :meth:`espalier.runtime.engine.Engine.abort`."""
        if not self._closing:
            self._submit(lambda: self._stop(request_id, FinishReason.ABORTED))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Begin no pass while requests are being made: they then share their first one.

        In its last bits a pass depends on what else is in it. So only requests that are made together, in the same
        order and with the same seeds, give the same tokens and log-probabilities to the last bit.
        """
        with self._wake:
            self._held = True
        try:
            yield
        finally:
            with self._wake:
                self._held = False
                self._wake.notify()

    async def update_weights(self, weights: Mapping[str, torch.Tensor] | Path) -> int:
        """Put new weights in place. Waits until no request is running; requests that come meanwhile wait.

        Args:
            weights: Tensors by parameter name, or a directory with safetensors files.

        Returns:
            The new weight version.

        Raises:
            ModelError: A name or shape does not fit, or files cannot be read; nothing was changed.
        """
        done: Future[int] = Future()

        def update() -> None:
            try:
                done.set_result(self._replace_weights(weights))
            except Exception as error:
                done.set_exception(error)

        self._submit(lambda: self._updates.append(update))
        return await asyncio.wrap_future(done)

    async def close(self) -> None:
        """Stop serving. Requests that are running end with `EngineUnavailable`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _require_possible(self, request: GenerateRequest) -> None:
        if not request.prompt:
            raise RequestRefused("prompt is empty")
        if len(request.prompt) >= self._context_length:
            raise RequestRefused(
                f"prompt has {len(request.prompt)} tokens; the model's context holds {self._context_length}"
            )
        require_known_ids(request, int(self._model.config.vocab_size), "model")
        require_joinable(request)
        if request.mode is Mode.PARALLEL:
            if self._vocabulary is None:
                raise RequestRefused(f"mode parallel: {self._no_tags}; use mode sequential")
            if request.limits.grammar.max_plans > len(self._vocabulary.labels):
                raise RequestRefused(f"max_plans is above {len(self._vocabulary.labels)}")

    def _submit(self, work: Callable[[], None]) -> None:
        with self._wake:
            if self._closing or not self._thread.is_alive():
                raise EngineUnavailable("the engine is closed")
            self._pending.append(work)
            self._wake.notify()

    # Everything below runs in the engine's thread.

    def _serve(self) -> None:
        try:
            while self._await_work():
                self._step()
        finally:
            with self._wake:
                self._closing = True
            for client in self._clients.values():
                client.send(EngineUnavailable("the engine was closed"))

    def _await_work(self) -> bool:
        """Sleep until there is something to do; take on what was submitted. False: the engine closes."""
        with self._wake:
            while not self._closing and (self._held or not (self._pending or self._responses or self._updates)):
                self._wake.wait()
            if self._closing:
                return False
            pending, self._pending = self._pending, []
        for work in pending:
            work()
        return True

    def _step(self) -> None:
        if self._updates and self._scheduler.idle:
            for update in self._updates:
                update()
            self._updates.clear()
        chunks = self._scheduler.plan(drain=bool(self._updates))
        self._rows = len(chunks)
        if chunks:
            try:
                self._compute(chunks)
            except Exception as error:
                self._fail(error)
        self._deliver()

    def _compute(self, chunks: list[Chunk]) -> None:
        replayed = self._replay(chunks) if self._replay else None
        self._replayed += replayed is not None
        logits, wanting = replayed or forward(self._model, self._cache, chunks)
        targets = [chunk.wanted for chunk in wanting if chunk.wanted is not None]
        if not targets:
            return
        inputs = [
            SamplingInput(
                response.request.request_id,
                branch.path,
                len(branch.tokens),
                response.params(branch),
                branch.tokens,
                branch.noise,
            )
            for response, branch in targets
        ]
        forbid([response.forbidden(branch) for response, branch in targets], logits)
        tokens, logprobs = self._sampler.sample(inputs, logits)
        for (response, branch), token, logprob in zip(targets, tokens, logprobs, strict=True):
            if response.finished is None:
                response.accept(branch, token, logprob)

    def _deliver(self) -> None:
        mail: dict[asyncio.AbstractEventLoop, list[tuple[_Client, list[Event]]]] = {}
        for request_id, response in list(self._responses.items()):
            events = response.take_events()
            if response.finished is not None:
                self._scheduler.remove(response)
                del self._responses[request_id]
                client = self._clients.pop(request_id)
            elif events:
                client = self._clients[request_id]
            else:
                continue
            mail.setdefault(client.loop, []).append((client, events))
        for loop, letters in mail.items():  # waking a loop costs a system call: once a pass, not once a request
            with contextlib.suppress(RuntimeError):  # the loop is closed: it reads no events any more
                loop.call_soon_threadsafe(_hand_out, letters)

    def _start(self, request: GenerateRequest, client: _Client) -> None:
        if request.request_id in self._responses:
            client.send(RequestRefused(f"request_id {request.request_id!r} is already running"))
            return
        ends = frozenset(self._model.end_of_turn) if self._vocabulary is None else frozenset()
        try:
            response = Response(request, self._vocabulary, self._context_length, self._weight_version, ends)
            self._scheduler.add(response)
        except RequestRefused as error:
            client.send(error)
            return
        self._responses[request.request_id] = response
        self._clients[request.request_id] = client

    def _stop(self, request_id: str, reason: FinishReason, detail: str = "") -> None:
        response = self._responses.get(request_id)
        if response is not None:
            response.finish(reason, detail)
            self._scheduler.remove(response)

    def _fail(self, error: Exception) -> None:
        """A pass failed (out of memory, say): what it served cannot be trusted any more."""
        for request_id in list(self._scheduler.running):
            self._stop(request_id, FinishReason.ERROR, f"{type(error).__name__}: {error}")

    def _replace_weights(self, weights: Mapping[str, torch.Tensor] | Path) -> int:
        if isinstance(weights, Path):
            files = sorted(weights.glob("*.safetensors"))
            if not files:
                raise ModelError(f"{weights} holds no *.safetensors weights")
            weights = {name: tensor for file in files for name, tensor in load_file(file).items()}
        own = dict(self._model.module.named_parameters())
        for name, tensor in weights.items():
            if name not in own:
                raise ModelError(f"weights hold {name!r}, which the model does not have")
            if own[name].shape != tensor.shape:
                shapes = f"{tuple(tensor.shape)}, the model's is {tuple(own[name].shape)}"
                raise ModelError(f"shape of {name!r} is {shapes}")
        missing = sorted(own.keys() - weights.keys())
        if missing:
            raise ModelError(f"weights lack {missing[0]!r}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
        with torch.no_grad():
            for name, tensor in weights.items():
                own[name].copy_(tensor)
        self._weight_version += 1
        for response in self._responses.values():
            response.weight_version = self._weight_version
        return self._weight_version


def _page_count(model: LoadedModel, config: LocalConfig) -> int:
    tokens = config.kv_tokens
    if tokens is None:
        device = model.module.device
        memory = int(torch.cuda.mem_get_info(device)[0] * 0.8) if device.type == "cuda" else 1 << 30
        tokens = memory // model.kv_bytes_per_token
    pages = tokens // config.page_size
    if pages < 2:
        raise EngineError(f"kv_tokens must be at least {2 * config.page_size} (two pages), got {tokens}")
    return pages
