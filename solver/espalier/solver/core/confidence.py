"""How sure an answer is that no check has confirmed: a logistic model over the votes for it.

The model is fitted on problems whose answers are known (`espalier calibrate`) and says, for another problem, how often
an answer with such votes was right. It is evidence, never a PASS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

FEATURES = ("intercept", "share", "margin", "log_votes", "silent", "split", "ways", "all_examples")
RIDGE = 1e-3
"""Weight of the penalty that keeps the fit finite where a feature separates right from wrong."""
ITERATIONS = 50
BINS = 10
DRAWS = 100
"""Draws of what would come true if confidences were exactly right."""


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes on one problem.

    Attributes:
        weights: Of each class of equivalent answers, heaviest first; empty where nothing was answered.
        silent: Responses without a vote: they state no answer, or a program that fails or passes fewer stated examples.
        ways: The share of the other ways of solving that state the heaviest class, too; 0 where there is one way.
        examples: The share of the examples that the problem states which the heaviest class passes; None where it
            states none.
    """

    weights: tuple[float, ...]
    silent: int = 0
    ways: float = 0.0
    examples: float | None = None

    def features(self) -> tuple[float, ...]:
        """What the model sees, in the order of FEATURES; votes are smoothed by half a vote.

        * share: log-odds of the heaviest class among all responses;
        * margin: log-ratio of the heaviest class to the next one;
        * log_votes: logarithm of the heaviest class;
        * silent: share of responses without a vote;
        * split: entropy of the classes in nats;
        * ways: share of the other ways of solving that state the heaviest class;
        * all_examples: 1 where the heaviest class passes all stated examples, -1 where it fails one, 0 without any. A
          share would say less: programs that fail one are hardly ever right, however many they pass.
        """
        leader, runner_up, *_ = (*self.weights, 0.0, 0.0)
        total = sum(self.weights)
        everything = total + self.silent
        shares = [weight / total for weight in self.weights] if total else []
        return (
            1.0,
            math.log((leader + 0.5) / (everything - leader + 0.5)),
            math.log((leader + 0.5) / (runner_up + 0.5)),
            math.log(leader + 0.5),
            self.silent / everything if everything else 1.0,
            -sum(share * math.log(share) for share in shares),
            self.ways,
            0.0 if self.examples is None else 1.0 if self.examples == 1.0 else -1.0,
        )


