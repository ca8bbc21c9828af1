"""Where keys and values live: pages with reference counts, and rows of pages that branches share."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence


class OutOfPages(Exception):
    """No page is free."""


class BlockManager:
    """Counts who holds which page. All operations are O(1) per page.

    Attributes:
        size: Tokens per page.
        count: Pages in all.
    """

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """A page with one holder.

        Raises:
            OutOfPages: None is free.
        """
        if not self._free:
            raise OutOfPages
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def share(self, pages: Iterable[int]) -> None:
        for page in pages:
            self._holders[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        for page in pages:
            self._holders[page] -= 1
            if not self._holders[page]:
                self._free.append(page)

    def exclusive(self, page: int) -> bool:
        return self._holders[page] == 1


class BlockTable:
    """What one branch sees: pages in order, each filled up to some slot.

    A fork shares all pages; a branch that writes starts a page of its own, so nothing is copied. A join strings the
    steps' own pages behind the fork point, so nothing is recomputed. Pages may therefore be partly filled anywhere in a
    row, not only at its end.

    Attributes:
        pages, fills: Equally long. They grow in place; a table that gives up pages takes new arrays: a pass
            that was planned with the old ones can still read them.
        length: Tokens that it sees.
    """

    __slots__ = ("_inherited", "_pool", "fills", "length", "pages")

    def __init__(self, pool: BlockManager) -> None:
        self._pool = pool
        self._inherited = 0
        self.pages = array("q")
        self.fills = array("q")
        self.length = 0

    def fork(self) -> BlockTable:
        """A row that sees what this one sees now. O(pages)."""
        row = BlockTable(self._pool)
        row.pages, row.fills, row.length = self.pages[:], self.fills[:], self.length
        row._inherited = len(self.pages)
        self._pool.share(self.pages)
        return row

    def extend(self, count: int) -> Sequence[int]:
        """Claim slots for `count` tokens.

        Returns:
            Flat slot numbers (page · size + offset).

        Raises:
            OutOfPages: Nothing was claimed.
        """
        size = self._pool.size
        room = self._room()
        if count - room > self._pool.free * size:
            raise OutOfPages
        self.length += count
        if 0 < count <= room:
            first = self.pages[-1] * size + self.fills[-1]
            self.fills[-1] += count
            return range(first, first + count)
        slots: list[int] = []
        while count:
            if not room:
                self.pages.append(self._pool.take())
                self.fills.append(0)
                room = size
            used = min(room, count)
            first = self.pages[-1] * size + self.fills[-1]
            slots.extend(range(first, first + used))
            self.fills[-1] += used
            room -= used
            count -= used
        return slots

    def join(self, steps: Sequence[BlockTable]) -> None:
        """Take over the steps' own pages, in order; the steps' rows are empty afterwards. O(pages)."""
        for step in steps:
            own = step.fills[step._inherited :]
            self.pages += step.pages[step._inherited :]
            self.fills += own
            self.length += sum(own)
            step.pages = step.pages[: step._inherited]
            step.release()

    def release(self) -> None:
        """Give up everything."""
        self._pool.release(self.pages)
        self.pages, self.fills, self.length, self._inherited = array("q"), array("q"), 0, 0

    def _room(self) -> int:
        """Slots in the last page that no other table can see."""
        if len(self.pages) <= self._inherited or not self._pool.exclusive(self.pages[-1]):
            return 0
        return self._pool.size - self.fills[-1]
