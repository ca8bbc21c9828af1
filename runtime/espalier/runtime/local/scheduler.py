"""Decides what each forward pass computes, and which branches wait for memory.

One pass serves every branch of every running request. Requests are served oldest first. When pages run out, a branch
waits; when no branch can move, the youngest request gives up its keys and values and is restored later from its
tokens; so the oldest always moves, nothing deadlocks and nothing is lost.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from espalier.runtime.decoding.branch import Branch, KeyValues
from espalier.runtime.decoding.response import Response
from espalier.runtime.engine import FinishReason, RequestRefused
from espalier.runtime.local.kv_pages import BlockManager, BlockTable, OutOfPages
from espalier.runtime.local.prefix import Prefix, prefix_key, prefix_of, shared_tokens


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
    """A running request and what it shares with those that begin alike."""

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
    prefixes: dict[Hashable, Prefix] = field(default_factory=dict)
    evictions: int = 0

    def add(self, response: Response) -> None:
        """Queue a request.

        Raises:
            RequestRefused: What it begins with can never fit.
        """
        tokens = shared_tokens(response) + 1
        if self._pages(tokens + 1) > self.pool.count:
            room = self.pool.count * self.pool.size
            name = "prompt" if response.request.given is None else "prompt with the given branches"
            raise RequestRefused(f"{name} has {tokens} tokens; the key-value memory holds {room} (raise kv_tokens)")
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
            self._preempt()
            self._admit(drain)
        return []

    @property
    def idle(self) -> bool:
        """Whether no request has begun: no tokens depend on the present weights."""
        return not self.running and not any(response.begun for response in self.waiting)

    def _admit(self, drain: bool) -> None:
        while self.waiting and len(self.running) < self.capacity.requests:
            response = self.waiting[0]
            if drain and not response.begun:
                return
            key = prefix_key(response)
            fresh = sum(len(branch.tokens) // self.pool.size + 1 for branch in response.own_branches())
            needed = fresh + (0 if key in self.prefixes else self._pages(shared_tokens(response)))
            # Slack for an evicted request, or it would be evicted again at once.
            slack = self.pool.count // 4 if response.begun else 0
            if self.running and needed + slack > self.pool.free:
                return
            self.waiting.popleft()
            prefix = self.prefixes.get(key) or prefix_of(response)
            self.prefixes[key] = prefix
            prefix.users += 1
            self.running[response.request.request_id] = _Place(response, prefix)

    def _fill(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        room = self.capacity.tokens
        seen: set[Prefix] = set()
        for place in self.running.values():
            # Insertion order: what a branch waits for precedes it, so forks and joins cost no pass of their own. No
            # branch is looked at twice: a chunk reads the row that its branch has at the end of the plan.
            shared = {} if place.prefix in seen else place.prefix.active
            seen.add(place.prefix)
            for active in (shared, place.response.active):
                for branch in list(active):
                    if room <= 0 or len(chunks) >= self.capacity.rows:
                        return chunks
                    chunk = self._advance(place, active, branch, room)
                    if chunk is not None:
                        chunks.append(chunk)
                        room -= len(chunk)
        return chunks

    def _advance(self, place: _Place, active: dict[Branch, None], branch: Branch, room: int) -> Chunk | None:
        """Compute the next tokens of an active branch, if everything before them is there and memory allows."""
        if branch.row is None and not self._start(place, branch):
            return None
        if branch.joined < len(branch.forks):
            self._join_finished(branch)
        if branch.closed and branch.joined == len(branch.forks) and not branch.run():
            active.pop(branch)  # a prefix without tokens, or one that ends with a join
            return None
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
            active.pop(branch)
            wanted = (place.response, branch) if branch.wants_token() else None
            _report_computed(active, branch)
        return Chunk(branch.tokens, branch.positions, start, slots, row.pages, row.fills, wanted)

    def _start(self, place: _Place, branch: Branch) -> bool:
        parent = branch.parent
        if parent is None:
            return self._start_root(place, branch)
        fork = parent.forks[branch.path[-1][0]]
        if parent.row is None or not parent.reached(fork):
            return False
        branch.row = parent.row.fork()
        return True

    def _start_root(self, place: _Place, root: Branch) -> bool:
        """The root of a prefix begins with nothing, that of a response with its prefix."""
        if root is place.prefix.root:
            root.row = BlockTable(self.pool)
            return True
        shared = place.prefix.root.row
        if not place.prefix.ready or shared is None:
            return False
        root.row = shared.fork()
        root.computed, root.joined = place.response.given_tokens, place.response.given_blocks
        return True

    def _join_finished(self, branch: Branch) -> None:
        while branch.joined < len(branch.forks) and not branch.run():
            fork = branch.forks[branch.joined]
            if fork.uncomputed:
                return
            rows = [step.row for step in fork.steps if step.row is not None]
            assert branch.row is not None and len(rows) == len(fork.steps)  # noqa: S101
            branch.row.join(rows)
            branch.joined += 1

    def _preempt(self) -> None:
        youngest = list(self.running.values())[-1]
        response = youngest.response
        if len(self.running) == 1:
            room = self.pool.count * self.pool.size
            response.finish(FinishReason.LENGTH, f"key-value memory of {room} tokens exhausted (raise kv_tokens)")
            self.remove(response)
            return
        del self.running[response.request.request_id]
        self._free(youngest)
        response.active = dict.fromkeys(response.own_branches())
        self.waiting.appendleft(response)
        self.evictions += 1

    def _free(self, place: _Place) -> None:
        for branch in place.response.root.family():
            branch.evict()
        place.prefix.users -= 1
        if not place.prefix.users:
            place.prefix.release()
            del self.prefixes[prefix_key(place.response)]

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self.pool.size)


def _report_computed(active: dict[Branch, None], branch: Branch) -> None:
    """A closed step whose keys and values are complete brings its parent closer to the join."""
    if branch.closed and branch.parent is not None and branch.joined == len(branch.forks):
        fork = branch.parent.forks[branch.path[-1][0]]
        fork.uncomputed -= 1
        if not fork.uncomputed:
            active[branch.parent] = None


def _claim(row: KeyValues, count: int) -> Sequence[int]:
    """Slots for `count` tokens; none if there is nothing to compute, or no room for all of it."""
    try:
        return row.extend(max(0, count))
    except OutOfPages:
        return []
