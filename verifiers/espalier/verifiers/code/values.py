"""Values as data: what travels between a program's process, the process of its tests and the verifier.

A value is written as a flat list of items, children before their container, so that no depth of nesting needs
recursion. None, booleans, texts, integers below 2^53 and finite floats stand for themselves; a list `[tag, …]` builds
what JSON lacks out of the items before it. Decoding makes builtins and types of the standard library only: an object
of a program never comes along, so its `__eq__` decides nothing.

The text of this file is also handed to interpreters inside boxes (harness/), so it imports nothing of this package.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False  # typing's own would cost every box its import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

EXACT_INTEGER = 1 << 53
"""Integers of at least this size are written as text: JavaScript's numbers are floats."""

MAX_DEPTH = 1000
"""Of what is under a key, in a set or in a container that is no list, tuple or dictionary: Python hashes and frees
those by recursion without a limit, and its process dies of a few ten thousand levels."""

MAX_EQUAL_HASHES = 64
"""Keys of one set or dictionary with the same hash: with many of them it takes quadratic time."""

PLAIN = frozenset({type(None), bool, str})


class NotDataError(TypeError):
    """A value that cannot be written as data, or data that is no value."""


def refuse(value: object) -> Any:
    """The default for what is no data."""
    raise NotDataError(f"a value of type {type(value).__name__} is no data: not JSON serializable, no set, no number")


class Instead:
    """What is to be written in place of a value that is no data."""

    def __init__(self, value: object) -> None:
        self.value = value


class Factory:
    """What a `defaultdict` makes its values with, where it is no builtin class: for `foreign` to tell of."""

    def __init__(self, function: object) -> None:
        self.function = function


def encode(value: object, foreign: Callable[[Any], Any] = refuse) -> list[Any]:
    """A value as a list of items.

    Args:
        value: What to write.
        foreign: Told of every object that is no data, and of each `Factory`: gives its item, `[tag, …]`, or
            `Instead(value)`.

    Raises:
        NotDataError: It holds itself, or `foreign` refused it.
    """
    items: list[Any] = []
    todo: list[tuple[Any, int]] = [(value, 0)]  # with the identity of the container that an item closes
    within: set[int] = set()
    while todo:
        part, closes = todo.pop()
        if closes:
            items.append(part)
            within.discard(closes)
            continue
        kind = type(part)
        if kind in PLAIN:
            items.append(part)
        elif kind is int:
            items.append(part if -EXACT_INTEGER < part < EXACT_INTEGER else ["int", str(part)])
        elif kind is float:
            items.append(part if part - part == 0 else ["float", repr(part)])
        elif (found := children(part)) is not None:
            tag, inner = found
            if _flat(inner):
                items.append(["items", tag, inner])
                continue
            if id(part) in within:
                raise NotDataError("a value that holds itself is no data")
            within.add(id(part))
            todo.append(([*tag, len(inner)] if isinstance(tag, list) else [tag, len(inner)], id(part)))
            todo.extend((child, 0) for child in reversed(inner))
        elif (leaf := _leaf(part)) is not None:
            items.append(leaf)
        elif isinstance(part, (int, float, str)) and not hasattr(kind, "__members__"):
            base: type = str if isinstance(part, str) else float if isinstance(part, float) else int
            todo.append((base(part), 0))
        else:
            item = foreign(part)
            if isinstance(item, Instead):
                todo.append((item.value, 0))
            else:
                items.append(item)
    return items


def children(part: Any) -> tuple[Any, list[Any]] | None:
    """The tag and the members of a container; None for anything else."""
    if isinstance(part, list):
        return "list", list(part)
    if isinstance(part, tuple):
        fields = getattr(part, "_fields", None)
        if type(part) is tuple or not isinstance(fields, tuple):
            return "tuple", list(part)
        return ["named", type(part).__name__, list(map(str, fields))], list(part)
    if isinstance(part, dict):
        pairs = [item for pair in part.items() for item in pair]
        match type(part).__module__, type(part).__name__:
            case "collections", "Counter" | "OrderedDict" as name:
                return name, pairs
            case "collections", "defaultdict":
                function = getattr(part, "default_factory", None)
                return "defaultdict", [None if function is None else Factory(function), *pairs]
        return "dict", pairs
    if isinstance(part, frozenset):
        return "frozenset", list(part)
    if isinstance(part, set):
        return "set", list(part)
    if type(part).__name__ in ("dict_keys", "dict_values", "dict_items"):
        return "list", list(part)
    if type(part).__module__ == "collections" and type(part).__name__ == "deque":
        return "deque", list(part)
    return None


def _flat(inner: list[Any]) -> bool:
    """Whether all members stand for themselves: long lists of numbers or texts are written in one go."""
    kinds = set(map(type, inner))
    if kinds <= PLAIN:
        return True
    numbers = (part for part in inner if type(part) is int or type(part) is float)
    return kinds <= {*PLAIN, int, float} and all(-EXACT_INTEGER < number < EXACT_INTEGER for number in numbers)


def _leaf(part: Any) -> list[Any] | None:
    """The item of a value of the standard library that has no members."""
    match type(part).__module__, type(part).__name__:
        case "builtins", "bytes" | "bytearray" as name:
            return [name, part.hex()]
        case "builtins", "complex":
            return ["complex", repr(part.real), repr(part.imag)]
        case _, "Factory" if isinstance(part, Factory) and FACTORIES.get(name_of(part.function)) is part.function:
            return ["factory", name_of(part.function)]
        case "builtins", "range":
            return ["range", str(part.start), str(part.stop), str(part.step)]
        case "builtins", "ellipsis":
            return ["ellipsis"]
        case "decimal", "Decimal":
            return ["decimal", str(part)]
        case "fractions", "Fraction":
            return ["fraction", str(part.numerator), str(part.denominator)]
        case "datetime", "date" | "datetime" | "time" as name:
            return [name, part.isoformat()]
        case "datetime", "timedelta":
            return ["timedelta", part.days, part.seconds, part.microseconds]
    return None


