"""The parts of a response that get the same credit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from espalier.runtime.layout import Path, runs
from espalier.runtime.structure import Structure


class TokenKind(IntEnum):
    """What a token is there for."""

    GUIDELINE = 0
    """Text of the response that leads to a fork, the plans included."""
    STEP = 1
    """Everything inside a step, nested blocks included."""
    TAKEAWAY = 2
    ANSWER = 3
    """Text behind the last block; all of a response that has none."""


@dataclass(frozen=True, slots=True)
class TokenSegment:
    """A run of new tokens of one kind and one branch: they get the same credit.

    Attributes:
        start, end: Indices into the new tokens; `end` is exclusive.
        kind: See :class:`TokenKind`.
        path: The step that holds them.
        block: Number, from 0, of the response's own block that they lead to or belong to; for an answer the number of
            the last block, -1 without one.
    """

    start: int
    end: int
    kind: TokenKind
    path: Path
    block: int

    def __len__(self) -> int:
        return self.end - self.start


def segments(paths: Sequence[Path], structure: Structure, prompt_length: int) -> tuple[TokenSegment, ...]:
    """The segments of a response in order, as it was decoded. O(n).

    Args:
        paths: (n,) the step that holds each new token; empty paths only, where it was decoded sequentially.
        structure: The response as it reads; says where takeaways end.
        prompt_length: Tokens before the response.
    """
    takeaway_ends = [block.takeaway.end - prompt_length for block in structure.blocks if not block.depth]
    stretches = list(runs(paths))
    found: list[TokenSegment] = []
    block = -1
    for number, (start, end, path) in enumerate(stretches):
        if path:
            block = path[0][0]
            found.append(TokenSegment(start, end, TokenKind.STEP, path, block))
            continue
        if number:
            middle = next((at for at in takeaway_ends if start < at <= end), end)
            found.append(TokenSegment(start, middle, TokenKind.TAKEAWAY, (), block))
        else:
            middle = start
        if middle < end:
            forks = number + 1 < len(stretches)
            found.append(
                TokenSegment(middle, end, TokenKind.GUIDELINE if forks else TokenKind.ANSWER, (), block + forks)
            )
    return tuple(found)


def kinds(segments: Sequence[TokenSegment]) -> npt.NDArray[np.int8]:
    """(n,) the :class:`TokenKind` of every new token."""
    return np.repeat(
        np.array([segment.kind for segment in segments], dtype=np.int8), [len(segment) for segment in segments]
    )
