"""Confidence: recovers known odds, is calibrated on what it was not fitted on, and never speaks without an answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.confidence import FEATURES, Calibration, Votes, fit, reliability
from espalier.solver.core.policy import outcome_of, tally
from espalier.solver.core.selection import VerifiedCandidate, subsets, votes_on
from espalier.verifiers.verdict import Status, Verdict


def world(seed: int, problems: int, samples: int = 16) -> list[tuple[Votes, bool]]:
    """Problems whose chance of a right response varies, with few wrong answers that attract."""
    rng = Random(seed)
    found = []
    for _ in range(problems):
        chance = rng.betavariate(0.7, 1.2)
        stated = [0 if rng.random() < chance else rng.choice([None, 1, 1, 1, 2, 3]) for _ in range(samples)]
        found += [(votes, selection.answer == "0") for votes, selection in subsets(told(stated), rng)]
    return found


def told(stated: Sequence[int | None], scores: Sequence[float] = ()) -> list[VerifiedCandidate]:
    """Candidates that state answers of these classes, or nothing; what their votes weigh."""
    return [
        VerifiedCandidate(
            Candidate(
                *(Spec(index, 0, 0, 1.0), "", None if number is None else str(number), ()),
                *(FinishReason.STOP, Usage(), 0.0),
                answer_class=number,
            ),
            Verdict(Status.UNKNOWN, score, "steps"),
        )
        for index, (number, score) in enumerate(zip(stated, scores or [1.0] * len(stated), strict=True))
    ]


def votes_of(judged: Sequence[VerifiedCandidate]) -> Votes:
    return votes_on(judged, tally(outcome_of(one.candidate, one.verdict) for one in judged))


def test_it_is_calibrated_on_problems_that_it_has_not_seen() -> None:
    seen, fresh = world(1, 1500), world(2, 1500)
    model = fit(*zip(*seen, strict=True))
    found = reliability([model.confidence(votes) for votes, _ in fresh], [right for _, right in fresh])
    assert found.error < 0.05
    always = reliability([0.5] * len(fresh), [right for _, right in fresh])
    assert found.error < always.error or always.error < 0.02


def test_more_votes_for_the_leader_make_it_surer() -> None:
    model = fit(*zip(*world(3, 800), strict=True))
    rising = [model.confidence(Votes((float(leader), 2.0), 0)) for leader in (2, 4, 8, 14)]
    assert rising == sorted(rising)
    assert rising[-1] > rising[0] + 0.2


def test_without_an_answer_there_is_no_confidence() -> None:
    assert Calibration((9.0,) * len(FEATURES)).confidence(Votes((), 5)) == 0.0


@given(st.lists(st.sampled_from([None, 0, 1, 2, 3]), min_size=1, max_size=40), st.integers(0, 99))
def test_the_order_and_the_names_of_classes_do_not_matter(stated: list[int | None], seed: int) -> None:
    shuffled = [None if number is None else 10 - number for number in stated]
    Random(seed).shuffle(shuffled)
    first, second = votes_of(told(stated)), votes_of(told(shuffled))
    assert first == second
    assert all(math.isfinite(value) for value in first.features())


def test_votes_count_what_they_weigh_and_one_without_weight_is_no_silence() -> None:
    votes = votes_of(told([0, 1, 1, None, 2], [1.0, 0.25, 0.5, 1.0, 0.0]))
    assert votes == Votes((1.0, 0.75), silent=1)
    ((votes, selection),) = subsets(told([0, 1], [0.5, 1.0]), Random(0))
    assert (votes, selection.answer) == (Votes((1.0, 0.5)), "1")
    assert subsets(told([0, None], [0.0, 0.0]), Random(0)) == []


def test_it_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    model = fit(*zip(*world(4, 300), strict=True), model="tiny", problems=300)
    model.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == model


GOOD = {"weights": [0.0] * len(FEATURES), "features": list(FEATURES), "model": "", "problems": 0}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is no JSON"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[]", "it is no JSON object"),
        (b"3", "it is no JSON object"),
        (b"{}", "it has no list of features"),
        ({**GOOD, "features": [1]}, "it has no list of features"),
        ({**GOOD, "features": ["x"]}, "it was fitted over x, not over intercept"),
        ({**GOOD, "weights": None}, "its weights are no list of numbers"),
        ({**GOOD, "weights": ["1"] * len(FEATURES)}, "its weights are no list of numbers"),
        ({**GOOD, "weights": [math.nan] * len(FEATURES)}, "its weights are no list of numbers"),
        ({**GOOD, "weights": [1.0]}, f"it has 1 weights for {len(FEATURES)} features"),
        ({**GOOD, "problems": "many"}, "its number of problems is no whole number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_holds_none_says_what_is_wrong_and_how_one_is_made(
    tmp_path: Path, content: bytes | dict[str, object], fault: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ValueError, match=re.escape("x.json holds no calibration: ")) as caught:
        Calibration.load(path)
    assert fault in str(caught.value)
    assert str(caught.value).endswith("make one with espalier calibrate")


def test_a_calibration_from_before_there_were_ways_says_nothing_about_them(tmp_path: Path) -> None:
    older = FEATURES[:-1]
    (tmp_path / "x.json").write_text(json.dumps({**GOOD, "features": older, "weights": [1.0] * len(older)}))
    assert Calibration.load(tmp_path / "x.json").weights == (1.0,) * len(older) + (0.0,)


def test_the_calibration_that_ships_is_one() -> None:
    shipped = Path(__file__).parents[3] / "recipes" / "calibrations" / "qwen2.5-coder-0.5b-gsm8k.json"
    assert Calibration.load(shipped).problems == 2378


def test_failing_one_example_is_as_telling_as_failing_most() -> None:
    place = FEATURES.index("all_examples")
    told = [Votes((1.0,), examples=share).features()[place] for share in (None, 0.0, 0.9, 1.0)]
    assert told == [0.0, -1.0, -1.0, 1.0]


def test_nothing_is_learned_from_one_kind_of_answer() -> None:
    with pytest.raises(ValueError, match="right and wrong"):
        fit([Votes((1.0,))], [True])


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    found = reliability([0.95, 0.95, 0.15, 0.15], [True, False, False, False], threshold=0.9)
    assert found.error == pytest.approx(0.5 * 0.45 + 0.5 * 0.15)
    assert (found.kept, found.accuracy_kept) == (0.5, 0.5)


def test_what_chance_makes_of_few_answers_is_told() -> None:
    """Of n answers that are right half of the time the error is the mean of |share - 1/2|: sqrt(1 / (2 pi n))."""
    for number in (50, 5000):
        found = reliability([0.5] * number, [index % 2 == 0 for index in range(number)])
        assert found.error == 0.0
        assert found.by_chance == pytest.approx((2 * math.pi * number) ** -0.5, rel=0.3)
    assert reliability([1.0, 0.0], [True, False]).by_chance == 0.0
