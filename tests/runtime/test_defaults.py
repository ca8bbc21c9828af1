"""How a model was trained to be decoded travels in its directory."""

from __future__ import annotations

import pytest

from espalier.runtime.defaults import DecodingDefaults, DecodingOverrides
from espalier.runtime.engine import Limits
from espalier.runtime.grammar import GrammarLimits

OWN = DecodingDefaults(constrained=True, max_plans=4, max_depth=1, max_branch_tokens=400)


def test_a_model_directory_gives_back_what_was_saved_in_it(tmp_path):
    for saved in (OWN, DecodingDefaults()):
        saved.save(tmp_path)
        assert DecodingDefaults.load(tmp_path) == DecodingDefaults.stored(tmp_path) == saved


def test_a_directory_without_the_file_has_the_limits_of_a_request_that_names_none(tmp_path):
    assert DecodingDefaults.stored(tmp_path) is None
    assert DecodingDefaults.load(tmp_path).limits(4096) == Limits()
    assert DecodingDefaults.load(tmp_path).constrained is False


def test_a_field_that_the_file_leaves_out_is_the_usual_one(tmp_path):
    (tmp_path / "decoding.json").write_text('{"max_plans": 4}')
    assert DecodingDefaults.load(tmp_path) == DecodingDefaults(max_plans=4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"max_plan": 4}', r"unknown field 'max_plan'; there are: constrained, max_plans, max_depth, max_branch_tok"),
        ('{"max_tokens": 4}', "unknown field 'max_tokens'"),
        ('{"constrained": 1}', "constrained must be true or false, got 1"),
        ('{"constrained": null}', "constrained must be true or false, got None"),
        ('{"max_plans": 0}', "max_plans must be a whole number above 0, got 0"),
        ('{"max_plans": null}', "max_plans must be a whole number above 0, got None"),
        ('{"max_depth": true}', "max_depth must be a whole number above 0, got True"),
        ('{"max_branch_tokens": 4.5}', "max_branch_tokens must be a whole number above 0, got 4.5"),
        ("[4]", "write a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"max_plans": ', "Expecting value"),
        (b'{"\xff": 1}', "can't decode byte"),
    ],
)
def test_a_file_that_makes_no_sense_is_named_with_its_field(tmp_path, text, said):
    (tmp_path / "decoding.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"decoding\.json: .*{said}"):
        DecodingDefaults.load(tmp_path)


def test_the_limits_of_a_response_are_the_models_own_and_the_callers_budget():
    assert OWN.limits(77) == Limits(max_tokens=77, max_branch_tokens=400, grammar=GrammarLimits(4, 1))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, OWN),
        ({"constrained": False}, DecodingDefaults(False, 4, 1, 400)),
        ({"max_plans": 8, "max_depth": 2}, DecodingDefaults(True, 8, 2, 400)),
        ({"max_branch_tokens": 0}, DecodingDefaults(True, 4, 1, None)),
        ({"max_branch_tokens": 9}, DecodingDefaults(True, 4, 1, 9)),
    ],
)
def test_what_a_caller_says_stands_in_place_of_the_models_own(said, expected):
    assert DecodingOverrides(**said).on(OWN) == expected
