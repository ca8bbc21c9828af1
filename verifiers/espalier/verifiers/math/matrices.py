"""Matrices: written-out sums, multiples, products, transposes and determinants become one matrix or one expression."""

from __future__ import annotations

from collections.abc import Callable

from espalier.verifiers.math.evaluate import Undefined
from espalier.verifiers.math.tree import Apply, Group, Matrix, Node, walk


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
        case "*", _ if len(matrices) == 1:
            scalar = tuple(arg for arg in args if not isinstance(arg, Matrix))
            return _each(matrices[0], lambda entry: Apply("*", (*scalar, entry)))
        case _:
            return Apply(node.head, tuple(args))


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


def vector(matrix: Matrix) -> tuple[Node, ...] | None:
    """The entries of a matrix of one row or one column."""
    if len(matrix.rows) == 1:
        return matrix.rows[0]
    if len(matrix.rows[0]) == 1:
        return tuple(row[0] for row in matrix.rows)
    return None
