"""What a solve comes to, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.policy import Stop
from espalier.solver.core.problem import Problem
from espalier.solver.core.selection import Selection, VerifiedCandidate
from espalier.verifiers.verdict import Status


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens by fate, and time.

    Attributes:
        accepted: Of the candidate that the answer comes from.
        failed: Of candidates that ran to their end and were not chosen.
        aborted: Of candidates that were stopped before their end and were not chosen.
        verification: Of what the model wrote to judge candidates by: no candidate's.
        critical_path_tokens: New tokens that had to be decoded one after the other: the longest chain of each round,
            summed over rounds.
        seconds: Wall time.
        rejoin_tokens: Of all new tokens, those of re-joins.
    """

    accepted: Usage = Usage()
    failed: Usage = Usage()
    aborted: Usage = Usage()
    verification: Usage = Usage()
    critical_path_tokens: int = 0
    seconds: float = 0.0
    rejoin_tokens: int = 0

    @property
    def total(self) -> Usage:
        """All fates together; its critical path is that of the whole solve."""
        total = self.accepted + self.failed + self.aborted + self.verification
        return Usage(total.prompt_tokens, total.sampled_tokens, total.forced_tokens, self.critical_path_tokens)

    @property
    def speedup(self) -> float:
        """New tokens of candidates for each token of the critical path: how much decoding ran side by side."""
        tokens = self.total.new_tokens - self.verification.new_tokens
        return tokens / self.critical_path_tokens if self.critical_path_tokens else 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a solve.

    Attributes:
        problem: As it was solved: with the check that was recognised in its text, if one was.
        selection: The answer and what it rests on.
        stopped: Why sampling ended: the limit that was reached, or that the answer was clear.
        judged: Every candidate with its verdict, by index.
        spent: What it cost.
        seed: Repeats the solve.
    """

    problem: Problem
    selection: Selection
    stopped: Stop
    judged: tuple[VerifiedCandidate, ...]
    spent: Spent
    seed: int

    @property
    def trouble(self) -> str:
        """What kept verifier or engine from working, when that is why there is no answer; empty otherwise."""
        if self.selection.answer is not None or not self.judged:
            return ""
        reasons = [_trouble(entry) for entry in self.judged]
        return reasons[0] if all(reasons) else ""


def spend(
    judged: tuple[VerifiedCandidate, ...], chosen: int | None, seconds: float, verification: Usage = Usage()
) -> Spent:
    """Account for every token of every candidate, and of verification."""
    fates = dict.fromkeys(("accepted", "failed", "aborted"), Usage())
    longest: dict[tuple[int, bool], int] = {}
    rejoined = 0
    for entry in judged:
        candidate = entry.candidate
        if candidate.spec.index == chosen:
            fate = "accepted"
        else:
            fate = "aborted" if candidate.reason is FinishReason.ABORTED else "failed"
        fates[fate] += candidate.usage
        rejoins = candidate.spec.rejoin is not None
        rejoined += rejoins * candidate.usage.new_tokens
        half = (candidate.spec.round, rejoins)  # the re-joins of a round begin when its candidates have ended
        longest[half] = max(longest.get(half, 0), candidate.usage.critical_path_tokens)
    critical = reduce(add, longest.values(), 0)
    return Spent(
        **fates, verification=verification, critical_path_tokens=critical, seconds=seconds, rejoin_tokens=rejoined
    )


def _trouble(entry: VerifiedCandidate) -> str:
    if entry.candidate.reason is FinishReason.ERROR:
        return f"the engine failed: {entry.candidate.detail or 'no reason given'}"
    if entry.verdict.status is Status.ERROR:
        said = entry.verdict.evidence[0].detail if entry.verdict.evidence else entry.verdict.feedback
        return f"the verifier {entry.verdict.decided_by!r} failed: {said or 'no reason given'}"
    return ""
