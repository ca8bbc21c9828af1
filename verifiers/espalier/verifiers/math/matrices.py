"""Matrices: written-out sums, multiples, products, transposes and determinants become one matrix or one expression."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from espalier.verifiers.math.evaluate import Undefined
from espalier.verifiers.math.numeric import same_value
from espalier.verifiers.math.tree import (
    Apply,
    Constant,
    Group,
    Matrix,
    Node,
    Number,
    Symbol,
    rebuild,
    substitute,
    symbols,
    walk,
)


def reduce_matrices(node: Node) -> Node:
    """The tree with matrix arithmetic carried out; itself when it holds none."""
    if not isinstance(node, Apply) or not any(isinstance(part, Matrix | Group) for part in walk(node)):
        return node
    args = [reduce_matrices(arg) for arg in node.args]
    matrices = [arg for arg in args if isinstance(arg, Matrix)]
    match node.head, args:
        case "det", [Matrix() as matrix]:
            return determinant(matrix)
        case "transpose", [Matrix(rows)]:
            return Matrix(tuple(zip(*rows, strict=True)))
        case "transpose", [Group(_, items)]:
            return Matrix(tuple((item,) for item in items))
        case "neg", [Matrix() as matrix]:
            return _each(matrix, lambda entry: Apply("neg", (entry,)))
        case "/", [Matrix() as matrix, divisor]:
            return _each(matrix, lambda entry: Apply("/", (entry, divisor)))
        case "+", _ if len(matrices) == len(args) and len({_shape(matrix) for matrix in matrices}) == 1:
            grids = zip(*(matrix.rows for matrix in matrices), strict=True)
            return Matrix(tuple(tuple(Apply("+", entries) for entries in zip(*rows, strict=True)) for rows in grids))
        case "abs", [Matrix() as matrix]:
            return determinant(matrix)
        case "^", [Matrix() as matrix, Number(power, None)] if power == -1:
            return inverse(matrix)
        case "^", [Matrix() as matrix, Number(power, None)] if 1 <= power <= 8:
            product = matrix
            for _ in range(int(power) - 1):
                product = times(product, matrix)
            return product
        case "*", _ if len(matrices) > 1:
            product = matrices[0]
            for factor in matrices[1:]:
                product = times(product, factor)
            scalars = tuple(arg for arg in args if not isinstance(arg, Matrix))
            return _each(product, lambda entry: Apply("*", (*scalars, entry))) if scalars else product
        case "*", _ if len(matrices) == 1:
            scalar = tuple(arg for arg in args if not isinstance(arg, Matrix))
            return _each(matrices[0], lambda entry: Apply("*", (*scalar, entry)))
        case _:
            return Apply(node.head, tuple(args))


_IDENTITY = re.compile(r"(?:bold )?I(?:_(?P<size>\d))?")


def with_identities(node: Node, other: Node) -> Node:
    """A tree with I and I_2 as matrices, where the other side is written with square ones of one size."""
    sizes = {len(part.rows) for part in walk(other) if isinstance(part, Matrix) and len(set(_shape(part))) == 1}
    if len(sizes) != 1 or any(map(_IDENTITY.fullmatch, symbols(other))):
        return node
    (size,) = sizes

    def change(part: Node) -> Node:
        found = _IDENTITY.fullmatch(part.name) if isinstance(part, Symbol) else None
        return _identity(int(found["size"] or size)) if found else part

    return rebuild(node, change, lambda part: isinstance(part, Matrix))


def _identity(size: int) -> Matrix:
    numbers = range(size)
    return Matrix(tuple(tuple(Number(Fraction(row == column)) for column in numbers) for row in numbers))


def times(left: Matrix, right: Matrix) -> Matrix:
    """The product of two matrices.

    Raises:
        Undefined: Their shapes do not fit.
    """
    if len(left.rows[0]) != len(right.rows):
        raise Undefined("a product of matrices whose shapes do not fit")
    columns = tuple(zip(*right.rows, strict=True))
    return Matrix(
        tuple(
            tuple(Apply("+", tuple(Apply("*", pair) for pair in zip(row, column, strict=True))) for column in columns)
            for row in left.rows
        )
    )


def inverse(matrix: Matrix) -> Matrix:
    """The inverse, by the adjugate; up to 4 by 4.

    Raises:
        Undefined: The matrix is not square, or larger.
    """
    size = len(matrix.rows)
    if size != len(matrix.rows[0]) or size > 4:
        raise Undefined("an inverse of an unusual shape")
    whole = determinant(matrix)
    if size == 1:
        return Matrix(((Apply("/", (Number(Fraction(1)), whole)),),))

    def cofactor(row: int, column: int) -> Node:
        rows = [entries for index, entries in enumerate(matrix.rows) if index != row]
        minor = determinant(Matrix(tuple(entries[:column] + entries[column + 1 :] for entries in rows)))
        return minor if (row + column) % 2 == 0 else Apply("neg", (minor,))

    return Matrix(
        tuple(tuple(Apply("/", (cofactor(column, row), whole)) for column in range(size)) for row in range(size))
    )


def _each(matrix: Matrix, change: Callable[[Node], Node]) -> Matrix:
    return Matrix(tuple(tuple(change(entry) for entry in row) for row in matrix.rows))


def _shape(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.rows), len(matrix.rows[0])


def determinant(matrix: Matrix) -> Node:
    """The determinant as a tree, by Laplace's expansion; up to 5 by 5.

    Raises:
        Undefined: The matrix is not square, or larger.
    """
    rows = matrix.rows
    if len(rows) != len(rows[0]) or len(rows) > 5:
        raise Undefined("a determinant of an unusual shape")
    if len(rows) == 1:
        return rows[0][0]
    terms: list[Node] = []
    for column, entry in enumerate(rows[0]):
        minor = Matrix(tuple(row[:column] + row[column + 1 :] for row in rows[1:]))
        term: Node = Apply("*", (entry, determinant(minor)))
        terms.append(term if column % 2 == 0 else Apply("neg", (term,)))
    return Apply("+", tuple(terms))


_UNIT_VECTOR = re.compile(r"(?:(?:hat|widehat|bold|vec) )+([ijk])")
_LETTERS: dict[Node, Node] = {
    Constant("i"): Symbol("bold i"),
    Symbol("j"): Symbol("bold j"),
    Symbol("k"): Symbol("bold k"),
}


def components(node: Node) -> tuple[Node, Node, Node] | None:
    """The components of a sum of multiples of the unit vectors i, j and k; None for anything else."""
    axes = {name: "ijk".index(match[1]) for name in symbols(node) if (match := _UNIT_VECTOR.fullmatch(name))}
    if not axes or not isinstance(node, Symbol | Apply):
        return None
    found: list[Node] = [Number(Fraction(0))] * 3
    for name, axis in axes.items():
        found[axis] = substitute(node, {other: Number(Fraction(other == name)) for other in axes})
    total = Apply("+", tuple(Apply("*", (found[axis], Symbol(name))) for name, axis in axes.items()))
    if len(set(axes.values())) < len(axes) or same_value(node, total).equal is not True:
        return None
    return found[0], found[1], found[2]


def in_plain_letters(node: Node) -> Node:
    """The tree with the letters i, j and k, where they are not set apart, as unit vectors."""
    return rebuild(node, lambda part: _LETTERS.get(part, part))


def vector(matrix: Matrix) -> tuple[Node, ...] | None:
    """The entries of a matrix of one row or one column."""
    if len(matrix.rows) == 1:
        return matrix.rows[0]
    if len(matrix.rows[0]) == 1:
        return tuple(row[0] for row in matrix.rows)
    return None