def name_of(function: Any) -> str:
    """The name of a class; "" for anything else."""
    return function.__name__ if isinstance(function, type) else ""


def decode(
    items: Iterable[Any], foreign: Callable[[list[Any]], Any] = refuse, integer: Callable[[str], Any] = int
) -> Any:
    """The value behind a list of items of unknown origin.

    Args:
        items: What `encode` wrote.
        foreign: Makes something of items with other tags.
        integer: Reads a long integer.

    Raises:
        NotDataError: They are not the items of one value.
    """
    stack: list[Any] = []
    depths: list[int] = []
    try:
        for item in items:
            depths.append(0)
            if not isinstance(item, list):
                stack.append(item)
                continue
            tag = item[0]
            if tag == "items":
                stack.append(_build(item[1], [part for part in item[2] if not isinstance(part, (list, dict))]))
            elif tag in CONTAINERS:
                count = item[-1]
                if not (isinstance(count, int) and 0 <= count <= len(stack)):
                    raise NotDataError("the data of a value is cut off")
                first = len(stack) - count
                members, below = stack[first:], depths[first:-1]
                del stack[first:], depths[first:]
                if max(below[::2] if tag == "dict" else below, default=0) > MAX_DEPTH and tag not in ("list", "tuple"):
                    raise NotDataError("the data of a value is nested too deeply")
                depths.append(1 + max(below, default=0))
                stack.append(_build(item[:-1] if tag == "named" else tag, members))
            elif tag == "int":
                stack.append(integer(item[1]))
            elif tag in LEAVES:
                stack.append(_value(tag, item[1:]))
            else:
                stack.append(foreign(item))
    except NotDataError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise NotDataError(f"the data of a value makes no sense: {error!r}") from None
    if len(stack) != 1:
        raise NotDataError("the data is not that of one value")
    return stack[0]


FACTORIES = {kind.__name__: kind for kind in (int, float, str, bool, list, dict, set, tuple, frozenset, bytes, complex)}
"""Builtin classes that a `defaultdict` makes its values with."""
DICTIONARIES = frozenset({"dict", "Counter", "OrderedDict", "defaultdict"})
CONTAINERS = frozenset({"list", "tuple", "named", "set", "frozenset", "deque"}) | DICTIONARIES
LEAVES = frozenset(
    {"float", "factory", "bytes", "bytearray", "complex", "range", "ellipsis", "decimal", "fraction"}
    | {"date", "datetime", "time", "timedelta"}
)


def _build(tag: Any, members: list[Any]) -> Any:
    if isinstance(tag, list):
        from collections import namedtuple

        _, name, fields = tag
        return namedtuple(name, fields)(*members)
    match tag:
        case "list":
            return members
        case "tuple":
            return tuple(members)
        case "dict":
            _refuse_equal_hashes(members[::2])
            return dict(zip(members[::2], members[1::2], strict=True))
        case "set":
            _refuse_equal_hashes(members)
            return set(members)
        case "frozenset":
            _refuse_equal_hashes(members)
            return frozenset(members)
        case "deque":
            from collections import deque

            return deque(members)
        case "Counter" | "OrderedDict":
            import collections

            _refuse_equal_hashes(members[::2])
            return getattr(collections, tag)(dict(zip(members[::2], members[1::2], strict=True)))
        case "defaultdict":
            from collections import defaultdict

            _refuse_equal_hashes(members[1::2])
            return defaultdict(members[0], zip(members[1::2], members[2::2], strict=True))
    raise NotDataError(f"the data has the unknown tag {tag!r}")


def _refuse_equal_hashes(keys: list[Any]) -> None:
    if len(keys) <= MAX_EQUAL_HASHES:
        return
    numbers: dict[int, int] = {}
    for key in keys:
        number = numbers[hash(key)] = numbers.get(hash(key), 0) + 1
        if number > MAX_EQUAL_HASHES:
            raise NotDataError("too many keys of a value have the same hash")


def _integer(field: Any) -> int:
    """Of text or an integer; nothing else, as numbers of another kind may take for ever to become one."""
    if not isinstance(field, int | str):
        raise NotDataError(f"a number of type {type(field).__name__} is no integer")
    return int(field)


def _value(tag: str, fields: list[Any]) -> Any:
    match tag:
        case "float":
            return float(fields[0])
        case "factory":
            return FACTORIES[fields[0]]
        case "bytes":
            return bytes.fromhex(fields[0])
        case "bytearray":
            return bytearray.fromhex(fields[0])
        case "complex":
            return complex(float(fields[0]), float(fields[1]))
        case "range":
            return range(*map(_integer, fields))
        case "ellipsis":
            return ...
        case "decimal":
            from decimal import Decimal

            return Decimal(str(fields[0]))
        case "fraction":
            from fractions import Fraction

            return Fraction(_integer(fields[0]), _integer(fields[1]))
    import datetime

    if tag == "timedelta":
        return datetime.timedelta(fields[0], fields[1], fields[2])
    return getattr(datetime, tag).fromisoformat(fields[0])


def to_text(items: list[Any]) -> str:
    """Items as JSON text: short, ASCII, on one line."""
    return json.dumps(items, separators=(",", ":"))
