"""Confidence in a selection: sure of what is verified, calibrated on votes, silent below the threshold."""

from __future__ import annotations

import pytest

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.confidence import FEATURES, Calibration
from espalier.solver.core.policy import outcome_of, tally
from espalier.solver.core.selection import DecidedBy, Selection, Trust, VerifiedCandidate, select
from espalier.verifiers.verdict import Status, Verdict

LEADER = Calibration(tuple(2.0 if name == "share" else 0.0 for name in FEATURES))
"""Sure of an answer as far as most responses state it."""


def judged(*answers: tuple[str | None, int | None], status: Status = Status.UNKNOWN) -> list[VerifiedCandidate]:
    return [
        VerifiedCandidate(
            Candidate(
                spec=Spec(index, 0, 0, 1.0),
                text="",
                answer=answer,
                branch_answers=(),
                reason=FinishReason.STOP,
                usage=Usage(1, 1),
                seconds=0.0,
                answer_class=number,
            ),
            Verdict(status, 1.0, "x"),
        )
        for index, (answer, number) in enumerate(answers)
    ]


def weighed(trust: Trust, entries: list[VerifiedCandidate]) -> Selection:
    votes = tally(outcome_of(entry.candidate, entry.verdict) for entry in entries)
    return trust.weigh(select(entries, votes), entries, votes)


def test_what_a_check_confirmed_is_sure() -> None:
    entries = judged(("4", None), status=Status.PASS)
    assert weighed(Trust(), entries).confidence == 1.0
    assert weighed(Trust(LEADER, 0.99), entries).answer == "4"


def test_votes_have_the_confidence_of_the_calibration() -> None:
    many, few = judged(*[("4", 0)] * 7, ("5", 1)), judged(("4", 0), ("4", 0), ("5", 1), ("6", 2), (None, None))
    surer, less = (weighed(Trust(LEADER), entries) for entries in (many, few))
    assert surer.answer == less.answer == "4"
    assert surer.confidence is not None
    assert less.confidence is not None
    assert surer.confidence > 0.9 > 0.5 > less.confidence


def test_a_response_without_an_answer_makes_less_sure() -> None:
    with_silence, without = judged(("4", 0), (None, None)), judged(("4", 0))
    sure = [weighed(Trust(LEADER), entries).confidence for entries in (with_silence, without)]
    assert sure[0] is not None
    assert sure[1] is not None
    assert sure[0] < sure[1]


def test_too_little_confidence_is_no_answer_but_a_hint() -> None:
    entries = judged(("4", 0), ("5", 1), ("6", 2))
    found = weighed(Trust(LEADER, 0.9), entries)
    assert (found.answer, found.decided_by, found.hint) == (None, DecidedBy.NONE, "4")
    assert "below 0.9" in found.reason


def test_without_a_calibration_votes_have_none() -> None:
    entries = judged(("4", 0), ("4", 0))
    assert weighed(Trust(), entries).confidence is None


@pytest.mark.parametrize(("calibration", "least"), [(None, 0.5), (LEADER, 1.5), (LEADER, -0.1)])
def test_a_threshold_that_makes_no_sense_is_refused(calibration: Calibration | None, least: float) -> None:
    with pytest.raises(ValueError, match="min_confidence"):
        Trust(calibration, least)
