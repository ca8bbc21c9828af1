"""What `espalier batch submit` can tell of checks before a worker sees them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from espalier.common.cli import UsageError
from espalier.common.errors import FieldError, UnansweredError
from espalier.solver.core.problem import Problem
from espalier.solver.core.validation import validate_each
from espalier.verifiers.check import ConstraintCheck, ProgramCheck, ReferenceCheck
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.math.verifier import MathVerifier
from espalier.verifiers.math.workers import PoolLimits


async def validate_checks(problems: Sequence[Problem], name: str) -> None:
    """Refuse a check that no answer could ever pass. What depends on the workers (their limits, their custom
    verifiers) they tell themselves; neither a sandbox nor, without mathematical checks, a process is started.

    Args:
        problems: What is submitted.
        name: What the file is called in messages.

    Raises:
        UsageError: Names the file, the problem and the field.
    """
    code = CodeVerifier(SandboxSettings(max_memory_mib=sys.maxsize))
    async with LocalVerifiers([MathVerifier(PoolLimits(workers=1))]) as math:

        async def validate(problem: Problem) -> None:
            try:
                if isinstance(problem.check, ProgramCheck):
                    await code.validate_check(problem.check)
                elif isinstance(problem.check, ReferenceCheck | ConstraintCheck):
                    await math.validate_check(problem.check)
            except UnansweredError:  # an installation without mathematics: the workers will tell
                pass

        try:
            await validate_each(problems, validate, lambda number: f"problem {problems[number].id!r}: ")
        except FieldError as error:
            raise UsageError(f"{name}: {error}") from None
