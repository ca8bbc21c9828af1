"""Held-out problems among training problems, found by content: n-grams of words that both have.

A row is held out if it shares a run of `n` words with a held-out problem (13, as in arXiv 2005.14165, appendix C), or
if a held-out problem of fewer words than that is contained in it whole. A problem of fewer than 4 words says too little
for that: a row is held out if it is the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from espalier.solver.core.problem import Problem

WORDS = 13
FEW = 4
"""Words of the shortest run that a problem is recognised by."""

_WORD = re.compile(r"\w+")

Gram = tuple[str, ...]


def grams(text: str, n: int = WORDS) -> frozenset[Gram]:
    """The runs of `n` words of a text, in lower case and without punctuation; a shorter text is one run."""
    words = tuple(_WORD.findall(text.lower()))
    if len(words) <= n:
        return frozenset({words} if words else ())
    return frozenset(words[at : at + n] for at in range(len(words) - n + 1))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What must not be trained on.

    Attributes:
        n: Words of a run.
        sets: By run of words, the names of the sets that have it.
        short: By text, the names of the sets that have a problem of fewer than `FEW` words.
        lengths: Lengths of the runs, `n` and those of shorter problems.
    """

    n: int
    sets: Mapping[Gram, frozenset[str]]
    short: Mapping[str, frozenset[str]]
    lengths: frozenset[int]

    @classmethod
    def of(cls, sets: Mapping[str, Iterable[Problem]], n: int = WORDS) -> HeldOut:
        """From the problems of each set."""
        found: dict[Gram, frozenset[str]] = {}
        short: dict[str, frozenset[str]] = {}
        for name, problems in sets.items():
            for problem in problems:
                runs = [gram for gram in grams(problem.text, n) if len(gram) >= min(FEW, n)]
                for gram in runs:
                    found[gram] = found.get(gram, frozenset()) | {name}
                if not runs:
                    text = _spaced(problem.text)
                    short[text] = short.get(text, frozenset()) | {name}
        return cls(n, found, short, frozenset(map(len, found)))

    def found_in(self, text: str) -> frozenset[str]:
        """The sets with a problem that the text shares a run of words with."""
        runs = (gram for length in self.lengths for gram in grams(text, length) if len(gram) == length)
        same = self.short.get(_spaced(text), frozenset[str]())
        return same.union(*(self.sets.get(gram, frozenset()) for gram in runs))


def _spaced(text: str) -> str:
    """In lower case, with one space between words."""
    return " ".join(text.lower().split())


def split(problems: Iterable[Problem], held_out: HeldOut) -> tuple[list[Problem], dict[str, int]]:
    """The problems that may be trained on, and how many overlap with each held-out set."""
    kept: list[Problem] = []
    every = (*held_out.sets.values(), *held_out.short.values())
    counts: dict[str, int] = {name: 0 for names in every for name in names}
    for problem in problems:
        names = held_out.found_in(problem.text)
        if not names:
            kept.append(problem)
        for name in names:
            counts[name] += 1
    return kept, counts
