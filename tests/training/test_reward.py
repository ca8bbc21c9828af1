from __future__ import annotations

import pytest

from espalier.runtime.engine import FinishReason
from espalier.runtime.grammar import FaultKind
from espalier.runtime.structure import read
from espalier.training.rl.reward import FORMAT_SCORES, RolloutStatus, format_score, reward, status_of
from espalier.verifiers.verdict import Status
from recipes.seedling.stream import Codec

GOOD = (
    "<guideline>\n<plan>1: a</plan>\n<plan>2: b</plan>\n</guideline>"
    "\n<step>\n1: x</step>\n<step>\n2: y</step><takeaway>\nz</takeaway>\n\\boxed{4}<|im_end|>"
)


def _score(codec: Codec, text: str) -> float:
    return format_score(read(codec.tokenizer.encode(text, add_special_tokens=False).ids, 0, codec.vocabulary))


@pytest.mark.parametrize(
    ("old", "new", "score"),
    [
        ("", "", 0.0),
        (GOOD, "just text<|im_end|>", -1.5),
        ("<plan>1: a</plan>\n<plan>2: b</plan>\n", "", -1.5),
        (GOOD, "<guideline>\n<plan>1: a<|im_end|>", -1.5),
        ("\n<step>\n2: y</step>", "", -1.0),
        ("<plan>2: b</plan>\n", "", -1.0),
        ("<takeaway>\nz</takeaway>", "", -1.0),
        ("\n\\boxed{4}", "", -1.0),
        ("\n\\boxed{4}<|im_end|>", "", -1.0),
        ("<plan>2: b</plan>", "<plan></plan>", -0.4),
        ("\n2: y", " y", -0.2),
    ],
)
def test_the_format_score_names_how_far_a_response_is_from_the_grammar(
    codec: Codec, old: str, new: str, score: float
) -> None:
    assert old in GOOD
    assert _score(codec, GOOD.replace(old, new)) == score


def test_every_fault_has_a_score_and_every_score_is_in_range() -> None:
    assert FORMAT_SCORES.keys() == set(FaultKind)
    assert all(-1.5 <= score < 0 for score in FORMAT_SCORES.values())


@pytest.mark.parametrize(
    ("reason", "verdict", "status", "value", "trained"),
    [
        (FinishReason.STOP, Status.PASS, RolloutStatus.PASSED, 1.0, True),
        (FinishReason.STOP, Status.FAIL, RolloutStatus.FAILED, -1.0, True),
        (FinishReason.STOP, Status.UNKNOWN, RolloutStatus.UNKNOWN, None, False),
        (FinishReason.STOP, Status.ERROR, RolloutStatus.VERIFIER_ERROR, None, False),
        (FinishReason.LENGTH, None, RolloutStatus.TRUNCATED, -1.0, True),
        (FinishReason.MALFORMED, None, RolloutStatus.MALFORMED, -1.0, False),
        (FinishReason.ABORTED, None, RolloutStatus.ENGINE_ERROR, None, False),
        (FinishReason.ERROR, None, RolloutStatus.ENGINE_ERROR, None, False),
    ],
)
def test_a_verdict_becomes_a_number_only_when_it_is_about_the_claim(
    reason: FinishReason, verdict: Status | None, status: RolloutStatus, value: float | None, trained: bool
) -> None:
    found = reward(status_of(reason, verdict))
    assert (found.status, found.value, found.trained) == (status, value, trained)


def test_the_format_score_is_added_to_outcomes_and_never_makes_one() -> None:
    assert reward(RolloutStatus.PASSED, -0.4).value == pytest.approx(0.6)
    assert reward(RolloutStatus.VERIFIER_ERROR, -1.5).value is None
