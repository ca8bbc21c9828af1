"""Solves on their way, as they are watched: what has happened so far, and everything that follows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from espalier.solver.core.events import Observer, Solved, SolveEvent
from espalier.solver.core.json_form import to_json
from espalier.solver.core.proto import encode_event
from espalier.solver.session.metrics import ending
from espalier.solver.session.session import SolveRequest
from espalier.solver.viewer.entries import Entry, EventCompactor

KEPT = 64
"""Solves that can be looked at: those on their way, and the newest that have ended."""

LOOK_SECONDS = 0.1
"""Time between two looks of a watcher at first; it doubles with every `SLOWER` entries, so that logs stay small."""

SLOWER = 20_000


class LiveSolve:
    """One solve as it is watched.

    Attributes:
        id: Of the solve.
        text: Of its problem.
        began: Seconds since the epoch.
        end: How it ended, in a word or a sentence; empty while it is on its way.
    """

    def __init__(self, request: SolveRequest, clock: Callable[[], float]) -> None:
        self.id = request.id
        self.text = request.problem.text
        self.began = time.time()
        self.end = ""
        self._clock = clock
        self._start = clock()
        self._compactor = EventCompactor()
        self._log: list[str] = []

    def observe(self, event: SolveEvent) -> None:
        """Take in one event."""
        message = encode_event(self.id, event, self._clock() - self._start, deltas=True)
        entry = None if message is None else self._compactor.feed(to_json(message))
        if isinstance(event, Solved):
            self._flush()
            self.end = ending(event.result.selection)
        if entry is not None:
            self._note(entry)

    def break_off(self, reason: str) -> None:
        """It will not come to a result."""
        if not self.end:
            self._flush()
            self._note({"seconds": self._clock() - self._start, "broken_off": {"reason": reason}})
            self.end = reason

    async def follow(self, seen: int) -> AsyncGenerator[tuple[int, list[str]]]:
        """Entries as JSON, with the number of them that have been seen then; ends with the solve.

        Args:
            seen: Entries that the watcher has already.
        """
        while True:
            ended = bool(self.end)
            self._flush()
            if seen < len(self._log):
                news = self._log[seen:]
                seen = len(self._log)
                yield seen, news
            if ended:
                return
            await asyncio.sleep(LOOK_SECONDS * 2 ** (len(self._log) // SLOWER))

    def to_json(self) -> dict[str, Any]:
        """For a list of solves."""
        return {"id": self.id, "text": self.text, "began": self.began, "end": self.end}

    def _note(self, entry: Entry) -> None:
        self._log.append(json.dumps(entry, ensure_ascii=True, separators=(",", ":")))

    def _flush(self) -> None:
        for entry in self._compactor.flush():
            self._note(entry)


class LiveSolves:
    """Keeps the solves that can be watched. All calls are made in the event loop."""

    def __init__(self) -> None:
        self._solves: dict[str, LiveSolve] = {}

    def open(self, request: SolveRequest) -> LiveSolve:
        """The record of a solve that is about to begin."""
        if request.id not in self._solves:
            self._solves[request.id] = LiveSolve(request, asyncio.get_running_loop().time)
            self._forget()
        return self._solves[request.id]

    @contextmanager
    def show(self, request: SolveRequest) -> Iterator[Observer]:
        """An observer of a solve, for its session."""
        live = self.open(request)
        try:
            yield live.observe
        except asyncio.CancelledError:
            live.break_off("cancelled")
            raise
        except Exception as error:
            live.break_off(f"failed: {error}")
            raise

    def newest(self) -> list[LiveSolve]:
        """The newest first."""
        return [*reversed(self._solves.values())]

    def get(self, solve_id: str) -> LiveSolve | None:
        """The record of a solve, while it is kept."""
        return self._solves.get(solve_id)

    def _forget(self) -> None:
        ended = [solve_id for solve_id, live in self._solves.items() if live.end]
        for solve_id in ended[: max(0, len(self._solves) - KEPT)]:
            del self._solves[solve_id]
