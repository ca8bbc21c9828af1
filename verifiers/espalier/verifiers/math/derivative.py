"""Derivatives of expressions, term by term."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.tree import Apply, Node, Number, Symbol, symbols, walk

_ZERO, _ONE, _TWO = (Number(Fraction(value)) for value in (0, 1, 2))
_MAY_DEPEND = frozenset({"y", "z", "u", "v", "w"})
"""Letters that may be functions of the variable themselves."""


class NotDifferentiable(ValueError):
    """The tree holds something without a rule here."""


def derivative(node: Node, name: str, order: int, *, partial: bool) -> Node:
    """The derivative of an expression in one variable; other letters are constants.

    Args:
        node: The expression.
        name: The variable.
        order: How often it is differentiated.
        partial: Letters like y do not depend on the variable, as may be where the derivative is not partial.

    Raises:
        NotDifferentiable: It holds a function without a rule, or a letter that may depend on the variable.
        LimitError: It grows beyond the limits.
    """
    if not partial and (symbols(node) - {name}) & _MAY_DEPEND:
        raise NotDifferentiable("a letter that may depend on the variable")
    for _ in range(order):
        node = _derivative(node, name)
        if sum(1 for _ in walk(node)) > LIMITS.nodes:
            raise LimitError(f"a derivative of more than {LIMITS.nodes} nodes")
    return node


def _derivative(node: Node, name: str) -> Node:
    if name not in symbols(node):
        return _ZERO
    match node:
        case Symbol():
            return _ONE
        case Apply("+", args):
            return Apply("+", tuple(_derivative(arg, name) for arg in args))
        case Apply("neg" | "%" as head, (inner,)):
            return Apply(head, (_derivative(inner, name),))
        case Apply("*", args):
            terms = (_times(*args[:at], _derivative(arg, name), *args[at + 1 :]) for at, arg in enumerate(args))
            return Apply("+", tuple(terms))
        case Apply("/", (over, under)):
            change = _minus(_times(_derivative(over, name), under), _times(over, _derivative(under, name)))
            return Apply("/", (change, Apply("^", (under, _TWO))))
        case Apply("^", (base, exponent)) if name not in symbols(exponent):
            lower = Apply("^", (base, _minus(exponent, _ONE)))
            return _times(exponent, lower, _derivative(base, name))
        case Apply("^", (base, exponent)):
            return _times(node, _derivative(_times(exponent, Apply("ln", (base,))), name))
        case Apply("root", (radicand, index)):
            return _derivative(Apply("^", (radicand, Apply("/", (_ONE, index)))), name)
        case Apply("log", (argument, base)):
            return _derivative(Apply("/", (Apply("ln", (argument,)), Apply("ln", (base,)))), name)
        case Apply(head, (inner,)) if head in _RULES:
            return _times(_RULES[head](inner), _derivative(inner, name))
        case _:
            raise NotDifferentiable(type(node).__name__)


def _times(*factors: Node) -> Node:
    return Apply("*", factors)


def _minus(left: Node, right: Node) -> Node:
    return Apply("+", (left, Apply("neg", (right,))))


def _over(under: Node) -> Node:
    return Apply("/", (_ONE, under))


def _square(head: str, inner: Node) -> Node:
    return Apply("^", (Apply(head, (inner,)), _TWO))


def _of(head: str) -> Callable[[Node], Node]:
    return lambda inner: Apply(head, (inner,))


_RULES: dict[str, Callable[[Node], Node]] = {
    "sqrt": lambda x: _over(_times(_TWO, Apply("sqrt", (x,)))),
    "cbrt": lambda x: _over(_times(Number(Fraction(3)), Apply("^", (Apply("cbrt", (x,)), _TWO)))),
    "exp": _of("exp"),
    "ln": _over,
    "log10": lambda x: _over(_times(x, Apply("ln", (Number(Fraction(10)),)))),
    "sin": _of("cos"),
    "cos": lambda x: Apply("neg", (Apply("sin", (x,)),)),
    "tan": lambda x: _square("sec", x),
    "cot": lambda x: Apply("neg", (_square("csc", x),)),
    "sec": lambda x: _times(Apply("sec", (x,)), Apply("tan", (x,))),
    "csc": lambda x: Apply("neg", (_times(Apply("csc", (x,)), Apply("cot", (x,))),)),
    "sinh": _of("cosh"),
    "cosh": _of("sinh"),
    "tanh": lambda x: _over(_square("cosh", x)),
    "asin": lambda x: _over(Apply("sqrt", (_minus(_ONE, Apply("^", (x, _TWO))),))),
    "acos": lambda x: Apply("neg", (_over(Apply("sqrt", (_minus(_ONE, Apply("^", (x, _TWO))),))),)),
    "atan": lambda x: _over(Apply("+", (_ONE, Apply("^", (x, _TWO))))),
    "acot": lambda x: Apply("neg", (_over(Apply("+", (_ONE, Apply("^", (x, _TWO))))),)),
}
