"""Everything that happens in a solve as JSON lines, written as it happens.

A line is a `SolveEvent` of the contract in its JSON form (proto/espalier/v1/solver.proto); `solve_id` tells the solves
of one file apart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from espalier.solver.core.events import Observer, SolveEvent
from espalier.solver.core.json_form import to_json
from espalier.solver.core.proto import encode_event


class TraceWriter:
    """A trace file. A full disk does not end a solve: the trace stops, and `fault` says why.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.fault = ""
        self._clock = clock
        self._file: TextIO = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as fault:
            self.fault = self.fault or str(fault)

    def observer(self, solve_id: str) -> Observer:
        """An observer that writes the events of one solve, which begins now."""
        start = self._clock()

        def write(event: SolveEvent) -> None:
            if self.fault:
                return
            message = encode_event(solve_id, event, round(self._clock() - start, 6), deltas=True)
            if message is None:
                return
            try:
                self._file.write(json.dumps(to_json(message), ensure_ascii=False) + "\n")
                self._file.flush()
            except OSError as error:
                self.fault = str(error)

        return write
