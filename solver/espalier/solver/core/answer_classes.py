"""Equivalence classes of the answers of a solve that no check judges: what votes count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from espalier.solver.core.candidate import BranchAnswer, Candidate
from espalier.verifiers.plain_number import plain_number
from espalier.verifiers.verdict import Status, Verdict

if TYPE_CHECKING:
    from espalier.runtime.layout import Path


class Equivalence(Protocol):
    """The part of the verifiers that compares answers."""

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict: ...


class AnswerClasses:
    """Classes that grow with the answers that come, each numbered from 0 and known by its first answer.

    A text that has been seen is never compared again, and a new one at most once with the representative of each class.
    Plain numbers are told apart by their values: the verifiers are not asked.

    Args:
        verifiers: Compare answers.
        timeout: Seconds that a comparison may take, asked before each.
    """

    def __init__(self, verifiers: Equivalence, timeout: Callable[[], float]) -> None:
        self._verifiers = verifiers
        self._timeout = timeout
        self._representatives: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._different: set[tuple[str, str]] = set()
        """Texts that were compared with representatives that they do not equal."""
        self._lock = asyncio.Lock()

    @property
    def representatives(self) -> Mapping[int, str]:
        """The first answer of each class."""
        return self._representatives

    def restore(self, candidate: Candidate) -> None:
        """Know the classes of a candidate that an earlier run has classed."""
        stated = [(found.answer_class, found.answer) for found in candidate.branch_answers]
        for number, answer in [(candidate.answer_class, candidate.answer), *stated]:
            if number is not None and answer is not None:
                self._representatives.setdefault(number, answer)
                self._numbers.setdefault(answer, number)

    async def of(self, answer: str) -> int:
        """The class of an answer: the first one whose representative is equivalent to it, or a new one."""
        async with self._lock:
            return await self._of(answer)

    async def classed(self, candidate: Candidate, *, steps: bool) -> Candidate:
        """A candidate with the class of its answer and, with `steps`, of answers of steps that may share its vote.

        These are the answers of each block that attempts the whole problem: one of its steps states what the candidate
        concludes. Where no block does, they are those of the last one: its steps worked out parts, or the takeaway
        misread them. Which of the two it was, the other candidates tell, see :func:`.candidate.attempt_the_whole`.
        """
        if candidate.answer is None:
            return candidate
        async with self._lock:
            number = await self._of(candidate.answer)
            found_blocks = blocks(candidate.branch_answers) if steps else []
            attempts = [
                block for block in found_blocks if any([await self._is_in(number, found.answer) for found in block])
            ]
            sharing = {
                found: await self._of(found.answer) for block in attempts or found_blocks[-1:] for found in block
            }
        return replace(
            candidate,
            answer_class=number,
            branch_answers=tuple(replace(one, answer_class=sharing.get(one)) for one in candidate.branch_answers),
        )

    async def _of(self, answer: str) -> int:
        known = self._numbers.get(answer)
        if known is not None:
            return known
        for number in self._representatives:
            if await self._is_in(number, answer):
                return number
        number = max(self._representatives, default=-1) + 1  # not how many there are: a lost verdict leaves a gap
        self._representatives[number] = answer
        self._numbers[answer] = number
        return number

    async def _is_in(self, number: int, answer: str) -> bool:
        known = self._numbers.get(answer)
        if known is not None:
            return known == number
        if await self._equals(answer, self._representatives[number]):
            self._numbers[answer] = number
            return True
        return False

    async def _equals(self, answer: str, representative: str) -> bool:
        value, other = plain_number(answer), plain_number(representative)
        if value is not None and other is not None:
            return value == other
        if (answer, representative) in self._different:
            return False
        verdict = await self._verifiers.equivalent(answer, representative, timeout=self._timeout())
        if verdict.status not in (Status.PASS, Status.ERROR):
            self._different.add((answer, representative))
        return verdict.passed


def blocks(stated: tuple[BranchAnswer, ...]) -> list[list[BranchAnswer]]:
    """What the steps of each block have come to: of each step the answer that it stated last."""

    def block(found: BranchAnswer) -> tuple[Path, int]:
        return found.path[:-1], found.path[-1][0]

    last = {found.path: found for found in stated if found.path}
    return [list(own) for _, own in groupby(sorted(last.values(), key=lambda one: (block(one), one.path)), key=block)]
