"""What reaches the client beside the tokens: SGLang's per-token channel, live events and the summary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from espalier.runtime.decoding.branch import Branch
from espalier.runtime.engine import Event, Finished, FinishReason
from espalier.runtime.sglang.protocol import (
    EVENTS,
    FORCED,
    KEY,
    PATHS,
    POSITIONS,
    Summary,
    event_to_json,
    format_path,
)


class Outbox:
    """Stands where SGLang expects a list with an entry per token, and hands out all that waits whatever the slice."""

    def __init__(self) -> None:
        self._waiting: list[Any] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, record: Any) -> None:
        self._waiting.append(record)

    def __getitem__(self, key: slice) -> list[Any]:
        taken, self._waiting = self._waiting, []
        return taken


class Channel:
    """The extra output of one request. `info` is what SGLang's `Req.customized_info` is set to."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.paths: list[str] = []
        self.forced: list[bool] = []
        self.events = Outbox()
        self.summary = Outbox()
        self.info: dict[str, Any] = {
            POSITIONS: self.positions,
            PATHS: self.paths,
            FORCED: self.forced,
            EVENTS: self.events,
            KEY: self.summary,
        }

    def annotate(self, runs: Iterable[tuple[Branch, slice]]) -> None:
        """Append what is known of these tokens, which come next in the linear output."""
        for branch, run in runs:
            positions = branch.positions[run]
            self.positions.extend(positions)
            self.paths.extend([format_path(branch.path)] * len(positions))
            self.forced.extend(branch.forced[run])

    def post(self, events: Sequence[Event]) -> None:
        for event in events:
            if not isinstance(event, Finished):
                self.events.put(event_to_json(event))

    def finish(self, finished: Finished, forks: int, joins: int, weight_version: str) -> None:
        """Annotate what is not annotated yet and add the summary."""
        rollout = finished.rollout
        first = len(self.positions)
        paths = [format_path(path) for path in rollout.paths]
        self.positions.extend(rollout.positions[first:])
        self.paths.extend(paths[first:])
        self.forced.extend(rollout.forced[first:])
        lengths: dict[str, int] = {}
        for path in filter(None, paths):
            lengths[path] = lengths.get(path, 0) + 1
        summary = Summary(
            reason=FinishReason(finished.reason),
            detail=finished.detail,
            forks=forks,
            joins=joins,
            branch_tokens=tuple(lengths.items()),
            sampled_tokens=finished.usage.sampled_tokens,
            forced_tokens=finished.usage.forced_tokens,
            critical_path_tokens=finished.usage.critical_path_tokens,
            weight_version=weight_version,
        )
        self.summary.put(summary.to_json())


def slice_chunk(slice_meta: Any, meta_info: dict[str, Any], offset: int, keys: Iterable[str] | None = None) -> None:
    """Around SGLang's cutting of a chunk's metadata on servers with incremental streaming.

    It cuts every list at the number of tokens sent before. Events and the summary do not count tokens: all that has
    come since the last chunk is sent, once.
    """
    own = {key: meta_info.pop(key) for key in (EVENTS, KEY) if key in meta_info}
    slice_meta(meta_info, offset, keys)
    for key, accumulated in own.items():
        meta_info[key] = list(accumulated)
        accumulated.clear()
