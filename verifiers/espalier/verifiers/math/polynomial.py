"""Trees as quotients of polynomials in one variable, and the exact real roots of these."""

from __future__ import annotations

from fractions import Fraction

from flint import fmpq, fmpq_poly, fmpz_poly

from espalier.verifiers.math.evaluate import NotExact, exact, real_root_balls
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.tree import Apply, Node, Number, Symbol, symbols

_DEGREE = 64

Quotient = tuple[fmpq_poly, fmpq_poly]


def quotient(node: Node, name: str) -> Quotient:
    """Numerator and denominator of a rational function of one variable.

    Raises:
        NotExact: The tree is no rational function of that variable with rational coefficients.
        LimitError: Its degree is beyond 64.
    """
    if name not in symbols(node):
        value = exact(node)
        return fmpq_poly([fmpq(value.numerator, value.denominator)]), fmpq_poly([1])
    match node:
        case Symbol():
            return fmpq_poly([0, 1]), fmpq_poly([1])
        case Apply("neg", (inner,)):
            over, under = quotient(inner, name)
            return -over, under
        case Apply("+", args):
            total, divisor = fmpq_poly([0]), fmpq_poly([1])
            for over, under in (quotient(arg, name) for arg in args):
                total, divisor = _small(total * under + over * divisor), _small(divisor * under)
            return total, divisor
        case Apply("*", args):
            product, divisor = fmpq_poly([1]), fmpq_poly([1])
            for over, under in (quotient(arg, name) for arg in args):
                product, divisor = _small(product * over), _small(divisor * under)
            return product, divisor
        case Apply("/", (left, right)):
            over, under = quotient(left, name)
            other_over, other_under = quotient(right, name)
            return _small(over * other_under), _small(under * other_over)
        case Apply("^", (base, exponent)):
            power = exact(exponent)
            if power.denominator != 1:
                raise NotExact("a fractional power")
            over, under = quotient(base, name)
            times = abs(power.numerator)
            if times * max(over.degree(), under.degree(), 1) > _DEGREE:
                raise LimitError(f"a degree beyond {_DEGREE}")
            return (over**times, under**times) if power >= 0 else (under**times, over**times)
        case _:
            raise NotExact("no rational function")


def _small(polynomial: fmpq_poly) -> fmpq_poly:
    if polynomial.degree() > _DEGREE:
        raise LimitError(f"a degree beyond {_DEGREE}")
    return polynomial


def squarefree(polynomial: fmpq_poly) -> fmpq_poly:
    """The monic polynomial with the same roots, each once."""
    if polynomial.degree() <= 0:
        return polynomial
    part = polynomial // polynomial.gcd(polynomial.derivative())
    leading = part[part.degree()]
    return part * (1 / leading)


def real_roots(polynomial: fmpq_poly) -> list[Node]:
    """The distinct real roots, ascending: rational ones as numbers, others as a root of an irreducible factor."""
    _, factors = polynomial.numer().factor()
    roots: list[tuple[Fraction, Node]] = []
    for factor, _multiplicity in factors:
        roots.extend(_roots_of_irreducible(factor))
    roots.sort(key=lambda pair: pair[0])
    return [root for _, root in roots]


def _roots_of_irreducible(factor: fmpz_poly) -> list[tuple[Fraction, Node]]:
    if factor.degree() == 1:
        root = Fraction(-int(factor[0]), int(factor[1]))
        return [(root, Number(root))]
    coefficients = tuple(Number(Fraction(int(c))) for c in factor.coeffs())
    found: list[tuple[Fraction, Node]] = []
    for index, root_ball in enumerate(real_root_balls(factor)):
        mantissa, exponent = root_ball.mid().man_exp()
        position = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
        found.append((position, Apply("root_of", (Number(Fraction(index)), *coefficients))))
    return found
