"""A task: an endless, seeded stream of problems of one kind, split into training and held-out problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import count
from typing import Any

from espalier.solver.core.problem import Problem
from espalier.verifiers.check import Check

HELD_OUT_SHARE = 8
"""One problem in this many is held out, by a hash of what the problem asks (not of its wording or its seed)."""


class Split(StrEnum):
    """Which side of the split a problem lies on."""

    TRAIN = "train"
    HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True)
class Draft:
    """A problem before it is numbered and assigned to a split.

    Attributes:
        text: The problem as it is put to the model.
        key: What is asked, in a canonical form: two drafts with the same key are the same problem.
        check: How an answer is judged.
        facts: What the problem was made from, for the search programs that write traces.
    """

    text: str
    key: str
    check: Check
    facts: Mapping[str, Any]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of problem.

    Attributes:
        name: The name it is found by.
        draw: Makes a draft from a random integer; the same integer makes the same draft.
    """

    name: str
    draw: Callable[[int], Draft]

    def split_of(self, draft: Draft) -> Split:
        """The split a draft belongs to. It depends on the draft's key alone, so the splits cannot overlap."""
        return Split.HELD_OUT if _hash(f"{self.name}/{draft.key}") % HELD_OUT_SHARE == 0 else Split.TRAIN

    def generate(self, split: Split, seed: int, index: int) -> Problem:
        """The problem number `index` of the stream `seed` of a split; equal arguments give equal problems."""
        for attempt in count():
            draft = self.draw(_hash(f"{self.name}/{seed}/{index}/{attempt}"))
            if self.split_of(draft) is split:
                name = f"{self.name}-{split}-{seed}-{index}"
                return Problem(name, draft.text, draft.check, self.name, draft.facts)
        raise AssertionError("unreachable: count() does not end")

    def problems(self, split: Split, seed: int, size: int) -> Iterator[Problem]:
        """`size` problems of one stream whose texts all differ.

        Raises:
            ValueError: the task has not that many different problems.
        """
        seen: set[str] = set()
        index = 0
        while len(seen) < size:
            problem = self.generate(split, seed, index)
            index += 1
            if problem.text not in seen:
                seen.add(problem.text)
                yield problem
            elif index > 20 * size + 100:
                raise ValueError(f"task {self.name!r} has fewer than {size} different {split} problems")
