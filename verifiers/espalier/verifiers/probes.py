"""Inputs like those of the examples that a problem states: what programs give for them tells programs apart that pass
the same examples. The arguments of the examples are read as literals, changed by their types, and written out again;
nothing is evaluated here, and what a program should give for such an input is not known.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from espalier.verifiers.check import AssertCase
from espalier.verifiers.example_reader import StatedExample

PROBES = 32
CHANGES = (1, 1, 2, 3)
"""How many changes may lead from an example to a probe, each as likely."""

TRIES = 20
"""Changed inputs that are drawn for each probe: some come twice, or cannot be written."""

MAX_CALL = 2000
"""Characters of a call."""

SHOWN = 150
"""Characters of what a program gives that are kept; what is longer ends with a digest."""

GIVES = "the tests fail: AssertionError: gives "
"""How the record of a probe begins where the program came to an end."""


@dataclass(frozen=True, slots=True)
class Probe:
    """An input.

    Attributes:
        call: As a person reads it: `double(7)`.
        imports: What the call needs, line by line.
    """

    call: str
    imports: str = ""

    @property
    def case(self) -> AssertCase:
        """Tells by its failure what the program gives."""
        return AssertCase(self.imports + _CASE.format(call=self.call, shown=SHOWN, kept=SHOWN - 16))


_CASE = """
from hashlib import sha256 as _digest_of_a_probe

def _written_by_a_probe(value):
    if isinstance(value, bool):
        return repr(int(value))
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{{value:.6g}}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written_by_a_probe, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_written_by_a_probe, value)) + ")"
    if isinstance(value, (set, frozenset)):
        return "{{" + ", ".join(sorted(map(_written_by_a_probe, value))) + "}}"
    if isinstance(value, dict):
        return "{{" + ", ".join(sorted(map(": ".join, map(_pair_of_a_probe, value.items())))) + "}}"
    if hasattr(type(value), "__float__") and not isinstance(value, int):
        return _written_by_a_probe(float(value))
    return _named_by_a_probe(type(value).__name__, repr(value), isinstance(value, (str, bytes)))

def _pair_of_a_probe(pair):
    return map(_written_by_a_probe, pair)

def _named_by_a_probe(kind, said, literal):
    return f"<{{kind}}>" if " at 0x" in said and not literal else said

try:
    _given_for_a_probe = _written_by_a_probe({call})
    if len(_given_for_a_probe) > {shown}:
        _rest_of_a_probe = _digest_of_a_probe(_given_for_a_probe.encode("utf-8", "replace")).hexdigest()[:16]
        _given_for_a_probe = _given_for_a_probe[:{kept}] + _rest_of_a_probe
except Exception:
    _given_for_a_probe = None
assert _given_for_a_probe is None, f"gives {{_given_for_a_probe}}"
"""
"""Values that are equal are written alike, numbers with a fraction to six digits. Its names are none that a program is
likely to have: what tests define, they do not take from the program."""


def probes_of(examples: Sequence[StatedExample]) -> tuple[Probe, ...]:
    """Different calls, up to PROBES of them, that none of the examples makes; the same for the same examples.

    Of an example one call with literals as arguments is taken, with what the example does with its value, such as
    `set(f([1, 2]))`. Examples of an error, and samples of standard input, bring none.
    """
    sources = [one.case.source for one in examples if isinstance(one.case, AssertCase)]
    seeds = [seed for source in sources if (seed := _seed(source)) is not None]
    rng = Random("\n".join(sources))
    seen = {seed.written(seed.arguments) for seed in seeds}
    found: list[Probe] = []
    for _ in range(TRIES * PROBES if seeds else 0):
        seed = rng.choice(seeds)
        call = seed.written(_changed_arguments(seed, seeds, rng))
        if call not in seen and len(call) <= MAX_CALL:
            seen.add(call)
            found.append(Probe(call, seed.imports))
            if len(found) == PROBES:
                break
    return tuple(found)


# Calls.


@dataclass(frozen=True, slots=True)
class _Seed:
    """The call of an example.

    Attributes:
        template: The expression, with ARGUMENTS in the place of the call's arguments.
        function: What is called.
        names: Those of the arguments, each with `=`; empty for one without a name.
        arguments: Their values.
        imports: What the expression needs, line by line.
    """

    template: str
    function: str
    names: tuple[str, ...]
    arguments: tuple[Any, ...]
    imports: str

    def written(self, arguments: Sequence[Any]) -> str:
        given = (name + _written(value) for name, value in zip(self.names, arguments, strict=True))
        return self.template.replace(ARGUMENTS, ", ".join(given))


ARGUMENTS = "_arguments_of_the_call"


def _seed(source: str) -> _Seed | None:
    """The call in an example's source; None where there is none with readable arguments."""
    *before, last = ast.parse(source).body
    if not isinstance(last, ast.Assert) or not all(isinstance(one, ast.Import | ast.ImportFrom) for one in before):
        return None  # an error is expected, or something is prepared
    walrus = next((node for node in ast.walk(last.test) if isinstance(node, ast.NamedExpr)), None)
    within = last.test if walrus is None else walrus.value
    for call in ast.walk(within):
        if isinstance(call, ast.Call) and (call.args or call.keywords) and _is_of_the_program(call.func):
            try:
                arguments = tuple(map(_value, (*call.args, *(one.value for one in call.keywords))))
            except (ValueError, TypeError, RecursionError, MemoryError):
                continue
            if any(one.arg is None for one in call.keywords):
                continue  # `**{...}` is no argument with a name
            names = (*("" for _ in call.args), *(f"{one.arg}=" for one in call.keywords))
            call.args, call.keywords = [ast.Name(ARGUMENTS, ast.Load())], []
            template = ast.unparse(call if walrus is None else within)
            imports = "".join(f"{ast.unparse(one)}\n" for one in before)
            return _Seed(template, ast.unparse(call.func), names, arguments, imports)
    return None


