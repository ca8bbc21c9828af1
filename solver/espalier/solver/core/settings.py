"""What a request may choose for its solve, what a server chooses for it, and where the server draws a line."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import Any, TypeVar

from espalier.common.errors import FieldError
from espalier.solver.core.policies import POLICIES, policy, takes
from espalier.solver.core.policies.greedy import Greedy
from espalier.solver.core.policy import Budget, BudgetError, Policy
from espalier.solver.core.verification import MAX_TESTS, NO_EVIDENCE, Verification
from espalier.solver.core.ways import ways_of

IntOrFloat = TypeVar("IntOrFloat", int, float)

MAX_STOPS = 4
"""Texts that end a response, as OpenAI has it."""

MAX_STOP_TEXT = 256
"""Characters of such a text."""

_OF_BUDGET = {"candidates": "k", "tokens": "max_tokens"}
"""Limits of a budget that settings have another name for."""

MAX_SEED = (1 << 64) - 1

MAX_TEMPERATURE = 10.0
"""Above it every token is as likely as any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a request says about its solve; None leaves it to the server.

    Attributes:
        policy: Name of a policy.
        certainty: Probability of the leading answer that ends a vote.
        k: Candidates at most.
        max_tokens: New tokens of all candidates together.
        seconds: Wall time.
        rounds: Rounds of candidates.
        seed: Repeats a solve.
        temperature: Of all sampling, instead of the policy's ladder.
        candidate_tokens: New tokens of one candidate.
        rejoins: Further conclusions from the branches of each candidate.
        comparisons: Of two answers, by the model itself.
        generated_tests: Tests that the model writes for programs that no check judges.
        stop: Texts that end a response before they appear in it, outside of steps.
        ways: Names of the ways of solving.
    """

    policy: str | None = None
    certainty: float | None = None
    k: int | None = None
    max_tokens: int | None = None
    seconds: float | None = None
    rounds: int | None = None
    seed: int | None = None
    temperature: float | None = None
    candidate_tokens: int | None = None
    rejoins: int | None = None
    comparisons: int | None = None
    generated_tests: int | None = None
    stop: tuple[str, ...] = ()
    ways: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """The server's side: defaults, and the most that a request may ask for.

    Attributes:
        policy: For requests that name none.
        policy_settings: Settings of every policy by name, for example its ladder of temperatures.
        certainty: For requests that name none; None: what the policy has by default.
        k: Candidates at most, unless the request says otherwise.
        max_k: The largest k of a request.
        seconds: Wall time of a solve unless the request asks for less; the most that it may ask for.
        candidate_tokens: New tokens of one candidate unless the request asks for less; the most that it may ask for.
    """

    policy: str = "adaptive"
    policy_settings: dict[str, Any] = field(default_factory=dict)
    certainty: float | None = None
    k: int = 8
    max_k: int = 64
    seconds: float = 300.0
    candidate_tokens: int = 4096

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: The defaults themselves cannot be solved with.
        """
        self.plan(Settings(), at="default ")

    def plan(self, settings: Settings, at: str = "") -> SolvePlan:
        """How to solve with these settings.

        Args:
            settings: Of the request.
            at: What stands before a setting's name in errors.

        Raises:
            FieldError: A setting makes no sense or asks for too much.
        """
        k = _within(settings.k, self.k, self.max_k, f"{at}k")
        seconds = _within(settings.seconds, self.seconds, self.seconds, f"{at}seconds")
        most = self.candidate_tokens
        tokens = _within(settings.candidate_tokens, most, most, f"{at}candidate_tokens")
        if settings.seed is not None and settings.seed > MAX_SEED:
            raise FieldError(f"{at}seed", f"is {settings.seed}; give at most {MAX_SEED}")
        if len(settings.stop) > MAX_STOPS:
            raise FieldError(f"{at}stop", f"has {len(settings.stop)} texts; give at most {MAX_STOPS}")
        for number, text in enumerate(settings.stop):
            if not 0 < len(text) <= MAX_STOP_TEXT:
                raise FieldError(f"{at}stop[{number}]", f"has {len(text)} characters; give 1 to {MAX_STOP_TEXT}")
        name = settings.policy or self.policy
        if name not in POLICIES:
            raise FieldError(f"{at}policy", f"{name[:80]!r} is none; there are: {', '.join(POLICIES)}")
        chosen = dict(self.policy_settings) | self._certainty(name, settings.certainty, f"{at}certainty")
        if settings.temperature is not None:
            if not 0 <= settings.temperature <= MAX_TEMPERATURE:
                raise FieldError(f"{at}temperature", f"is {settings.temperature}; give 0 to {MAX_TEMPERATURE:g}")
            chosen["temperatures"] = (settings.temperature,)
        if settings.ways:
            try:
                chosen["ways"] = ways_of(settings.ways)
            except ValueError as error:
                raise FieldError(f"{at}ways", str(error)) from None
            if settings.generated_tests:
                raise FieldError(f"{at}ways", "are for answers that are no programs; leave out generated_tests")
        tests = settings.generated_tests or 0
        if not 0 <= tests <= MAX_TESTS:
            raise FieldError(f"{at}generated_tests", f"is {tests}; give 0 to {MAX_TESTS}")
        verification = Verification(generated_tests=tests)
        rejoins, comparisons = settings.rejoins or 0, settings.comparisons or 0
        try:
            budget = Budget(k, settings.max_tokens, seconds, settings.rounds, rejoins, comparisons)
            verification.divide(budget, tokens)
        except BudgetError as error:
            raise FieldError(f"{at}{_OF_BUDGET.get(error.field, error.field)}", error.problem) from None
        return SolvePlan(
            policy=policy(name, **chosen),
            budget=budget,
            seed=secrets.randbelow(1 << 31) if settings.seed is None else settings.seed,
            candidate_tokens=tokens,
            verification=verification,
            stop=settings.stop,
        )

    def _certainty(self, policy: str, wanted: float | None, at: str) -> dict[str, float]:
        """The setting of a policy that stops by votes; others have none, and pay no heed to the server's."""
        value = self.certainty if wanted is None else wanted
        if value is None:
            return {}
        if not 0.5 < value < 1:
            raise FieldError(at, f"is {value}; give more than 0.5 and less than 1")
        if takes(policy, "certainty"):
            return {"certainty": value}
        if wanted is not None:
            raise FieldError(at, f"ends votes, and {policy} does not stop by votes; leave it out or ask for adaptive")
        return {}


@dataclass(frozen=True, slots=True)
class SolvePlan:
    """How a problem is going to be solved.

    Attributes:
        policy: Spends the budget.
        budget: Hard limits.
        seed: Of all sampling.
        candidate_tokens: New tokens of one candidate.
        verification: What may be spent on evidence.
        stop: Texts that end a response.
    """

    policy: Policy
    budget: Budget
    seed: int
    candidate_tokens: int
    verification: Verification = NO_EVIDENCE
    stop: tuple[str, ...] = ()

    @property
    def single(self) -> bool:
        """Whether there can be only one response: it is decided from the beginning whose the answer is, if any."""
        return not self.budget.rejoins and (self.budget.candidates == 1 or isinstance(self.policy, Greedy))


def _within(wanted: IntOrFloat | None, default: IntOrFloat, most: IntOrFloat, at: str) -> IntOrFloat:
    value = default if wanted is None else wanted
    if not 0 < value <= most:
        limit = "" if math.isinf(most) else f" and at most {most:.15g}"
        raise FieldError(at, f"is {value}; give more than 0{limit}")
    return value
