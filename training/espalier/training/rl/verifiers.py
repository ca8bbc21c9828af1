"""Who judges rollouts: the verifiers of this process or verifier servers, waited for while they are away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from espalier.training.run.metrics import Tell
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Status, Verdict
from espalier.verifiers.verifier import VerifierInfo

AT_ONCE = 32
"""Claims that are judged side by side. The limit of a verdict also runs while a claim waits inside the verifier, and
the responses of a batch can end by the thousand within seconds."""


class RolloutVerifiers(Protocol):
    """What training needs of the verifiers, local or remote."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...

    async def describe(self) -> tuple[VerifierInfo, ...]:
        """
        Raises:
            ConnectionError: No server answers.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exception: Any) -> None: ...


@dataclass(slots=True)
class RetryingVerifiers:
    """Asks a judge, and waits as long as none of its servers can be reached: training pauses and goes on.

    Attributes:
        judge: Whom to ask.
        tell: Hears of the pause and of its end.
        seconds: Limit of one verdict.
        pause: Seconds between two tries.
        at_once: Claims that the judge is asked about at the same time; further ones wait here, where no limit runs.
    """

    judge: RolloutVerifiers
    tell: Tell
    seconds: float = 30.0
    pause: float = 2.0
    at_once: int = AT_ONCE
    _away: bool = False
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.at_once)

    async def verify(self, claim: Claim, check: Check) -> Verdict:
        """The verdict on a claim; ERROR only from a verifier that could be reached.

        Raises:
            FieldError: No verifier judges such checks.
        """
        while True:
            async with self._free:
                verdict = await self.judge.verify(claim, check, timeout=self.seconds)
            if verdict.status is not Status.ERROR:
                return verdict
            try:
                await self.judge.describe()
            except ConnectionError as error:
                await self._wait(error)
            else:
                return verdict

    async def _wait(self, reason: ConnectionError) -> None:
        """Come back when a server answers."""
        if not self._away:
            self._away = True
            self.tell(f"the verifier cannot be reached ({reason}); training pauses until it can")
        while True:
            await asyncio.sleep(self.pause)
            try:
                await self.judge.describe()
            except ConnectionError:
                continue
            if self._away:
                self._away = False
                self.tell("the verifier is back; training goes on")
            return
