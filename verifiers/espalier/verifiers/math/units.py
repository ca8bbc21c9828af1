"""Units of measurement: what each word measures and by which exact factor it converts."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as written, its exact size in base units, and its dimensions as sorted (name, power) pairs.

    A word that is no known unit ("apples") is a dimension of its own.
    """

    name: str
    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]
    offset: Fraction = Fraction(0)
    """What is added in base units: temperatures have zeros of their own."""

    def power(self, exponent: int) -> Unit:
        name = self.name if exponent == 1 else f"{self.name}^{exponent}"
        return Unit(name, self.factor**exponent, tuple((d, p * exponent) for d, p in self.dimensions))

    def times(self, other: Unit) -> Unit:
        powers = dict(self.dimensions)
        for dimension, power in other.dimensions:
            powers[dimension] = powers.get(dimension, 0) + power
        dimensions = tuple(sorted((d, p) for d, p in powers.items() if p))
        return Unit(f"{self.name} {other.name}".strip(), self.factor * other.factor, dimensions)


CELSIUS = Unit("°C", Fraction(1), (("temperature", 1),), Fraction(27315, 100))
FAHRENHEIT = Unit("°F", Fraction(5, 9), (("temperature", 1),), Fraction(27315, 100) - Fraction(160, 9))
PERCENTAGE_POINT = Unit("percentage point", Fraction(1), (("percentage point", 1),))
PLAIN = Unit("", Fraction(1), ())
PRIMES = {sign: Unit(sign, Fraction(1), ((sign, 1),)) for sign in ("′", "″")}  # noqa: RUF001
"""Minutes and seconds of arc, or feet and inches: what they measure is not written."""

# name: (factor, dimension, power of the dimension); plurals in -s are found by `lookup`.
_TABLE: dict[str, tuple[str, str, int]] = {
    **dict.fromkeys(("m", "meter", "metre"), ("1", "length", 1)),
    **dict.fromkeys(("km", "kilometer", "kilometre"), ("1000", "length", 1)),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), ("1/100", "length", 1)),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), ("1/1000", "length", 1)),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), ("1/1000000000", "length", 1)),
    **dict.fromkeys(("inch", "inches"), ("127/5000", "length", 1)),
    **dict.fromkeys(("ft", "foot", "feet"), ("381/1250", "length", 1)),
    **dict.fromkeys(("yd", "yard"), ("1143/1250", "length", 1)),
    **dict.fromkeys(("mi", "mile"), ("201168/125", "length", 1)),
    **dict.fromkeys(("acre",), ("316160658/78125", "length", 2)),
    **dict.fromkeys(("hectare", "ha"), ("10000", "length", 2)),
    **dict.fromkeys(("L", "l", "liter", "litre"), ("1/1000", "length", 3)),
    **dict.fromkeys(("mL", "ml", "milliliter", "millilitre", "cc"), ("1/1000000", "length", 3)),
    **dict.fromkeys(("s", "sec", "second"), ("1", "time", 1)),
    **dict.fromkeys(("ms", "millisecond"), ("1/1000", "time", 1)),
    **dict.fromkeys(("min", "minute"), ("60", "time", 1)),
    **dict.fromkeys(("h", "hr", "hour"), ("3600", "time", 1)),
    **dict.fromkeys(("day",), ("86400", "time", 1)),
    **dict.fromkeys(("week",), ("604800", "time", 1)),
    **dict.fromkeys(("month",), ("1", "month", 1)),
    **dict.fromkeys(("year", "yr"), ("12", "month", 1)),
    **dict.fromkeys(("g", "gram"), ("1", "mass", 1)),
    **dict.fromkeys(("kg", "kilogram"), ("1000", "mass", 1)),
    **dict.fromkeys(("mg", "milligram"), ("1/1000", "mass", 1)),
    **dict.fromkeys(("lb", "pound"), ("45359237/100000", "mass", 1)),
    **dict.fromkeys(("oz", "ounce"), ("45359237/1600000", "mass", 1)),
    **dict.fromkeys(("ton", "tonne"), ("1000000", "mass", 1)),
    **dict.fromkeys(("dollar", "usd", "USD", "$"), ("1", "dollar", 1)),
    **dict.fromkeys(("cent", "¢"), ("1/100", "dollar", 1)),
    **dict.fromkeys(("euro", "EUR", "€"), ("1", "euro", 1)),
    **dict.fromkeys(("£", "GBP"), ("1", "pound sterling", 1)),
    **dict.fromkeys(("degree", "deg", "°"), ("1", "degree", 1)),
    **dict.fromkeys(("radian", "rad"), ("1", "radian", 1)),
    **dict.fromkeys(("Hz", "hertz"), ("1", "time", -1)),
    **dict.fromkeys(("dozen",), ("12", "count", 1)),
    **dict.fromkeys(("unit",), ("1", "unit", 1)),
    **dict.fromkeys(("gal", "gallon"), ("473176473/125000000000", "length", 3)),
    **dict.fromkeys(("quart", "qt"), ("473176473/500000000000", "length", 3)),
    **dict.fromkeys(("pint",), ("473176473/1000000000000", "length", 3)),
    **dict.fromkeys(("cup",), ("473176473/2000000000000", "length", 3)),
    **dict.fromkeys(("decade",), ("120", "month", 1)),
    **dict.fromkeys(("century", "centuries"), ("1200", "month", 1)),
    **dict.fromkeys(("kelvin", "K"), ("1", "temperature", 1)),
    **dict.fromkeys(("pair",), ("2", "count", 1)),
}

