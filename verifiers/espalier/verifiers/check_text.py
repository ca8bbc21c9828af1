"""Checks as people write them: a shorthand, or the JSON form of the contract (proto/espalier/v1/common.proto)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from espalier.verifiers.check import Check, ConstraintCheck, Domain, NumberUse, ReferenceCheck, Relation, StepCheck

SHORTHANDS: Mapping[str, str] = MappingProxyType(
    {
        "reference": "reference:42",
        "numbers": "numbers:19,36,55,7=65",
        "relation": "relation:3*x+5=20",
        "domain": "domain:integer",
    }
)
"""What a check in one line begins with, but for "steps", which has nothing behind it; and an example."""

_KNOWN = f"{', '.join(SHORTHANDS.values())} or steps"


class CheckError(ValueError):
    """A check that cannot be read; the message says what is wrong with it."""


def parse_check(text: str) -> Check:
    """Read a shorthand (`reference:42`, `numbers:19,36,55,7=65`, `relation:3*x+5=20`, `domain:integer`, `steps`),
    or JSON.

    Raises:
        CheckError: It is neither.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckError(f"is not JSON: {error}") from None
        return check_from_json(value)
    kind, _, rest = text.partition(":")
    rest = rest.strip()
    if kind != "steps" and not rest:
        raise CheckError(f"{text[:80]!r} is no check; write {_KNOWN}, or JSON")
    match kind:
        case "reference":
            return ReferenceCheck(rest)
        case "numbers":
            return ConstraintCheck((_numbers(rest),))
        case "relation":
            return ConstraintCheck((Relation(rest),))
        case "domain":
            return ConstraintCheck((Domain(rest),))
        case "steps":
            return StepCheck()
        case _:
            raise CheckError(f"unknown kind {kind[:40]!r}; write {_KNOWN}, or JSON")


def _numbers(text: str) -> NumberUse:
    listed, equals, target = (part.strip() for part in text.partition("="))
    numbers = tuple(number.strip() for number in listed.split(","))
    if not equals or not target or not all(numbers):
        raise CheckError(f"numbers:{text[:80]} lacks something; write numbers and target like numbers:19,36,55,7=65")
    return NumberUse(numbers, target)


def check_from_json(value: Any) -> Check:
    """Read the JSON form of the protobuf message `Check`, for example `{"reference": {"answer": "42"}}`. In the `call`
    of a case, `arguments` and `expected` may be plain JSON instead of `arguments_json` and `expected_json`.

    Raises:
        CheckError: It is not one; the message names the field.
    """
    from google.protobuf.json_format import ParseDict, ParseError

    from espalier.common.errors import FieldError
    from espalier.v1 import common_pb2
    from espalier.verifiers.proto import decode_check

    if not isinstance(value, dict):
        raise CheckError("give a shorthand or a JSON object")
    try:
        program = value.get("program")
        spelled = {**value, "program": spelled_out(program)} if isinstance(program, dict) else value
        return decode_check(ParseDict(spelled, common_pb2.Check()))
    except (ParseError, FieldError) as error:
        raise CheckError(str(error)) from None


def check_to_json(check: Check) -> dict[str, Any]:
    """The JSON form of a check, as `check_from_json` reads it."""
    from google.protobuf.json_format import MessageToDict

    from espalier.verifiers.proto import encode_check

    value: dict[str, Any] = MessageToDict(encode_check(check), preserving_proto_field_name=True)
    return value


def spelled_out(check: dict[str, Any]) -> dict[str, Any]:
    """The JSON form of a `ProgramCheck` whose calls have their arguments and results as text."""
    cases = check.get("cases")
    return {**check, "cases": [_case(case) for case in cases]} if isinstance(cases, list) else check


def _case(case: Any) -> Any:
    call = case.get("call") if isinstance(case, dict) else None
    if not isinstance(call, dict):
        return case
    plain = {f"{field}_json": json.dumps(call[field]) for field in ("arguments", "expected") if field in call}
    rest = {field: value for field, value in call.items() if field not in ("arguments", "expected")}
    return {**case, "call": {**rest, **plain}}
