"""Everything in brackets: tuples, intervals, lists, sets and matrices."""

from __future__ import annotations

from espalier.verifiers.math.grammar.combine import bare
from espalier.verifiers.math.grammar.cursor import END, Cursor
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.tree import (
    DOTS,
    Apply,
    Empty,
    Group,
    Interval,
    Matrix,
    Node,
    Region,
    RelationNode,
    Symbol,
    symbols,
)


class Groups(Cursor):
    """What follows an opening bracket or `\\begin`."""

    def element(self) -> Node:
        """An element of a list, or the dots that stand for some."""
        if self.token.text == "…" and self.ahead().text in (",", ";", ")", "]", "}", "}s", ""):
            self.at += 1
            return DOTS
        return self.relation()

    def elements(self, closing: str) -> tuple[Node, ...]:
        bars, self.bars = self.bars, 0
        items = [self.element()]
        while self.accept(",", ";"):
            if self.token.text == closing:
                break
            items.append(self.element())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.expect(closing)
        self.bars = bars
        return tuple(items)

    def arguments(self, closing: str) -> tuple[Node, ...]:
        """The arguments of a probability or an expected value: what stands behind a bar is given."""
        bars, self.bars = self.bars, 1
        items = [self.element()]
        given: list[Node] | None = None
        while self.accept(",", ";") or (given is None and self.token.text == "|"):
            if self.accept("|"):
                given = []
            (items if given is None else given).append(self.relation())
            if len(items) + len(given or ()) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.expect(closing)
        self.bars = bars
        return tuple(items) if given is None else (Apply("given", (_one(items), _one(given))),)

    def group(self, kind: str) -> Node:
        """What follows an opening "(" or "[": a tuple, a bracket, an interval, or a grouped expression."""
        bars, self.bars = self.bars, 0
        own, other = (")", "]") if kind == "tuple" else ("]", ")")
        if self.accept(own):
            return Group("tuple" if kind == "tuple" else "bracket", ())
        items = [self.element()]
        while self.accept(",", ";"):
            if self.token.text == own:
                break
            items.append(self.element())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.bars = bars
        if self.accept(other) or (kind == "bracket" and len(items) == 2 and self.accept("[")):
            if kind == "bracket" and self.tokens[self.at - 1].text == "[":
                return Interval(items[0], items[1], False, True)
            if len(items) != 2:
                raise ParseError("brackets that do not match")
            return Interval(items[0], items[1], kind == "tuple", kind != "tuple")
        self.expect(own)
        if kind == "tuple":
            return items[0] if len(items) == 1 else Group("tuple", tuple(items))
        if len(items) == 1 and isinstance(items[0], Matrix):
            return items[0]
        if items and all(isinstance(item, Group) and item.kind == "bracket" for item in items):
            rows = tuple(item.items for item in items if isinstance(item, Group))
            if len(rows) > 1 and len({len(row) for row in rows}) == 1:
                return Matrix(rows)
        return Group("bracket", tuple(items))

    def reversed_interval(self) -> Node:
        """What follows a leading "]": an interval that is open at its low end, as in ]0, 1[ and ]0, 1]."""
        low = self.relation()
        if not self.accept(",", ";"):
            raise ParseError("a closing bracket at the start")
        high = self.relation()
        if self.accept("["):
            return Group("tuple", (low, high))
        self.expect("]")
        return Interval(low, high, True, False)

    def braces(self, closing: str) -> Node:
        """What follows an opening brace: a set, a set with a condition, or nothing."""
        bars, self.bars = self.bars, 1
        if self.accept(closing):
            self.bars = bars
            return Empty()
        items = [self.element()]
        if self.accept("|", ":"):
            self.bars = 0
            condition = self.items()
            self.expect(closing)
            self.bars = bars
            if isinstance(condition, Group) and condition.kind == "list":
                condition = Region("intersection", condition.items)
            if not isinstance(condition, RelationNode | Region):
                raise ParseError("a set with a condition that is no relation")
            return _builder(items[0], condition)
        while self.accept(",", ";"):
            if self.token.text == closing:
                break
            items.append(self.element())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.bars = bars
        self.expect(closing)
        return Group("set", tuple(items))

    def cell(self) -> Node:
        """An entry of an environment; conditions of cases may begin with a word or be one."""
        if self.is_word("otherwise", "else"):
            self.at += 1
            return Symbol("otherwise")
        if self.is_word("if", "for", "when"):
            self.at += 1
        cell = bare(self.relation())
        self.accept(",", ";")
        return cell

    def environment(self, name: str) -> Node:
        if name not in (
            "pmatrix",
            "bmatrix",
            "matrix",
            "vmatrix",
            "Bmatrix",
            "smallmatrix",
            "array",
            "cases",
            "aligned",
        ):
            raise ParseError(f"unknown environment {name}")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        end = rf"\end:{name}"
        bars, self.bars = self.bars, 0
        while self.token.text != end:
            if self.token is END:
                raise ParseError(f"an unclosed {name}")
            row.append(self.cell())
            if self.accept("&"):
                continue
            rows.append(tuple(row))
            row = []
            if not self.accept("\\\\"):
                break
        self.expect(end)
        self.bars = bars
        if row:
            raise ParseError("a row that ends before its last entry")
        if not rows or len({len(entries) for entries in rows}) != 1:
            raise ParseError("rows of unequal length")
        if len(rows) * len(rows[0]) > LIMITS.elements:
            raise LimitError(f"more than {LIMITS.elements} entries")
        if name in ("cases", "aligned"):
            if len(rows[0]) == 2 and name == "cases":
                return Apply("piecewise", tuple(entry for entries in rows for entry in entries))
            if len(rows[0]) != 1:
                raise ParseError(f"{name} with several columns")
            return Group("list", tuple(entries[0] for entries in rows))
        matrix = Matrix(tuple(rows))
        return Apply("det", (matrix,)) if name == "vmatrix" else matrix


def _one(items: list[Node]) -> Node:
    return items[0] if len(items) == 1 else Group("list", tuple(items))


def _builder(element: Node, condition: RelationNode | Region) -> Node:
    """The set of what is written before the bar: its condition where that is the variable alone, else an image."""
    match element:
        case Symbol(name) if symbols(condition) - _SETS == {name}:
            is_equation = isinstance(condition, RelationNode) and "=" in condition.ops
            return Region("intersection", (condition,)) if is_equation else condition
        case RelationNode((Symbol(name), _), ("∈",)) if symbols(condition) - _SETS <= {name}:
            return Region("intersection", (element, condition))
        case _:
            return Apply("image", (element, condition))


_SETS = frozenset({"reals", "R", "Z", "N", "Q"})