# name: (factor, dimensions) in metres, grams, seconds, amperes and moles.
_SI: dict[str, tuple[str, tuple[tuple[str, int], ...]]] = {
    **dict.fromkeys(("m", "meter", "metre"), ("1", (("length", 1),))),
    **dict.fromkeys(("g", "gram"), ("1", (("mass", 1),))),
    **dict.fromkeys(("s", "second"), ("1", (("time", 1),))),
    **dict.fromkeys(("L", "l", "liter", "litre"), ("1/1000", (("length", 3),))),
    **dict.fromkeys(("A", "ampere", "amp"), ("1", (("current", 1),))),
    **dict.fromkeys(("mol", "mole"), ("1", (("amount", 1),))),
    **dict.fromkeys(("N", "newton"), ("1000", (("length", 1), ("mass", 1), ("time", -2)))),
    **dict.fromkeys(("J", "joule"), ("1000", (("length", 2), ("mass", 1), ("time", -2)))),
    **dict.fromkeys(("W", "watt"), ("1000", (("length", 2), ("mass", 1), ("time", -3)))),
    **dict.fromkeys(("Pa", "pascal"), ("1000", (("length", -1), ("mass", 1), ("time", -2)))),
    **dict.fromkeys(("Hz", "hertz"), ("1", (("time", -1),))),
    **dict.fromkeys(("C", "coulomb"), ("1", (("current", 1), ("time", 1)))),
    **dict.fromkeys(("V", "volt"), ("1000", (("current", -1), ("length", 2), ("mass", 1), ("time", -3)))),
    **dict.fromkeys(("ohm", "Omega"), ("1000", (("current", -2), ("length", 2), ("mass", 1), ("time", -3)))),
    **dict.fromkeys(("T", "tesla"), ("1000", (("current", -1), ("mass", 1), ("time", -2)))),
    **dict.fromkeys(("eV", "electronvolt"), ("1602176634/10000000000000000000000000",
                                             (("length", 2), ("mass", 1), ("time", -2)))),
}  # fmt: skip
_PREFIXES = {
    "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "d": -1, "c": -2, "m": -3, "u": -6, "mu": -6, "n": -9, "p": -12,
    "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deca": 1, "deci": -1, "centi": -2, "milli": -3,
    "micro": -6, "nano": -9, "pico": -12,
}  # fmt: skip
_CALORIES = {"cal": "4184", "calorie": "4184", "kcal": "4184000", "kilocalorie": "4184000"}
_ENERGY = (("length", 2), ("mass", 1), ("time", -2))


def _prefixed(word: str) -> Unit | None:
    """A unit of the SI with a prefix: a sign before a sign (kN), a name before a name (kilonewton)."""
    if word in _CALORIES:
        return Unit(word, Fraction(_CALORIES[word]), _ENERGY)
    if word in ("Wh", "kWh", "MWh"):
        return Unit(word, Fraction(3_600_000) * {"Wh": 1, "kWh": 1000, "MWh": 10**6}[word], _ENERGY)
    if len(word) > 1 and word in _SI:
        factor, dimensions = _SI[word]
        return Unit(word, Fraction(factor), dimensions)
    if word.startswith("mu") and len(word) == 3 and word[2] in _SI:
        return Unit(word, Fraction(_SI[word[2]][0]) / 10**6, _SI[word[2]][1])
    for length in (5, 4, 3, 2, 1):
        prefix, name = word[:length], word[length:]
        if prefix in _PREFIXES and name in _SI and (len(prefix) > 2) == (len(name) > 3):
            factor, dimensions = _SI[name]
            return Unit(word, Fraction(factor) * Fraction(10) ** _PREFIXES[prefix], dimensions)
    return None


_COMPOUND: dict[str, tuple[str, str]] = {"mph": ("mile", "hour"), "kph": ("km", "hour"), "kmh": ("km", "hour")}

LETTER_UNITS = frozenset({"m", "g", "s", "h", "L", "l", "N", "J", "W", "V", "A", "K"})


def _known(word: str) -> Unit | None:
    if word in _COMPOUND:
        over, under = _COMPOUND[word]
        first, second = _known(over), _known(under)
        if first is not None and second is not None:
            return Unit(word, *_parts(first.times(second.power(-1))))
    row = _TABLE.get(word)
    if row is None:
        return (
            Unit(word, Fraction(_SI[word][0]), _SI[word][1]) if word in ("N", "J", "W", "V", "A") else _prefixed(word)
        )
    factor, dimension, power = row
    return Unit(word, Fraction(factor), ((dimension, power),))


def _parts(unit: Unit) -> tuple[Fraction, tuple[tuple[str, int], ...]]:
    return unit.factor, unit.dimensions


def singular(word: str) -> str:
    """The singular of an English plural, well enough to compare two nouns."""
    for ending, replacement in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + replacement
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 2:
        return word[:-1]
    return word


def lookup(word: str) -> Unit | None:
    """The unit that a word names, plural or not; None when it names none."""
    for form in (word, word.lower() if len(word) > 2 else word, singular(word), singular(word.lower())):
        unit = _known(form)
        if unit is not None:
            return unit
    return None


def noun(words: str) -> Unit:
    """A counted thing ("apples") as a dimension of its own."""
    name = " ".join(singular(word) for word in words.lower().split())
    return Unit(name, Fraction(1), ((f"noun {name}", 1),))
