"""The JSON form of every message of the contract is protobuf's own."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import Tokens
from espalier.solver.core.events import Streamed
from espalier.solver.core.json_form import to_json
from espalier.solver.core.proto import encode_event
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb

TYPES = [
    *common_pb2.DESCRIPTOR.message_types_by_name.values(),
    *pb.DESCRIPTOR.message_types_by_name.values(),
]
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.sampled_from([0.0, -1.5, -0.25, math.inf, -math.inf, math.nan]),
}


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([*field.enum_type.values_by_number, 99])
    return SCALARS[field.cpp_type]


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type with any of its fields set."""
    kind = GetMessageClass(descriptor)

    def of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            named = field.message_type.fields_by_name
            return st.dictionaries(values(named["key"]), values(named["value"]), max_size=2)
        return st.lists(values(field), max_size=2) if field.is_repeated else values(field)

    optional: dict[str, st.SearchStrategy[Any]] = {
        field.name: st.deferred(lambda field=field: of(field)) for field in descriptor.fields
    }
    return st.fixed_dictionaries({}, optional=optional).map(lambda given: kind(**given))


@pytest.mark.parametrize("descriptor", TYPES, ids=lambda descriptor: descriptor.name)
def test_a_message_of_every_type_has_protobufs_json(descriptor: Descriptor) -> None:
    @given(messages(descriptor))
    def check(message: Message) -> None:
        expected = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        assert to_json(message) == expected

    check()


@given(st.lists(st.floats(-50, 0, width=32), max_size=5))
def test_log_probabilities_have_six_digits(logprobs: list[float]) -> None:
    count = len(logprobs)
    tokens = Tokens("r", (), (1,) * count, tuple(logprobs), (False,) * count, (0,) * count)
    message = encode_event("s", Streamed(3, tokens, "x"), 1.5, deltas=True)
    assert message is not None
    assert to_json(message)["delta"]["logprobs"] == pytest.approx(logprobs, rel=1e-5)
