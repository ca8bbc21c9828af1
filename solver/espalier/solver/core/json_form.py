"""The JSON form of messages: what protobuf's `MessageToDict` makes of them, with the proto's field names.

A reply holds a hundred fields, and a solve has a message for every token. `MessageToDict` asks each field of each
message what it is; here a type of message is looked at once, which takes a third of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_Convert = Callable[[Any], Any]


def to_json(message: Message) -> dict[str, Any]:
    """The JSON form of an event, a result or another message: the proto's field names, defaults written out.

    As protobuf's JSON has it, 64-bit numbers are strings and enums are names; absent optional fields are left out.
    Fields of single precision, such as log-probabilities, have 6 digits.
    """
    return {
        name: getattr(message, name) if convert is None else convert(getattr(message, name))
        for name, may_be_absent, convert in _fields(message.DESCRIPTOR)
        if not may_be_absent or message.HasField(name)
    }


@cache
def _fields(descriptor: Descriptor) -> tuple[tuple[str, bool, _Convert | None], ...]:
    """Name of each field, whether it can be absent, and what turns its value into JSON; None: it is JSON already."""
    return tuple((field.name, field.has_presence, _convert(field)) for field in descriptor.fields)


def _convert(field: FieldDescriptor) -> _Convert | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_value = _convert(field.message_type.fields_by_name["value"])
        convert = of_value or (lambda value: value)
        return lambda values: {str(name): convert(value) for name, value in values.items()}
    one = _convert_one(field)
    if not field.is_repeated:
        return one
    return list if one is None else lambda values: list(map(one, values))


def _convert_one(field: FieldDescriptor) -> _Convert | None:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return to_json
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None  # noqa: S101 (so says its type)
            names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
            return lambda number: names.get(number, number)
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
            return str
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return _number
        case FieldDescriptor.CPPTYPE_FLOAT:
            return lambda value: _number(float(f"{value:.6g}"))
    return None


def _number(value: float) -> float | str:
    """JSON has no numbers that are not finite: protobuf writes their names."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
