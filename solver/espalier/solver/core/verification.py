"""What a solve may spend on evidence for answers that no check judges."""

from __future__ import annotations

from dataclasses import dataclass, replace

from espalier.solver.core.policy import MIN_TOKENS, Budget, BudgetError
from espalier.verifiers.generated_tests import PER_TEXT

MAX_TESTS = 200
"""The most tests that a solve may ask its model for."""

TEST_TEMPERATURE = 0.8
TEST_TOKENS = 1024
"""New tokens of one response that writes tests, at most."""

VERDICT_TOKENS = 8
"""New tokens in which a model has to say which of two answers is right; one is enough for most."""

TOKENS_SHARE = 4
"""Where tokens are limited, one of so many may go into tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a solve may spend on evidence.

    Attributes:
        generated_tests: Tests to have the model write where a problem has no check; its answers are then Python
            programs. 0: none.
    """

    generated_tests: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.generated_tests <= MAX_TESTS:
            raise ValueError(f"generated_tests must be between 0 and {MAX_TESTS}, got {self.generated_tests}")

    def divide(self, budget: Budget, max_tokens: int) -> tuple[Budget, tuple[int, ...]]:
        """What is left of a budget for candidates, and the new tokens of each response that writes tests, at most.

        Raises:
            BudgetError: The tokens do not suffice for both.
        """
        if budget.tokens is not None and budget.comparisons:
            kept = 2 * VERDICT_TOKENS * budget.comparisons  # in both orders
            if budget.tokens - kept < MIN_TOKENS:
                least = kept + MIN_TOKENS
                said = f"must be at least {least} with {budget.comparisons} comparisons, got {budget.tokens}"
                raise BudgetError("tokens", said)
            budget = replace(budget, tokens=budget.tokens - kept)
        if not self.generated_tests:
            return budget, ()
        texts = -(-self.generated_tests // PER_TEXT)
        most = min(max_tokens, TEST_TOKENS)
        if budget.tokens is not None:
            share = budget.tokens // TOKENS_SHARE
            if share < MIN_TOKENS:
                least = TOKENS_SHARE * MIN_TOKENS
                raise BudgetError("tokens", f"must be at least {least} with generated tests, got {budget.tokens}")
            texts = min(texts, share // MIN_TOKENS)
            most = min(most, share // texts)
            budget = replace(budget, tokens=budget.tokens - share)
        return budget, (most,) * texts


NO_EVIDENCE = Verification()