def other_ways(voted: Sequence[Sequence[int]], ways: Sequence[str], leader: int | None) -> float:
    """Of the ways beside the first that the responses went, the share that states an answer of the leading class."""
    used = set(ways)
    if len(used) < 2:
        return 0.0
    stating = {way for classes, way in zip(voted, ways, strict=True) if leader in classes}
    return (len(stating) - 1) / (len(used) - 1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted model.

    Attributes:
        weights: One a feature, in the order of FEATURES.
        model: Whose responses it was fitted on.
        problems: How many problems it was fitted on.
    """

    weights: tuple[float, ...]
    model: str = ""
    problems: int = 0

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES):
            raise ValueError(f"weights: needs one for each of {', '.join(FEATURES)}, got {len(self.weights)}")

    def confidence(self, votes: Votes) -> float:
        """Probability that the answer with the most votes is right; 0 where there is none."""
        if not votes.weights:
            return 0.0
        return _sigmoid(math.fsum(w * x for w, x in zip(self.weights, votes.features(), strict=True)))

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps({**asdict(self), "features": FEATURES}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """
        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no calibration, or one over other features.
        """
        try:
            return cls._of_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            fault = "it is not UTF-8 text"
        except (ValueError, RecursionError) as error:
            fault = str(error)
        raise ValueError(f"{path} holds no calibration: {fault}; make one with espalier calibrate")

    @classmethod
    def _of_json(cls, text: str) -> Calibration:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON") from None
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        features, weights, problems = value.get("features"), value.get("weights"), value.get("problems", 0)
        if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
            raise ValueError("it has no list of features")
        if not features or not set(features) <= set(FEATURES):
            raise ValueError(f"it was fitted over {', '.join(features) or 'nothing'}, not over {', '.join(FEATURES)}")
        if not isinstance(weights, list) or not all(map(_is_finite, weights)):
            raise ValueError("its weights are no list of numbers")
        if not isinstance(problems, int):
            raise ValueError("its number of problems is no whole number")
        if len(weights) != len(features):
            raise ValueError(f"it has {len(weights)} weights for {len(features)} features")
        weighed = dict(zip(features, map(float, weights), strict=True))
        # What it was fitted without, as before there were ways, it says nothing about.
        return cls(tuple(weighed.get(name, 0.0) for name in FEATURES), str(value.get("model", "")), problems)


def fit(votes: Sequence[Votes], right: Sequence[bool], model: str = "", problems: int = 0) -> Calibration:
    """The weights of greatest likelihood under a small ridge, by Newton's method. O(n) a step.

    Args:
        votes: n problems, or draws of responses to them, each with an answer.
        right: Whether the answer with the most votes is right.
        model: Whose responses these are.
        problems: Of how many problems they are.

    Raises:
        ValueError: There are no examples, or only right or only wrong ones.
    """
    import numpy as np  # only to fit: a server that reads a calibration needs none

    if len(set(right)) < 2:
        raise ValueError("a calibration needs right and wrong answers to learn from")
    x = np.array([one.features() for one in votes])
    y = np.array(right, dtype=np.float64)
    weights = np.zeros(x.shape[1])
    penalty = RIDGE * len(y) * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    for _ in range(ITERATIONS):
        chance = 1 / (1 + np.exp(-(x @ weights)))
        gradient = x.T @ (y - chance) - penalty @ weights
        hessian = (x * (chance * (1 - chance))[:, None]).T @ x + penalty
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(weights)), gradient)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-9:
            break
    return Calibration(tuple(map(float, weights)), model, problems)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence can be believed.

    Attributes:
        error: Expected calibration error: mean over bins of |confidence - accuracy|, by their share of the answers.
        by_chance: What it would be, on average, if every confidence were exactly right: of few answers not 0.
        bins: For each bin that is not empty: mean confidence, accuracy, answers.
        kept: Share of the answers with confidence of at least the threshold.
        accuracy_kept: Accuracy of those; NaN where there are none.
    """

    error: float
    by_chance: float
    bins: tuple[tuple[float, float, int], ...]
    kept: float
    accuracy_kept: float


def reliability(confidence: Sequence[float], right: Sequence[bool], threshold: float = 0.9) -> Reliability:
    """Compare confidences with what came true, in BINS bins of equal width."""
    bins = _bins(confidence, right)
    rng = Random(0)
    chance = [_error(_bins(confidence, [rng.random() < value for value in confidence])) for _ in range(DRAWS)]
    kept = [true for value, true in zip(confidence, right, strict=True) if value >= threshold]
    return Reliability(
        error=_error(bins),
        by_chance=sum(chance) / DRAWS,
        bins=bins,
        kept=len(kept) / len(confidence) if confidence else 0.0,
        accuracy_kept=sum(kept) / len(kept) if kept else math.nan,
    )


def _bins(confidence: Sequence[float], right: Sequence[bool]) -> tuple[tuple[float, float, int], ...]:
    binned: dict[int, list[tuple[float, bool]]] = {}
    for value, true in zip(confidence, right, strict=True):
        binned.setdefault(min(BINS - 1, int(value * BINS)), []).append((value, true))
    return tuple(
        (sum(v for v, _ in own) / len(own), sum(t for _, t in own) / len(own), len(own))
        for _, own in sorted(binned.items())
    )


def _error(bins: Sequence[tuple[float, float, int]]) -> float:
    total = sum(count for *_, count in bins)
    return sum(count * abs(mean - accuracy) for mean, accuracy, count in bins) / total if total else math.nan


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
