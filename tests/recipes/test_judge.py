from __future__ import annotations

from espalier.training.rl.reward import RolloutStatus
from espalier.training.tasks import Problem, Split, task
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Status, Verdict
from recipes.seedling.pipeline import judge
from tests.training.test_measure import _groups


class Asked:
    """Stands in for a verifier that has come to work."""

    def __init__(self) -> None:
        self.claims: list[tuple[str, str]] = []

    async def verify(self, claim: Claim, check: Check) -> Verdict:
        self.claims.append((claim.text, claim.problem))
        return Verdict(Status.PASS, 1.0, "program")


async def test_only_what_no_verifier_could_judge_is_judged_later() -> None:
    problems: list[Problem] = list(task("gcd").problems(Split.HELD_OUT, 1, 2))
    asked = Asked()
    found = await judge(asked, problems, _groups("pel", "fue"))  # type: ignore[arg-type]
    assert [[one.status for one in group] for group in found] == [
        [RolloutStatus.PASSED, RolloutStatus.PASSED, RolloutStatus.TRUNCATED],
        [RolloutStatus.FAILED, RolloutStatus.UNKNOWN, RolloutStatus.PASSED],
    ]
    assert asked.claims == [("e", problems[0].text), ("e", problems[1].text)]
