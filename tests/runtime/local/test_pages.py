from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from espalier.runtime.local.kv_pages import BlockManager, BlockTable, OutOfPages
from tests.budget import examples


def test_a_fork_copies_nothing_and_writes_apart():
    pool = BlockManager(8, 4)
    row = BlockTable(pool)
    first = row.extend(6)
    left, right = row.fork(), row.fork()
    assert pool.free == 6
    slots = [*left.extend(1), *right.extend(1)]
    assert len({*first, *slots}) == 8
    assert {slot // 4 for slot in slots}.isdisjoint({slot // 4 for slot in first})


def test_a_join_moves_pages_and_a_later_token_fills_the_last_one():
    pool = BlockManager(8, 4)
    row = BlockTable(pool)
    row.extend(6)
    steps = [row.fork(), row.fork()]
    slots = [step.extend(3) for step in steps]
    row.join(steps)
    assert row.length == 12
    assert [*row.pages[2:]] == [slots[0][0] // 4, slots[1][0] // 4]
    assert [*row.extend(1)] == [slots[1][-1] + 1]
    row.release()
    assert pool.free == 8


def test_running_out_claims_nothing():
    pool = BlockManager(2, 4)
    row = BlockTable(pool)
    row.extend(5)
    with pytest.raises(OutOfPages):
        row.extend(4)
    assert (row.length, pool.free) == (5, 0)
    assert len(row.extend(3)) == 3


@settings(max_examples=examples(0.6), stateful_step_count=30)
class Rows(RuleBasedStateMachine):
    """Rows against a model that lists the slots each branch sees."""

    @initialize(size=st.integers(1, 5))
    def start(self, size: int) -> None:
        self.pool = BlockManager(60, size)
        root = BlockTable(self.pool)
        self.seen: dict[BlockTable, list[int]] = {root: []}
        self.blocks: list[tuple[BlockTable, list[BlockTable]]] = []

    def leaves(self) -> list[BlockTable]:
        parked = {parent for parent, _ in self.blocks}
        return [row for row in self.seen if row not in parked]

    @rule(data=st.data(), count=st.integers(1, 7))
    def extend(self, data: st.DataObject, count: int) -> None:
        row = data.draw(st.sampled_from(self.leaves()))
        free = self.pool.free
        try:
            self.seen[row] += row.extend(count)
        except OutOfPages:
            assert count > free * self.pool.size

    @rule(data=st.data(), count=st.integers(1, 3))
    def fork(self, data: st.DataObject, count: int) -> None:
        parent = data.draw(st.sampled_from(self.leaves()))
        steps = [parent.fork() for _ in range(count)]
        self.seen |= {step: list(self.seen[parent]) for step in steps}
        self.blocks.append((parent, steps))

    @precondition(lambda self: self.blocks)
    @rule()
    def join(self) -> None:
        parent, steps = self.blocks.pop()
        before = len(self.seen[parent])
        for step in steps:
            self.seen[parent] += self.seen.pop(step)[before:]
        parent.join(steps)

    @invariant()
    def rows_see_their_slots_in_order(self) -> None:
        size = self.pool.size
        for row, slots in self.seen.items():
            pairs = zip(row.pages, row.fills, strict=True)
            assert [page * size + offset for page, fill in pairs for offset in range(fill)] == slots
            assert row.length == len(slots)

    @invariant()
    def no_page_is_lost_or_free_while_in_use(self) -> None:
        used = {page for row in self.seen for page in row.pages}
        assert self.pool.free == self.pool.count - len(used)

    def teardown(self) -> None:
        for row in self.seen:
            row.release()
        assert self.pool.free == self.pool.count


TestRows = Rows.TestCase
