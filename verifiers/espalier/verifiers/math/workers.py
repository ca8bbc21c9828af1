"""A pool of worker processes that can be killed: a hang or a crash costs one worker and one task, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

from espalier.verifiers.math.proto import HEADER

_RESPAWN_SECONDS = (0.5, 30.0)
"""First and longest pause between attempts to start a worker."""


class WorkerError(RuntimeError):
    """A task could not be done: its worker was killed or died. The task may be tried again."""


class TooCostlyError(WorkerError):
    """The task used up its processor time or its memory; trying it again does not help."""


class WorkerTimeoutError(WorkerError):
    """The deadline passed; the worker was killed."""


class PoolBusyError(WorkerError):
    """Too many tasks are waiting."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Size and limits of a pool.

    Attributes:
        workers: Processes, kept warm.
        memory_mib: Address space of each.
        cpu_seconds: CPU time of one task; a task that needs more is too costly.
        task_seconds: Time of one task without waiting, after which its worker is killed and it is too costly: for
            what the limit of CPU time cannot break off. None: no such limit.
        wall_seconds: Time of one task, waiting included, when the caller names none.
        recycle_after: Tasks after which a worker is replaced by a fresh one.
        waiting: Tasks that may wait for a worker; more are refused.
    """

    workers: int = 2
    memory_mib: int = 768
    cpu_seconds: float = 1.5
    task_seconds: float | None = None
    wall_seconds: float = 30.0
    recycle_after: int = 5000
    waiting: int = 10_000


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    requests: asyncio.StreamWriter
    replies: asyncio.StreamReader
    tasks: int = 0

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self.process.poll() is not None

    async def exit_signal(self) -> int:
        """The signal that ended its process, 0 for none."""
        return max(0, -(await _end_of(self.process)))


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a process, once it has ended. Takes no thread: there are none left where Python ends."""
    if process.poll() is None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return process.wait()


class WorkerPool:
    """Runs tasks (see :mod:`espalier.verifiers.math.tasks`) in worker processes. One event loop; cancel-safe."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self.limits = limits or PoolLimits()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._waiters: deque[asyncio.Future[_Worker]] = deque()
        self._replacing: set[asyncio.Task[None]] = set()
        self._missing: dict[_Worker, str] = {}
        self._closed = asyncio.Event()
        self._closed.set()

    async def start(self) -> None:
        """Start the workers; raises :class:`WorkerError` when they do not come up."""
        self._closed.clear()
        starts = await asyncio.gather(*(self._add() for _ in range(self.limits.workers)), return_exceptions=True)
        fault = next((start for start in starts if start is not None), None)
        if fault is not None:
            await self.close()
            raise WorkerError(f"the workers do not start: {fault}") from fault

    async def close(self) -> None:
        """End every worker and fail the tasks that wait. No process is left behind."""
        self._closed.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(WorkerError("the pool is closed"))
        self._waiters.clear()
        if self._replacing:
            await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(self._end(worker) for worker in tuple(self._all)))
        self._idle.clear()

    @property
    def faults(self) -> tuple[str, ...]:
        """Why workers are missing, one line for each that could not be replaced so far."""
        return tuple(self._missing.values())

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(worker.process.pid for worker in self._all)

    async def run(self, request: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Do one task.

        Args:
            request: The task and its arguments, JSON values.
            timeout: Seconds until the answer is due, waiting for a worker included.

        Raises:
            TooCostlyError: It used up its processor time or its memory.
            WorkerTimeoutError: It was not done in time; its worker is dead.
            PoolBusyError: Too many tasks wait.
            WorkerError: Its worker died, by its memory or CPU limit or by a crash, or the pool is closed.
        """
        seconds = self.limits.wall_seconds if timeout is None else timeout
        worker: _Worker | None = None
        healthy = False
        limit: asyncio.Timeout | None = None
        try:
            async with asyncio.timeout(seconds):
                worker = await self._acquire()
                async with asyncio.timeout(self.limits.task_seconds) as limit:
                    reply = await self._exchange(worker, request)
            healthy = True
            if "too_costly" in reply:
                raise TooCostlyError(reply["too_costly"])
            return reply
        except TimeoutError as error:
            if limit is not None and limit.expired():
                raise TooCostlyError(f"more than {self.limits.task_seconds:g} s") from error
            raise WorkerTimeoutError(f"no answer within {seconds:g} s") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if worker is not None and await worker.exit_signal() == signal.SIGXCPU:
                raise TooCostlyError(f"more than {self.limits.cpu_seconds:g} s of processor time") from error
            raise WorkerError("the worker died (memory or CPU limit, or a crash)") from error
        finally:
            if worker is not None:
                self._release(worker, healthy)

    async def _acquire(self) -> _Worker:
        if self._closed.is_set():
            raise WorkerError("the pool is closed")
        while self._idle:
            worker = self._idle.pop()
            if not worker.ended:
                return worker
            self._retire(worker)
        if len(self._waiters) >= self.limits.waiting:
            raise PoolBusyError(f"{self.limits.waiting} tasks are waiting")
        waiter: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._offer(waiter.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _release(self, worker: _Worker, healthy: bool) -> None:
        worker.tasks += 1
        if healthy and not self._closed.is_set() and worker.tasks < self.limits.recycle_after:
            self._offer(worker)
            return
        self._retire(worker)

    def _retire(self, worker: _Worker) -> None:
        if not worker.ended:
            worker.process.kill()
        replacing = asyncio.get_running_loop().create_task(self._replace(worker))
        self._replacing.add(replacing)
        replacing.add_done_callback(self._replacing.discard)

    def _offer(self, worker: _Worker) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)

    async def _replace(self, worker: _Worker) -> None:
        await self._end(worker)
        pause, longest = _RESPAWN_SECONDS
        while not self._closed.is_set():
            try:
                await self._add()
                break
            except (OSError, WorkerError) as error:  # no memory or no process to be had just now
                self._missing[worker] = f"a worker does not start: {error}"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), pause)
                pause = min(2 * pause, longest)
        self._missing.pop(worker, None)

    async def _add(self) -> None:
        process, stream = self._spawn()
        try:
            replies, requests = await asyncio.open_unix_connection(sock=stream)
        except BaseException:  # cancelled just now: no other part knows of the process
            stream.close()
            process.kill()
            await _end_of(process)
            raise
        worker = _Worker(process, requests, replies)
        self._all.add(worker)
        self._offer(worker)

    def _spawn(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start a worker; gives our end of what are its standard input and output.

        Not by asyncio: the end of its subprocesses is not seen before all that they wrote has been read.
        """
        ours, theirs = socket.socketpair()
        limits = (str(self.limits.memory_mib), str(self.limits.cpu_seconds))
        try:
            process = subprocess.Popen(  # noqa: S603 (a command line of ours)
                (sys.executable, "-m", "espalier.verifiers.math.worker", *limits),
                env={**os.environ, "PYTHONHASHSEED": "0"},  # sets of texts have one order in every worker
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return process, ours

    async def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        await _end_of(worker.process)
        worker.requests.transport.abort()
        self._all.discard(worker)

    @staticmethod
    async def _exchange(worker: _Worker, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        worker.requests.write(HEADER.pack(len(body)) + body)
        await worker.requests.drain()
        (length,) = HEADER.unpack(await worker.replies.readexactly(HEADER.size))
        reply: dict[str, Any] = json.loads(await worker.replies.readexactly(length))
        return reply
