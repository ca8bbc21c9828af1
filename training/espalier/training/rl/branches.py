"""How good the branches of responses are, and what the join makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import OUTCOMES, RolloutStatus

COUNTS = ("branches", "branches_right", "sets", "sets_right", "sets_passed", "joins_lost", "joins_rescued")


def set_counts(rollouts: Iterable[JudgedRollout]) -> dict[str, float]:
    """Sums over responses; additive over processes. A set are the judged branches of a response that has an outcome."""
    sums = dict.fromkeys(COUNTS, 0.0)
    for rollout in rollouts:
        verdicts = [branch.right for branch in rollout.branches if branch.right is not None]
        if not verdicts or rollout.status not in OUTCOMES:
            continue
        right, passed = any(verdicts), rollout.status is RolloutStatus.PASSED
        sums["branches"] += len(verdicts)
        sums["branches_right"] += sum(verdicts)
        sums["sets"] += 1
        sums["sets_right"] += right
        sums["sets_passed"] += passed
        sums["joins_lost"] += right and not passed
        sums["joins_rescued"] += passed and not right
    return sums


def set_metrics(total: Mapping[str, float]) -> dict[str, float]:
    """Shares from the sums of :func:`set_counts`; empty where nothing was judged.

    `branch_pass`: of a branch (pass@1); `set_pass`: one branch of the response is right (pass@k of the set);
    `join_pass`: of the responses with judged branches; `join_lost`: of sets with a right branch, those whose
    conclusion is wrong; `join_rescued`: of sets without one, those whose conclusion is right.
    """
    if not total["sets"]:
        return {}
    wrong = total["sets"] - total["sets_right"]
    return {
        "branch_pass": round(total["branches_right"] / total["branches"], 4),
        "set_pass": round(total["sets_right"] / total["sets"], 4),
        "join_pass": round(total["sets_passed"] / total["sets"], 4),
        "join_lost": round(total["joins_lost"] / max(1.0, total["sets_right"]), 4),
        "join_rescued": round(total["joins_rescued"] / max(1.0, wrong), 4),
    }
