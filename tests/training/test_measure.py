from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from espalier.runtime.engine import EngineError, FinishReason
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.measure import MeasuredResponse, measure, summarise
from espalier.training.rl.reward import RolloutStatus, reward
from espalier.training.tasks import Problem, Split, task
from recipes.seedling.stream import Codec
from tests.training.test_beta import _attempt

LETTERS = {
    "p": RolloutStatus.PASSED,
    "f": RolloutStatus.FAILED,
    "u": RolloutStatus.UNKNOWN,
    "e": RolloutStatus.VERIFIER_ERROR,
    "l": RolloutStatus.TRUNCATED,
}


def _groups(*fates: str) -> list[list[MeasuredResponse]]:
    return [[MeasuredResponse(LETTERS[letter], letter, True, False, 50, 30) for letter in one] for one in fates]


def test_a_summary_by_hand() -> None:
    found = summarise(_groups("pppp", "pfff", "puee", "eeee"))
    # Shares 1, 1/4, 1/2: what cannot be read does not pass, what was not judged does not count. Variance 7/48.
    assert found.problems == 3
    assert found.accuracy == pytest.approx(1.75 / 3)
    assert found.error == pytest.approx(math.sqrt(7 / 48 / 3))
    assert found.undecided == 6
    assert (found.tokens, found.critical_path, found.well_formed, found.parallel) == (50, 30, 1.0, 0.0)
    assert found.pass_at == {}


def test_pass_at_k_is_the_unbiased_estimate_over_problems_with_k_verdicts() -> None:
    found = summarise(_groups("pf" * 8, "p" + 15 * "f", "p" * 7 + "e" * 9))
    # 1 - C(8, 8) / C(16, 8), and 1 of 16 is among 8 with chance 1/2; the third problem has 7 verdicts.
    assert found.pass_at == pytest.approx({"8": 1 - (1 / 12870 + 0.5) / 2, "16": 1.0})


def test_without_a_verdict_there_is_no_accuracy() -> None:
    found = summarise(_groups("ee", "ee"))
    assert (found.problems, found.accuracy, found.error, found.undecided) == (0, None, None, 4)
    assert summarise(_groups("pf")).error is None
    json.dumps(asdict(found), allow_nan=False)


def test_where_the_verifier_never_worked_truncated_responses_are_no_accuracy() -> None:
    assert summarise(_groups("el", "ll")).accuracy is None
    assert summarise(_groups("el", "ll")).undecided == 4
    assert summarise(_groups("el", "lf")).accuracy == 0.0
    assert summarise(_groups("ll", "ll")).accuracy == 0.0


class Collected:
    """Stands in for a collector: one attempt at each problem, ended like this."""

    def __init__(self, codec: Codec, detail: str, *, refused: bool) -> None:
        self.vocabulary, self.engine = codec.vocabulary, SimpleNamespace(tokenizer=codec.tokenizer)
        worth = reward(RolloutStatus.ENGINE_ERROR)
        one = _attempt(codec)
        ended = replace(one.finished, reason=FinishReason.ERROR, detail=detail)
        self.attempt = replace(one, finished=ended, verdict=None, reward=worth, refused=refused)

    async def collect(self, problems: list[Problem], *_: object) -> list[list[JudgedRollout]]:
        return [[self.attempt] for _ in problems]


async def test_an_engine_that_fails_measures_nothing(codec: Codec) -> None:
    problems: list[Problem] = list(task("gcd").problems(Split.HELD_OUT, 1, 2))
    with pytest.raises(EngineError, match="failed on 2 of 2 responses; for example: out of memory"):
        await measure(Collected(codec, "out of memory", refused=False), {"gcd": problems}, 1, 7)  # type: ignore[arg-type]
    found = await measure(Collected(codec, "too long", refused=True), {"gcd": problems}, 1, 7)  # type: ignore[arg-type]
    assert summarise(found["gcd"]).undecided == 2