def _is_of_the_program(function: ast.expr) -> bool:
    """A function by its name, or a method of a new object."""
    match function:
        case ast.Name(id=name) | ast.Attribute(value=ast.Call(func=ast.Name(id=name))):
            return not hasattr(builtins, name)
    return False


_CONTAINERS: dict[str, Callable[..., Any]] = {one.__name__: one for one in (set, frozenset, tuple, list, dict)}


def _value(tree: ast.expr) -> Any:
    """The value of a literal.

    Raises:
        ValueError, TypeError: It is none.
    """
    match tree:
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _CONTAINERS:
            return _CONTAINERS[name](*map(_value, parts))
    return ast.literal_eval(tree)


def _written(value: Any) -> str:
    """A value as source, the same in every process."""
    match value:
        case frozenset():
            return f"frozenset([{', '.join(sorted(map(_written, value)))}])"
        case set():
            return f"{{{', '.join(sorted(map(_written, value)))}}}" if value else "set()"
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case tuple():
            return f"({', '.join(map(_written, value))}{',' if len(value) == 1 else ''})"
        case dict():
            return f"{{{', '.join(f'{_written(key)}: {_written(of)}' for key, of in value.items())}}}"
    return repr(value)


# Changes.


def _changed_arguments(seed: _Seed, seeds: Sequence[_Seed], rng: Random) -> tuple[Any, ...]:
    """Arguments a few changes away from those of an example."""
    arguments = list(seed.arguments)
    for _ in range(rng.choice(CHANGES)):
        place = rng.randrange(len(arguments))
        alike = [one.arguments[place] for one in seeds if (one.function, one.names) == (seed.function, seed.names)]
        arguments[place] = rng.choice(alike) if rng.random() < OTHERS else _changed(arguments[place], alike, rng)
    return tuple(arguments)


OTHERS = 0.1
"""How often an argument is another example's."""


def _changed(value: Any, alike: Any, rng: Random) -> Any:
    """A value of the same type.

    Args:
        value: To be changed. What has no parts, and is no number, stays as it is.
        alike: Values in the same place, from which numbers and characters are taken.
        rng: Chooses the change.
    """
    match value:
        case bool():
            return not value
        case int():
            near = (value + 1, value - 1, value + rng.randint(2, 5), value * 2, value // 2)
            others = [one for one in _leaves(alike) if type(one) is int]
            return rng.choice((*near, rng.choice([value, *others]), rng.randint(0, max(10, 2 * abs(value)))))
        case float() if math.isfinite(value):
            return round(rng.choice((value + 1, value - 1, value / 2, value * 2, value + rng.random())), 3)
        case str():
            characters = sorted({sign for one in _leaves(alike) if isinstance(one, str) for sign in one}) or ["a"]
            return "".join(_changed_items(value, lambda sign: rng.choice((*characters, sign.swapcase())), rng))
        case list() | tuple():
            return type(value)(_changed_items(value, lambda item: _changed(item, alike, rng), rng))
        case set() | frozenset():
            items = sorted(value, key=_written)
            return type(value)(_changed_items(items, lambda item: _changed(item, alike, rng), rng))
        case dict():
            return dict(_changed_items([*value.items()], lambda item: _changed_pair(item, alike, rng), rng))
    return value


def _changed_pair(pair: tuple[Any, Any], alike: Any, rng: Random) -> tuple[Any, Any]:
    """A key and its value, of which one is changed."""
    key, value = pair
    return (key, _changed(value, alike, rng)) if rng.random() < 0.5 else (_changed(key, alike, rng), value)


def _changed_items(items: Sequence[Any], changed: Callable[[Any], Any], rng: Random) -> list[Any]:
    """One item less, more or changed, two of them exchanged, a part of them, or all in reverse."""
    items = list(items)
    if not items:
        return items
    first, second = rng.randrange(len(items)), rng.randrange(len(items))
    match rng.randrange(8):
        case 0:
            del items[first]
        case 1:
            items.insert(second, items[first])
        case 2:
            items.insert(second, changed(items[first]))
        case 3:
            items[first], items[second] = items[second], items[first]
        case 4:
            items.reverse()
        case 5:
            items = items[min(first, second) : max(first, second) + 1]
        case _:
            items[first] = changed(items[first])
    return items


def _leaves(value: Any) -> Iterator[Any]:
    """What is no container in a value."""
    match value:
        case dict():
            yield from _leaves([*value.items()])
        case list() | tuple():
            for one in value:
                yield from _leaves(one)
        case set() | frozenset():
            yield from _leaves(sorted(value, key=_written))
        case _:
            yield value
