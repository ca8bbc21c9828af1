"""Decides what each forward pass computes, and who has to wait for memory.

One pass serves every branch of every running request. Requests are served oldest first. When pages run out, a branch
waits; when nobody at all can move, the youngest request gives up its keys and values and is restored later from its
tokens; so the oldest always moves, nothing deadlocks and nothing is lost.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from espalier.runtime.decoding.branch import Branch
from espalier.runtime.decoding.response import Response
from espalier.runtime.engine import FinishReason, RequestRefused
from espalier.runtime.local.kv_pages import BlockManager, BlockTable, OutOfPages
from espalier.runtime.local.prefix import Prefix


@dataclass(eq=False, slots=True)
class Chunk:
    """Tokens of one branch (or shared prompt) to compute in this pass.

    Attributes:
        tokens, positions: All of the branch.
        start: The first of them to compute.
        slots: Where keys and values go, one for each to compute.
        pages, fills: What the branch sees, these tokens included. Those of its row, to be read before the next plan.
        wanted: Whose next token is to be sampled from the last of them, if anyone's.
    """

    tokens: Sequence[int]
    positions: Sequence[int]
    start: int
    slots: Sequence[int]
    pages: array[int]
    fills: array[int]
    wanted: tuple[Response, Branch] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def computed(self) -> slice:
        return slice(self.start, self.start + len(self.slots))


@dataclass(eq=False, slots=True)
class _Place:
    """A running request and the shared prompt that it stands on."""

    response: Response
    prefix: Prefix


@dataclass(frozen=True, slots=True)
class Capacity:
    """Attributes:
    rows: Branches in one pass.
    tokens: Tokens in one pass.
    requests: Requests that run at once.
    """

    rows: int = 64
    tokens: int = 2048
    requests: int = 64


@dataclass(eq=False)
class Scheduler:
    """Waiting and running requests over one page pool."""

    pool: BlockManager
    capacity: Capacity = Capacity()
    waiting: deque[Response] = field(default_factory=deque)
    running: dict[str, _Place] = field(default_factory=dict)
    prefixes: dict[tuple[int, ...], Prefix] = field(default_factory=dict)
    evictions: int = 0

    def add(self, response: Response) -> None:
        """Queue a request.

        Raises:
            RequestRefused: Its prompt can never fit.
        """
        prompt = response.request.prompt
        if self._pages(len(prompt) + 1) > self.pool.count:
            room = self.pool.count * self.pool.size
            raise RequestRefused(
                f"prompt has {len(prompt)} tokens; the key-value memory holds {room} (raise kv_tokens)"
            )
        self.waiting.append(response)

    def remove(self, response: Response) -> None:
        """Forget a request and free all it holds; unknown ones are ignored."""
        place = self.running.pop(response.request.request_id, None)
        if place is None:
            if response in self.waiting:
                self.waiting.remove(response)
            return
        self._free(place)

    def plan(self, *, drain: bool = False) -> list[Chunk]:
        """What to compute now. Empty only when nothing is running.

        A request that cannot go on even alone is finished (LENGTH); its event is in its response.

        Args:
            drain: Let no request begin; those that have begun go on to their end.
        """
        self._admit(drain)
        while self.running:
            chunks = self._fill()
            if chunks:
                return chunks
            self._make_room()
            self._admit(drain)
        return []

    @property
    def idle(self) -> bool:
        """Whether no request has begun: nobody's tokens depend on the present weights."""
        return not self.running and not any(response.begun for response in self.waiting)

    def _admit(self, drain: bool) -> None:
        while self.waiting and len(self.running) < self.capacity.requests:
            response = self.waiting[0]
            if drain and not response.begun:
                return
            tokens = response.request.prompt[:-1]
            known = tokens in self.prefixes
            fresh = sum(len(branch.tokens) // self.pool.size + 1 for branch in response.root.family())
            needed = fresh + (0 if known else self._pages(len(tokens)))
            # Slack for an evicted request, or it would be evicted again at once.
            slack = self.pool.count // 4 if response.begun else 0
            if self.running and needed + slack > self.pool.free:
                return
            self.waiting.popleft()
            prefix = self.prefixes.setdefault(tokens, Prefix(tokens, BlockTable(self.pool)))
            prefix.users += 1
            self.running[response.request.request_id] = _Place(response, prefix)

    def _fill(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        room = self.capacity.tokens
        for place in self.running.values():
            if not place.prefix.ready:
                chunk = self._advance_prefix(place.prefix, room)
                if chunk is not None:
                    chunks.append(chunk)
                    room -= len(chunk)
            # Insertion order: whoever a branch waits for precedes it, so forks and joins cost no pass of their own.
            for branch in list(place.response.active):
                if room <= 0 or len(chunks) >= self.capacity.rows:
                    return chunks
                chunk = self._advance(place, branch, room)
                if chunk is not None:
                    chunks.append(chunk)
                    room -= len(chunk)
        return chunks

    def _advance_prefix(self, prefix: Prefix, room: int) -> Chunk | None:
        count = min(room, len(prefix.tokens) - prefix.computed)
        slots = _claim(prefix.row, count)
        if not slots:
            return None
        start = prefix.computed
        prefix.computed += count
        return Chunk(prefix.tokens, range(len(prefix.tokens)), start, slots, prefix.row.pages, prefix.row.fills)

    def _advance(self, place: _Place, branch: Branch, room: int) -> Chunk | None:
        """Compute the branch's next tokens, if everything before them is there and memory allows."""
        if branch.row is None and not self._start(place, branch):
            return None
        if branch.joined < len(branch.forks):
            self._join_finished(branch)
        row = branch.row
        assert row is not None  # noqa: S101 (`_start` made it)
        count = min(room, branch.run())
        slots = _claim(row, count)
        if not slots:
            return None
        start = branch.computed
        branch.computed += count
        wanted = None
        if not branch.run():
            place.response.active.pop(branch)
            wanted = (place.response, branch) if branch.wants_token() else None
            self._report_computed(place.response, branch)
        return Chunk(branch.tokens, branch.positions, start, slots, row.pages, row.fills, wanted)

    def _start(self, place: _Place, branch: Branch) -> bool:
        parent = branch.parent
        if parent is None:
            if not place.prefix.ready:
                return False
            branch.row = place.prefix.row.fork()
            return True
        fork = parent.forks[branch.path[-1][0]]
        if parent.row is None or not parent.reached(fork):
            return False
        branch.row = parent.row.fork()
        return True

    def _report_computed(self, response: Response, branch: Branch) -> None:
        """A closed step whose keys and values are complete brings its parent closer to the join."""
        if branch.closed and branch.parent is not None and branch.joined == len(branch.forks):
            fork = branch.parent.forks[branch.path[-1][0]]
            fork.uncomputed -= 1
            if not fork.uncomputed:
                response.active[branch.parent] = None

    def _join_finished(self, branch: Branch) -> None:
        while branch.joined < len(branch.forks) and not branch.run():
            fork = branch.forks[branch.joined]
            if fork.uncomputed:
                return
            rows = [step.row for step in fork.steps if step.row is not None]
            assert branch.row is not None and len(rows) == len(fork.steps)  # noqa: S101
            branch.row.join(rows)
            branch.joined += 1

    def _make_room(self) -> None:
        youngest = list(self.running.values())[-1]
        response = youngest.response
        if len(self.running) == 1:
            room = self.pool.count * self.pool.size
            response.finish(FinishReason.LENGTH, f"key-value memory of {room} tokens exhausted (raise kv_tokens)")
            self.remove(response)
            return
        del self.running[response.request.request_id]
        self._free(youngest)
        response.active = dict.fromkeys(response.root.family())
        self.waiting.appendleft(response)
        self.evictions += 1

    def _free(self, place: _Place) -> None:
        for branch in place.response.root.family():
            branch.evict()
        place.prefix.users -= 1
        if not place.prefix.users:
            place.prefix.row.release()
            del self.prefixes[place.prefix.tokens]

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self.pool.size)


def _claim(row: BlockTable, count: int) -> Sequence[int]:
    """Slots for `count` tokens; none if there is nothing to compute, or no room for all of it."""
    try:
        return row.extend(max(0, count))
    except OutOfPages:
        return []
