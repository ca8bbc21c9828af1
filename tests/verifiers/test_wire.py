"""Messages and dataclasses say the same thing, and a bad field is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import given

from espalier.common.errors import FieldError
from espalier.v1 import common_pb2 as pb
from espalier.verifiers import proto
from espalier.verifiers.check import (
    Check,
    Claim,
    ConstraintCheck,
    MathOptions,
    ProgramCheck,
    ProgramLimits,
    ReferenceCheck,
    Relation,
)
from espalier.verifiers.verdict import Status, Verdict
from tests.verifiers import strategies

BAD_CHECKS = [json.loads(line) for line in (Path(__file__).parent / "bad_checks.jsonl").read_text().splitlines()]


@given(strategies.checks)
def test_a_check_survives_the_wire(check: Check) -> None:
    assert proto.decode_check(pb.Check.FromString(proto.encode_check(check).SerializeToString())) == check


@given(strategies.claims)
def test_a_claim_survives_the_wire(claim: Claim) -> None:
    assert proto.decode_claim(pb.Claim.FromString(proto.encode_claim(claim).SerializeToString())) == claim


@given(strategies.verdicts)
def test_a_verdict_survives_the_wire(verdict: Verdict) -> None:
    assert proto.decode_verdict(pb.Verdict.FromString(proto.encode_verdict(verdict).SerializeToString())) == verdict


@given(strategies.messages(pb.Check.DESCRIPTOR))
def test_any_check_message_decodes_or_names_a_field(message: pb.Check) -> None:
    try:
        check = proto.decode_check(message)
    except FieldError as error:
        assert error.field.startswith("check.")
        assert error.problem
    else:
        assert proto.decode_check(proto.encode_check(check)) == check


@given(strategies.messages(pb.Verdict.DESCRIPTOR))
def test_any_verdict_message_decodes_to_a_verdict(message: pb.Verdict) -> None:
    assert 0 <= proto.decode_verdict(message).score <= 1


def test_an_absent_field_means_its_default() -> None:
    case = pb.ProgramCase(stdio=pb.StdioCase())
    assert proto.decode_options(pb.MathOptions()) == MathOptions()
    check = proto.decode_check(pb.Check(program=pb.ProgramCheck(cases=[case])))
    assert isinstance(check, ProgramCheck)
    assert check == ProgramCheck(check.cases)
    assert check.limits == ProgramLimits()


def test_a_field_that_is_set_to_zero_is_not_its_default() -> None:
    options = proto.decode_options(pb.MathOptions(percent_as_fraction=False, round_to=0))
    assert options == MathOptions(percent_as_fraction=False, round_to=0)


def test_a_relation_without_its_optional_fields_has_their_defaults() -> None:
    check = proto.decode_check(
        pb.Check(constraints=pb.ConstraintCheck(constraints=[pb.Constraint(relation=pb.Relation(text="x = 1"))]))
    )
    assert check == ConstraintCheck((Relation("x = 1"),))


def test_a_relation_rounded_to_zero_places_is_not_exact() -> None:
    check = ConstraintCheck((Relation("x = 1", all_solutions=True, round_to=0),))
    assert proto.decode_check(proto.encode_check(check)) == check


@pytest.mark.parametrize("row", BAD_CHECKS, ids=[row["field"] for row in BAD_CHECKS])
def test_a_bad_field_is_named(row: dict[str, object]) -> None:
    with pytest.raises(FieldError) as caught:
        proto.decode_check(json_format.ParseDict(row["check"], pb.Check()))
    assert caught.value.field == row["field"]


@pytest.mark.parametrize(
    ("weights", "claims", "field"),
    [([1.0], 2, "weights"), ([1.0, -1.0], 2, "weights[1]"), ([float("nan")], 1, "weights[0]")],
)
def test_a_bad_weight_is_named(weights: list[float], claims: int, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        proto.decode_weights(weights, claims)
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["text", "problem"])
def test_a_claim_that_is_too_long_is_named(field: str) -> None:
    proto.decode_claim(pb.Claim(**{field: "x" * proto.MAX_CLAIM}))
    with pytest.raises(FieldError) as caught:
        proto.decode_claim(pb.Claim(**{field: "x" * (proto.MAX_CLAIM + 1)}), "claims[3]")
    assert caught.value.field == f"claims[3].{field}"


def test_no_weights_mean_one_each() -> None:
    assert proto.decode_weights([], 3) == (1.0, 1.0, 1.0)


def test_lone_surrogates_do_not_stop_a_claim() -> None:
    assert proto.encode_claim(Claim("\ud800 x \U0001f600")).text == "� x \U0001f600"
    assert proto.encode_check(ReferenceCheck("\udfff")).reference.answer == "�"


@pytest.mark.parametrize("message", [pb.Verdict(), pb.Verdict(status=99, score=0.5), pb.Verdict(status=1, score=2)])
def test_a_verdict_without_sense_is_an_error(message: pb.Verdict) -> None:
    assert proto.decode_verdict(message).status is Status.ERROR
