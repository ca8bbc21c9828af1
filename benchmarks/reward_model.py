"""Votes and a reward model on public candidates of Qwen2.5-Math: 100 problems of MATH, 8 scored responses to each.

    python benchmarks/reward_model.py qwen2.5-math-cot-100x8.jsonl.gz

The file is as QwenLM/Qwen2.5-Math publishes it (`question`, `gt`, `response`, `pred_score`). Answers are classed by
this project's equivalence and judged by its verifier.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chosen_answers import accuracy
from judged_answers import JudgedProblem

from espalier.training.data.datasets import rows
from espalier.verifiers.check import Claim, ReferenceCheck, StepCheck
from espalier.verifiers.local import LocalVerifiers, load


@dataclass(frozen=True, slots=True)
class Scored:
    """A response: its class, its score by the reward model, and the share of its equalities that hold."""

    answer_class: int | None
    reward: float
    steps: float


Weight = Callable[[Scored], float]

VOTES: dict[str, Weight] = {
    "votes": lambda one: 1.0,
    "votes that false equalities weaken": lambda one: one.steps,
    "votes x e^score": lambda one: math.exp(one.reward),
    "votes x sigmoid of the score": lambda one: 1 / (1 + math.exp(-one.reward)),
}


async def judged(row: dict[str, Any], verifiers: LocalVerifiers) -> tuple[JudgedProblem, list[Scored]]:
    claims = [Claim(text, problem=row["question"]) for text in row["response"]]
    classes: dict[int, int] = {}
    right = None
    for number, vote in enumerate(await verifiers.classes(claims)):
        classes |= dict.fromkeys(vote.found.members, number)
        verdict = await verifiers.verify(claims[vote.found.members[0]], ReferenceCheck(row["gt"]))
        right = number if right is None and verdict.passed else right
    steps = await asyncio.gather(*(verifiers.verify(claim, StepCheck()) for claim in claims))
    scores = [float(score[-1]) for score in row["pred_score"]]
    found = [Scored(classes.get(i), scores[i], steps[i].score) for i in range(len(claims))]
    return JudgedProblem(str(row["idx"]), right, ()), found


def by_weight(problem: JudgedProblem, responses: Sequence[Scored], weight: Weight) -> float:
    weights: dict[int, float] = {}
    for one in responses:
        if one.answer_class is not None:
            weights[one.answer_class] = weights.get(one.answer_class, 0.0) + weight(one)
    return accuracy(problem, weights)


def by_best(problem: JudgedProblem, responses: Sequence[Scored]) -> float:
    best = max(responses, key=lambda one: one.reward)
    return float(best.answer_class is not None and best.answer_class == problem.right)


async def run(path: Path) -> None:
    async with LocalVerifiers(load(["math"])) as verifiers:
        found = [await judged(row, verifiers) for row in rows(path)]
    ways = {name: [by_weight(*one, weight) for one in found] for name, weight in VOTES.items()}
    ways["best by the reward model"] = [by_best(*one) for one in found]
    ways["a random response"] = [
        statistics.fmean(one.answer_class == problem.right and problem.right is not None for one in own)
        for problem, own in found
    ]
    ways["one of them is right"] = [float(problem.right is not None) for problem, _ in found]
    print(f"{len(found)} problems")
    for name, values in ways.items():
        error = statistics.stdev(values) / len(values) ** 0.5
        print(f"{name:40}{100 * statistics.fmean(values):7.1f} +-{100 * error:4.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", type=Path)
    asyncio.run(run(parser.parse_args().candidates))


if __name__ == "__main__":
    main()
