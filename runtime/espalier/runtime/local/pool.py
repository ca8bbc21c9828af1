"""Embedded engines in processes of their own, behind one `Engine`.

The embedded engine does its book-keeping in Python, one thread of it for all branches. Where a GPU has time left and a
machine has cores left, several processes that share the requests out decode faster. Between them travel requests,
finished responses (token ids and numbers) and the names of files with weights, over pipes that no one else can open.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from espalier.runtime.engine import EngineError, EngineInfo, EngineUnavailable, Finished, GenerateRequest
from espalier.runtime.local.engine import LocalConfig, LocalEngine


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str


@dataclass(frozen=True, slots=True)
class _Reply:
    request_id: str
    outcome: Finished | EngineError


@dataclass(slots=True)
class _Worker:
    """A process, and what is awaited from it.

    Attributes:
        process: Serves an engine of its own.
        connection: To it.
        loaded: What is awaited while weights are being loaded.
        waiting: What is awaited by request.
        held: Requests that are sent together.
    """

    process: BaseProcess
    connection: Connection
    loaded: asyncio.Future[EngineInfo]
    waiting: dict[str, asyncio.Future[Finished]] = field(default_factory=dict)
    held: list[GenerateRequest] = field(default_factory=list)

    def send(self, message: list[GenerateRequest] | Path | _Abort) -> None:
        try:
            self.connection.send(message)
        except OSError:
            self.lost()

    def lost(self) -> None:
        """Nothing comes from the process any more."""
        error = f"an engine's process has ended (exit status {self.process.exitcode})"
        awaited: list[asyncio.Future[Any]] = [self.loaded, *self.waiting.values()]
        for future in awaited:
            if not future.done():
                future.set_exception(EngineUnavailable(error))
        self.waiting.clear()


class EnginePool:
    """Embedded engines of one model, each in a process of its own. Implements `Engine` and takes new weights.

    Requests go to the processes in turn, from the first one on at each `together`: equal batches are shared out
    equally. A stream of events holds the last one alone. Use as an async context manager.
    """

    def __init__(self, folder: Path, tokenizer: Any, config: LocalConfig, count: int) -> None:
        """
        Args:
            folder: Directory of the model.
            tokenizer: Of the model.
            config: Of each engine.
            count: Processes.
        """
        self.tokenizer = tokenizer
        self._folder = folder
        self._config = config
        self._count = count
        self._workers: list[_Worker] = []
        self._info = EngineInfo(str(folder), 0, parallel=False)
        self._held = False
        self._turn = 0

    async def __aenter__(self) -> Self:
        """
        Raises:
            EngineError: The model cannot be loaded.
        """
        threads = max(1, torch.get_num_threads() // self._count)
        try:
            for number in range(self._count):
                self._workers.append(self._started(number, threads))
            await self._loaded()
        except BaseException:
            await self.close()
            raise
        return self

    def _started(self, number: int, threads: int) -> _Worker:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])  # what takes seconds to import is imported once
        loop = asyncio.get_running_loop()
        ours, theirs = context.Pipe()
        given = (theirs, self._folder, self._config, threads)
        process = context.Process(target=_work, args=given, name=f"espalier-engine-{number}", daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours, loop.create_future())
        loop.add_reader(ours.fileno(), partial(self._read, worker))
        return worker

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Finished]:
        """See :meth:`espalier.runtime.engine.Engine.generate`; only the last event comes."""
        worker = self._workers[self._turn % self._count]
        self._turn += 1
        answer: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        worker.waiting[request.request_id] = answer
        worker.held.append(request)
        if not self._held:
            self._release()
        try:
            yield await answer
        finally:
            if worker.waiting.pop(request.request_id, None) is not None:
                worker.send(_Abort(request.request_id))

    async def abort(self, request_id: str) -> None:
        """See :meth:`espalier.runtime.engine.Engine.abort`."""
        for worker in self._workers:
            if request_id in worker.waiting:
                worker.send(_Abort(request_id))

    @contextmanager
    def together(self) -> Iterator[None]:
        """See :meth:`espalier.runtime.local.engine.LocalEngine.together`, in each process."""
        self._held, self._turn = True, 0
        try:
            yield
        finally:
            self._held = False
            self._release()

    async def update_weights(self, weights: Mapping[str, Tensor] | Path) -> int:
        """See :meth:`espalier.runtime.local.engine.LocalEngine.update_weights`; the same version in every process.

        Raises:
            EngineError: The weights do not fit, or a process has ended.
        """
        with TemporaryDirectory(prefix="espalier-weights-") as scratch:
            folder = weights if isinstance(weights, Path) else _written(weights, Path(scratch))
            for worker in self._workers:
                worker.loaded = asyncio.get_running_loop().create_future()
                worker.send(folder)
            await self._loaded()
        return self._info.weight_version

    async def close(self) -> None:
        """End the processes, whatever they are doing."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            loop.remove_reader(worker.connection.fileno())
            worker.connection.close()  # which ends the process
        for worker in self._workers:
            await asyncio.to_thread(worker.process.join)
            worker.lost()
        self._workers.clear()

    def _release(self) -> None:
        for worker in self._workers:
            if worker.held:
                worker.send(worker.held)
                worker.held = []

    async def _loaded(self) -> None:
        await asyncio.wait([worker.loaded for worker in self._workers])
        failed = [error for worker in self._workers if (error := worker.loaded.exception())]
        if failed:
            raise failed[0]
        info = self._workers[0].loaded.result()
        self._info = replace(info, details={**info.details, "processes": self._count})

    def _read(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(worker.connection.fileno())
            worker.process.join(1)  # for its exit status
            worker.lost()
            return
        if isinstance(message, _Reply):
            answer = worker.waiting.pop(message.request_id, None)
            if answer is not None and not answer.done():
                _settle(answer, message.outcome)
        elif not worker.loaded.done():
            _settle(worker.loaded, message)


def _written(weights: Mapping[str, Tensor], folder: Path) -> Path:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(whole, folder / "model.safetensors")
    return folder


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if isinstance(outcome, EngineError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


# Everything below runs in the processes.


def _work(connection: Connection, folder: Path, config: LocalConfig, threads: int) -> None:
    torch.set_num_threads(threads)
    asyncio.run(_serve(connection, folder, config))


async def _serve(connection: Connection, folder: Path, config: LocalConfig) -> None:
    """Serve an engine until the other end of the connection is closed."""
    try:
        engine = LocalEngine.load(folder, config)
    except EngineError as error:
        connection.send(error)
        return
    gc.collect()
    gc.freeze()  # what the imports and the model made stays: a full collection would go through it every time
    connection.send(engine.info)
    async with asyncio.TaskGroup() as tasks:
        while True:
            message = await asyncio.to_thread(_received, connection)
            match message:
                case list():
                    with engine.together():
                        for request in message:
                            tasks.create_task(_answer(engine, request, connection))
                        await asyncio.sleep(0)  # every task has made its request
                case Path():
                    try:
                        await engine.update_weights(message)
                        connection.send(engine.info)
                    except EngineError as error:
                        connection.send(error)
                case _Abort(request_id):
                    await engine.abort(request_id)


def _received(connection: Connection) -> Any:
    """The next message; ends this process when its parent is gone."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        os._exit(0)


async def _answer(engine: LocalEngine, request: GenerateRequest, connection: Connection) -> None:
    try:
        last = [event async for event in engine.generate(request)][-1]
        assert isinstance(last, Finished)  # noqa: S101 (the protocol says so)
        reply = _Reply(request.request_id, last)
    except EngineError as error:
        reply = _Reply(request.request_id, error)
    connection.send(reply)
