from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest

from espalier.runtime.engine import Usage
from espalier.training.data import Codec
from espalier.training.measure import summarise
from espalier.training.rollout import Attempt
from espalier.verifiers.verdict import Status
from tests.training.test_beta import _attempt

LETTERS = {"p": Status.PASS, "f": Status.FAIL, "u": Status.UNKNOWN, "e": Status.ERROR}


def _groups(codec: Codec, *fates: str) -> list[list[Attempt]]:
    usage = Usage(5, 40, 10, 30)
    return [[replace(_attempt(codec, status=LETTERS[letter]), usage=usage) for letter in one] for one in fates]


def test_a_summary_by_hand(codec: Codec) -> None:
    found = summarise(_groups(codec, "pppp", "pfff", "puee", "eeee"))
    # Shares 1, 1/4, 1/2: what cannot be read does not pass, what was not judged does not count. Variance 7/48.
    assert found.problems == 3
    assert found.accuracy == pytest.approx(1.75 / 3)
    assert found.error == pytest.approx(math.sqrt(7 / 48 / 3))
    assert found.undecided == 6
    assert (found.tokens, found.critical_path, found.well_formed, found.parallel) == (50, 30, 1.0, 0.0)
    assert found.pass_at == {}


def test_pass_at_k_is_the_unbiased_estimate_over_problems_with_k_verdicts(codec: Codec) -> None:
    found = summarise(_groups(codec, "pf" * 8, "p" + 15 * "f", "p" * 7 + "e" * 9))
    # 1 - C(8, 8) / C(16, 8), and 1 of 16 is among 8 with chance 1/2; the third problem has 7 verdicts.
    assert found.pass_at == pytest.approx({"8": 1 - (1 / 12870 + 0.5) / 2, "16": 1.0})


def test_without_a_verdict_there_is_no_accuracy(codec: Codec) -> None:
    found = summarise(_groups(codec, "ee", "ee"))
    assert (found.problems, found.accuracy, found.error, found.undecided) == (0, None, None, 4)
    assert summarise(_groups(codec, "pf")).error is None
    json.dumps(asdict(found), allow_nan=False)
