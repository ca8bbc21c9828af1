# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""The equalities of a reasoning text: each `a = b = c` chain is found, parsed and tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import same_value
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.tree import Apply, Based, Constant, Group, Node, Number, RelationNode, symbols

CHARACTERS = 200_000
CHAINS = 400

_SPAN = re.compile(
    r"\$\$(.{1,1000}?)\$\$|\\\[(.{1,1000}?)\\\]|\$([^$\n]{1,1000})\$|\\\((.{1,1000}?)\\\)|\\boxed\{([^{}]{0,1000})\}",
    re.DOTALL,
)
_NUMBER = r"(?:\d{1,3}(?:,\d{3}){1,8}|\d{1,40})(?:\.\d{1,40})?%?!?"
_SIDE = rf"[-(\s]{{0,8}}{_NUMBER}(?:[\s()]{{0,8}}(?:\*\*|[-+*/^×÷·−])[-\s()]{{0,8}}{_NUMBER}){{0,40}}[\s)]{{0,8}}"
_CHAIN = re.compile(rf"(?<![\d.]){_SIDE}(?:={_SIDE}){{1,20}}")  # every repetition is bounded: linear time
_BEFORE = re.compile(r"(?:^|[.:;,!?]|\b[A-Za-z]{2,}|[A-Za-z]\s*=)\s*$")
_AFTER = re.compile(r"\s*(?:$|[.:;,!?\])]|[A-Za-z]{2,})")
_ROW = re.compile(r"\\\\|\\implies|\\Rightarrow|⇒|⟹|\n|;")


@dataclass(frozen=True, slots=True)
class StepReport:
    """The outcome of a step check.

    Attributes:
        tested: Equalities between two numbers, or identities, that could be decided.
        false: Those that do not hold, as written.
    """

    tested: int
    false: tuple[str, ...]

    @property
    def score(self) -> float:
        """The share of true equalities; 1 when none was tested."""
        return 1.0 if not self.tested else 1.0 - len(self.false) / self.tested


def check_steps(text: str) -> StepReport:
    """Test every equality of a reasoning text.

    An equality between two numbers is true or false. One with variables counts as true when it is an identity and is
    passed over otherwise: it may be an equation to solve. Approximations and congruences are passed over.
    """
    tested = 0
    false: list[str] = []
    seen: set[tuple[Node, Node]] = set()
    for source in _limited(chains(text[:CHARACTERS])):
        for left, right in _equalities(source):
            if (left, right) in seen:
                continue
            seen.add((left, right))
            equal = same_value(left, right).equal
            if equal is None or (not equal and (symbols(left) or symbols(right))):
                continue
            tested += 1
            if not equal:
                false.append(" ".join(source.split())[:200])
    return StepReport(tested, tuple(false))


def _limited(sources: Iterator[str]) -> Iterator[str]:
    for count, source in enumerate(sources):
        if count == CHAINS:
            return
        yield source


def chains(text: str) -> Iterator[str]:
    """The parts of a text that read as chains of equalities."""
    rest: list[str] = []
    at = 0
    for span in _SPAN.finditer(text):
        rest.append(text[at : span.start()])
        at = span.end()
        content = next(group for group in span.groups() if group is not None)
        yield from _rows(content)
    rest.append(text[at:])
    for line in "\x00".join(rest).splitlines():
        if "=" in line:
            yield from _plain(line)


def _rows(content: str) -> Iterator[str]:
    """The rows of displayed mathematics; a row that begins with "=" goes on from the row before."""
    previous = ""
    for part in _ROW.split(re.sub(r"\\(?:begin|end)\{[a-z]+\*?\}|&", " ", content)):
        row = part.strip().rstrip(",.")
        row = f"{previous} {row}" if row.startswith("=") else row
        if "=" in row and len(row) <= 1000:
            yield row
            previous = row.rpartition("=")[2]
        elif row:
            previous = row


def _plain(line: str) -> Iterator[str]:
    """Arithmetic chains within a line of prose, where prose or punctuation ends on either side of them."""
    for match in _CHAIN.finditer(line):
        chain = match.group().strip()
        before, after = line[max(0, match.start() - 40) : match.start()], line[match.end() : match.end() + 40]
        clean = not before.strip() or (_BEFORE.search(before) is not None and not chain.startswith("-"))
        if clean and _AFTER.match(after):
            yield chain


def _equalities(source: str) -> Iterator[tuple[Node, Node]]:
    if "mod" in source or "≡" in source or "\\equiv" in source:
        return
    try:
        tree = parse(source)[0]
    except (ParseError, LimitError):
        return
    for relation in tree.items if isinstance(tree, Group) else (tree,):
        if isinstance(relation, RelationNode):
            for (left, right), op in zip(pairwise(relation.sides), relation.ops, strict=True):
                if op == "=" and _is_value(left) and _is_value(right):
                    yield left, right


def _is_value(node: Node) -> bool:
    return isinstance(node, Number | Constant | Based | Apply) and not (
        isinstance(node, Apply) and node.head in ("±", "∓", "°", "ratio")
    )
