from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import BranchClosed, BranchOpened, GenerateRequest, Joined, Limits, SamplingParams, Tokens
from espalier.runtime.grammar import GrammarLimits
from espalier.runtime.layout import Path as LayoutPath
from espalier.runtime.sglang.protocol import (
    OptionError,
    Options,
    Summary,
    branch_seed,
    default_switch,
    event_from_json,
    event_to_json,
    format_path,
    parse_path,
    parse_switch,
    request_options,
)

PAGE = Path(__file__).parents[3] / "docs" / "sglang.md"
PATHS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 16)), max_size=5).map(tuple)


def test_the_reference_preset_has_the_limits_of_the_papers_engine_and_can_be_overridden() -> None:
    preset = parse_switch({"preset": "reference"})
    assert preset == Options(max_plans=5, max_depth=5, min_fork_tokens=1024, step_repetition_penalty=1.02)
    assert parse_switch({"preset": "reference", "max_plans": 3}) == Options(
        3, 5, None, None, 1024, None, None, None, None, 1.02
    )


def test_the_defaults_are_eight_plans_at_depth_five() -> None:
    options = parse_switch(True)
    assert options is not None
    assert options.grammar == GrammarLimits(max_plans=8, max_depth=5)


@pytest.mark.parametrize("value", [False, None])
def test_it_can_be_switched_off(value: object) -> None:
    assert parse_switch(value) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("on", "npr must be true, false or an object"),
        ({"max_plans": True}, "npr.max_plans must be a whole number of at least 1, got True"),
        ({"max_plans": 17}, "npr.max_plans must be at most 16"),
        ({"max_plans": None}, "npr.max_plans must be"),
        ({"max_depth": 0}, "npr.max_depth must be"),
        ({"max_branch_tokens": 1.5}, "npr.max_branch_tokens must be a whole number"),
        ({"step_temperature": float("nan")}, "npr.step_temperature must be"),
        ({"step_top_p": 0}, r"npr.step_top_p must be a number in \(0, 1\]"),
        ({"step_repetition_penalty": 3}, "npr.step_repetition_penalty must be"),
        ({"events": 1}, "npr.events must be true or false"),
        ({"constrained": "yes"}, "npr.constrained must be true or false"),
        ({"plans": 3}, "npr.plans is no option; there are preset, max_plans"),
        ({"preset": ["reference"]}, "npr.preset must be one of reference"),
    ],
)
def test_a_bad_option_is_named(given: object, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_switch(given)


@pytest.mark.parametrize("text", ["{", '{"max_plan": 3}', '"yes"'])
def test_a_bad_default_names_the_variable(text: str) -> None:
    with pytest.raises(OptionError, match="environment variable ESPALIER_NPR: "):
        default_switch({"ESPALIER_NPR": text})


def test_an_unset_default_is_off() -> None:
    assert default_switch({}) is None
    assert default_switch({"ESPALIER_NPR": ""}) is None


def test_options_survive_their_way_as_json() -> None:
    request = GenerateRequest(
        "a",
        (1,),
        step_sampling=SamplingParams(temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=1.02),
        limits=Limits(9, max_critical_path=8, max_branch_tokens=7, min_fork_tokens=6, grammar=GrammarLimits(5, 4)),
        constrained=True,
    )
    options = request_options(request)
    assert options.constrained
    assert parse_switch(options.to_json()) == options


@given(PATHS)
def test_a_path_survives_its_way_as_text(path: tuple[tuple[int, int], ...]) -> None:
    assert parse_path(format_path(path)) == path


@given(PATHS, st.booleans())
def test_events_survive_their_way_as_json(path: tuple[tuple[int, int], ...], mark: bool) -> None:
    for event in (
        BranchOpened("a", path, (1, 2)),
        Tokens("a", path, (3, 4), (-0.5, 0.0), (mark, True), (7, 8)),
        BranchClosed("a", path, mark),
        Joined("a", path, 3),
    ):
        assert event_from_json("a", event_to_json(event)) == event


@pytest.mark.parametrize("record", [[], ["open"], ["tokens", "", [1]], ["join", "", "1"], {"open": 1}, "open"])
def test_what_is_no_event_is_refused(record: object) -> None:
    with pytest.raises(ValueError, match="no event"):
        event_from_json("a", record)  # type: ignore[arg-type]


@pytest.mark.parametrize("record", [{}, {"reason": "stop", "branch_tokens": [], "more": 1}])
def test_what_is_no_summary_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no summary"):
        Summary.from_json(record)


def test_branches_have_seeds_of_their_own_that_sglang_can_hold() -> None:
    paths: list[LayoutPath] = [((block, step),) for block in range(4) for step in range(1, 9)]
    paths += [(*path, (0, step)) for path in paths for step in range(1, 4)]
    seeds = [branch_seed(5, path) for path in paths]
    assert len(set(seeds)) == len(paths)
    assert all(0 <= seed < 1 << 31 for seed in seeds)
    assert branch_seed(5, ()) == 5
    assert [branch_seed(5, path) for path in paths] == seeds
    assert not set(seeds) & {branch_seed(6, path) for path in paths}


def test_every_option_is_documented_with_its_default() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    told = {name: row.split("|")[2].strip() for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    for option in fields(Options):
        assert option.default is not MISSING
        inherited = option.name.startswith("step_")
        default = "as outside" if inherited else "none" if option.default is None else str(option.default).lower()
        assert told[option.name].strip("`") == default, option.name
