"""Protobuf messages of the solver's contract to dataclasses and back.

Decoding is strict: the first field that nothing can be done with raises :class:`FieldError` with its path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.common.errors import FieldError
from espalier.runtime.engine import BranchClosed, BranchOpened, Tokens
from espalier.runtime.engine import Usage as EngineUsage
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.events import (
    Accepted,
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    RoundFinished,
    Solved,
    SolveEvent,
    Streamed,
)
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result, Spent
from espalier.solver.core.selection import DecidedBy, Selection
from espalier.solver.core.settings import MAX_TEXT, Settings
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.proto import decode_check, encode_check, encode_text, encode_verdict
from espalier.verifiers.verdict import Verdict

if TYPE_CHECKING:
    from espalier.runtime.layout import Path

_DECIDED_BY = {
    DecidedBy.CHECK: pb.SolveResponse.DECIDED_BY_CHECK,
    DecidedBy.CONSENSUS: pb.SolveResponse.DECIDED_BY_CONSENSUS,
    DecidedBy.ONLY_CANDIDATE: pb.SolveResponse.DECIDED_BY_ONLY_CANDIDATE,
    DecidedBy.NONE: pb.SolveResponse.DECIDED_BY_NONE,
}


# Requests.


def decode_problem(message: common_pb2.Problem, at: str = "problem") -> Problem:
    """A problem.

    Raises:
        FieldError: It has no text or too much of it, or its check is wrong.
    """
    if not message.text.strip():
        raise FieldError(f"{at}.text", "is empty; give the problem to solve")
    if len(message.text) > MAX_TEXT:
        raise FieldError(f"{at}.text", f"has {len(message.text)} characters; at most {MAX_TEXT} are read")
    check = decode_check(message.check, f"{at}.check") if message.HasField("check") else None
    return Problem(message.id, message.text, check)


def encode_problem(problem: Problem) -> common_pb2.Problem:
    """A problem as a message."""
    check = None if problem.check is None else encode_check(problem.check)
    return common_pb2.Problem(id=encode_text(problem.id), text=encode_text(problem.text), check=check)


def decode_settings(message: pb.Settings) -> Settings:
    """Settings; absent fields are None. `ServerLimits.plan` says whether they make sense."""
    return Settings(**{field.name: value for field, value in message.ListFields()})


def encode_settings(settings: Settings) -> pb.Settings:
    """Settings as a message."""
    return pb.Settings(
        policy=settings.policy,
        k=settings.k,
        max_tokens=settings.max_tokens,
        seconds=settings.seconds,
        rounds=settings.rounds,
        seed=settings.seed,
        temperature=settings.temperature,
        candidate_tokens=settings.candidate_tokens,
    )


# Replies.


def encode_event(solve_id: str, event: SolveEvent, seconds: float, *, deltas: bool) -> pb.SolveEvent | None:
    """An event as a message; None for what the contract does not speak of.

    Args:
        solve_id: Of the solve.
        event: What happened.
        seconds: When, since the solve began.
        deltas: Whether tokens are spoken of.
    """
    message = pb.SolveEvent(seconds=seconds)
    match event:
        case Accepted(problem, policy, _, seed):
            message.accepted.solve_id = solve_id
            message.accepted.problem.CopyFrom(encode_problem(problem))
            message.accepted.policy = policy
            message.accepted.seed = seed
        case CandidateStarted(spec):
            started = message.candidate_started
            started.candidate, started.round, started.temperature = spec.index, spec.round, spec.temperature
            if spec.repair is not None:
                started.repairs = spec.repair.candidate
        case Streamed(candidate, BranchOpened(path=path), text):
            opened = pb.SolveEvent.BranchOpened(candidate=candidate, path=encode_path(path), plan=encode_text(text))
            message.branch_opened.CopyFrom(opened)
        case Streamed(candidate, BranchClosed(path=path, cut=cut)):
            closed = pb.SolveEvent.BranchClosed(candidate=candidate, path=encode_path(path), cut=cut)
            message.branch_closed.CopyFrom(closed)
        case Streamed(candidate, Tokens(path=path, tokens=tokens, forced=forced), text) if deltas:
            message.delta.CopyFrom(
                pb.SolveEvent.Delta(
                    candidate=candidate,
                    path=encode_path(path),
                    text=encode_text(text),
                    tokens=len(tokens),
                    forced=all(forced),
                )
            )
        case Streamed():
            return None
        case AnswerJudged(candidate, path, answer, verdict):
            message.answer_judged.CopyFrom(
                pb.SolveEvent.AnswerJudged(
                    candidate=candidate,
                    path=encode_path(path),
                    answer=encode_text(answer),
                    verdict=encode_verdict(verdict),
                )
            )
        case CandidateFinished(candidate, verdict):
            message.candidate_finished.candidate.CopyFrom(encode_candidate(candidate, verdict))
        case RoundFinished(number):
            message.round_finished.round = number
        case Solved(result):
            message.solved.CopyFrom(encode_result(solve_id, result))
    return message


def encode_path(path: Path) -> pb.BranchPath:
    """The place of a branch."""
    return pb.BranchPath(turns=(pb.BranchPath.Turn(block=block, step=step) for block, step in path))


def encode_candidate(candidate: Candidate, verdict: Verdict) -> pb.Candidate:
    """A candidate with its verdict."""
    return pb.Candidate(
        index=candidate.spec.index,
        round=candidate.spec.round,
        text=encode_text(candidate.text),
        answer=None if candidate.answer is None else encode_text(candidate.answer),
        finish_reason=candidate.reason.value,
        detail=encode_text(candidate.detail),
        usage=encode_usage(candidate.usage, candidate.seconds),
        verdict=encode_verdict(verdict),
        well_formed=candidate.well_formed,
        forked=candidate.forked,
    )


def encode_result(solve_id: str, result: Result) -> pb.SolveResponse:
    """The outcome of a solve."""
    selection = result.selection
    chosen = next((entry.verdict for entry in result.judged if entry.candidate.spec.index == selection.candidate), None)
    return pb.SolveResponse(
        solve_id=solve_id,
        outcome=_outcome(selection),
        answer=encode_text(selection.answer or ""),
        decided_by=_DECIDED_BY[selection.decided_by],
        verdict=None if chosen is None else encode_verdict(chosen),
        candidate=selection.candidate,
        stopped=result.stopped.value,
        candidates=(encode_candidate(entry.candidate, entry.verdict) for entry in result.judged),
        spent=_encode_spent(result.spent),
        seed=result.seed,
    )


def encode_usage(usage: EngineUsage, seconds: float = 0.0) -> common_pb2.Usage:
    """Tokens of one response, or of several."""
    return common_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        sampled_tokens=usage.sampled_tokens,
        forced_tokens=usage.forced_tokens,
        critical_path_tokens=usage.critical_path_tokens,
        seconds=seconds,
    )


def _encode_spent(spent: Spent) -> pb.Spent:
    return pb.Spent(
        accepted=encode_usage(spent.accepted),
        failed=encode_usage(spent.failed),
        aborted=encode_usage(spent.aborted),
        critical_path_tokens=spent.critical_path_tokens,
        seconds=spent.seconds,
    )


def _outcome(selection: Selection) -> pb.SolveResponse.Outcome:
    if selection.answer is None:
        return pb.SolveResponse.OUTCOME_UNSOLVED
    return pb.SolveResponse.OUTCOME_VERIFIED if selection.verified else pb.SolveResponse.OUTCOME_ANSWERED
