"""The syntax tree of an answer: frozen values that the parser makes and the comparison reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from espalier.verifiers.math.units import Unit


@dataclass(frozen=True, slots=True)
class Number:
    """A rational literal; `decimals` is how many places were written, None for an integer."""

    value: Fraction
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Based:
    """An integer written in a named base."""

    digits: str
    base: int

    @property
    def value(self) -> Fraction:
        return Fraction(int(self.digits, self.base))


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A named number: pi, e, i, or oo (which only orders and bounds)."""

    name: Literal["pi", "e", "i", "oo"]


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator or a function and its arguments."""

    head: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class RelationNode:
    """A chain `sides[0] ops[0] sides[1] ops[1] …`; the operators are = ≈ != < <= > >= in ≡."""

    sides: tuple[Node, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Several values: (a, b) is a tuple, [a, b] a bracket, {a, b} a set, and "a, b" a list.

    `word` is the "and" or "or" that joins a list; "" for commas.
    """

    kind: Literal["tuple", "bracket", "set", "list"]
    items: tuple[Node, ...]
    word: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open interval; (a, b) and [a, b] stay groups until the other side says which they are."""

    low: Node
    high: Node
    open_low: bool
    open_high: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A union, an intersection or a difference of sets."""

    op: Literal["union", "intersection", "difference"]
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit."""

    value: Node
    unit: Unit


@dataclass(frozen=True, slots=True)
class Permutation:
    """A product of cycles."""

    cycles: tuple[tuple[int, ...], ...]

    def image(self, element: int, *, leftmost_first: bool) -> int:
        """Where an element goes when the cycles act one after the other."""
        for cycle in self.cycles if leftmost_first else reversed(self.cycles):
            if element in cycle:
                element = cycle[(cycle.index(element) + 1) % len(cycle)]
        return element


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a multiple-choice question, with what it says when that was written too."""

    letter: str
    content: Node | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Words, folded to one case and single spaces."""

    words: str


@dataclass(frozen=True, slots=True)
class Empty:
    """The empty set, "no solution"."""


DOTS = Symbol("…")
"""Stands for the elements of a list that are not written."""

Node = (
    Number
    | Based
    | Symbol
    | Constant
    | Apply
    | RelationNode
    | Group
    | Interval
    | Region
    | Matrix
    | Quantity
    | Permutation
    | Choice
    | Text
    | Empty
)


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of a node."""
    match node:
        case Apply(_, args) | Region(_, args):
            return args
        case RelationNode(sides, _):
            return sides
        case Group(_, items, _):
            return items
        case Interval(low, high, _, _):
            return (low, high)
        case Matrix(rows):
            return tuple(entry for row in rows for entry in row)
        case Quantity(value, _):
            return (value,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Every node of a tree, parents first."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(children(top))


def symbols(node: Node) -> frozenset[str]:
    """The names of the variables in a tree."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Symbol))


def show(node: Node) -> str:
    """A tree in one line, for evidence and as a canonical key."""
    match node:
        case Number(value):
            return _digits(value)
        case Based(digits, base):
            return f"{digits}_{base}"
        case Symbol(name) | Constant(name):
            return name
        case Apply(head, args):
            return f"{head}({', '.join(map(show, args))})"
        case RelationNode(sides, ops):
            return " ".join([show(sides[0]), *(f"{op} {show(side)}" for op, side in zip(ops, sides[1:], strict=True))])
        case Group(kind, items):
            return f"{kind}({', '.join(map(show, items))})"
        case Interval(low, high, open_low, open_high):
            return f"{'(' if open_low else '['}{show(low)}, {show(high)}{')' if open_high else ']'}"
        case Region(op, args):
            return f"{op}({', '.join(map(show, args))})"
        case Matrix(rows):
            return "matrix(" + "; ".join(", ".join(map(show, row)) for row in rows) + ")"
        case Quantity(value, unit):
            return f"{show(value)} {unit.name}"
        case Permutation(cycles):
            return "cycles " + "".join(f"({' '.join(map(str, cycle))})" for cycle in cycles)
        case Choice(letter, content):
            return f"option {letter}" + (f": {show(content)}" if content is not None else "")
        case Text(words):
            return f'"{words}"'
        case Empty():
            return "no solution"


def _digits(value: Fraction) -> str:
    """A fraction in decimal digits, in hexadecimal ones where Python refuses to write that many."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) < 10_000:
        return str(value)
    return f"{value.numerator:#x}/{value.denominator:#x}"


Assignment = Mapping[str, Node]


def rebuild(node: Node, change: Callable[[Node], Node], whole: Callable[[Node], bool] = lambda _: False) -> Node:
    """The tree with every part passed through `change`, leaves first; a part that is `whole` goes without its own."""
    if whole(node):
        return change(node)
    match node:
        case Apply(head, args):
            node = Apply(head, tuple(rebuild(arg, change, whole) for arg in args))
        case RelationNode(sides, ops):
            node = RelationNode(tuple(rebuild(side, change, whole) for side in sides), ops)
        case Group(kind, items, word):
            node = Group(kind, tuple(rebuild(item, change, whole) for item in items), word)
        case Interval(low, high, open_low, open_high):
            node = Interval(rebuild(low, change, whole), rebuild(high, change, whole), open_low, open_high)
        case Region(op, args):
            node = Region(op, tuple(rebuild(arg, change, whole) for arg in args))
        case Matrix(rows):
            node = Matrix(tuple(tuple(rebuild(entry, change, whole) for entry in row) for row in rows))
        case Quantity(value, unit):
            node = Quantity(rebuild(value, change, whole), unit)
    return change(node)


def substitute(node: Node, values: Assignment) -> Node:
    """The tree with its variables replaced."""
    return rebuild(node, lambda part: values.get(part.name, part) if isinstance(part, Symbol) else part)
