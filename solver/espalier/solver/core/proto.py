"""Protobuf messages of the solver's contract to dataclasses and back.

Where the fields of a dataclass and of its message have the same names, no mapping is written. Decoding is strict: the
first field that nothing can be done with raises :class:`FieldError` with its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from espalier.common.errors import FieldError
from espalier.runtime.engine import BranchClosed, BranchOpened, Event, Finished, FinishReason, Joined, Tokens, Usage
from espalier.runtime.prompt import ROLES, ChatMessage
from espalier.solver.core.candidate import BranchAnswer, Candidate, Repair, Spec
from espalier.solver.core.events import (
    Accepted,
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    Compared,
    RoundFinished,
    Solved,
    SolveEvent,
    Streamed,
    WrittenTests,
)
from espalier.solver.core.journal import Entry
from espalier.solver.core.limits import require_length, require_name, require_text
from espalier.solver.core.policy import Stop
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result, Spent
from espalier.solver.core.selection import DecidedBy, Selection, VerifiedCandidate
from espalier.solver.core.settings import Settings
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.proto import decode_check, decode_verdict, encode_check, encode_text, encode_verdict
from espalier.verifiers.verdict import Verdict

if TYPE_CHECKING:
    from espalier.runtime.layout import Path

_DECIDED_BY = {
    DecidedBy.CHECK: pb.SolveResponse.DECIDED_BY_CHECK,
    DecidedBy.CONSENSUS: pb.SolveResponse.DECIDED_BY_CONSENSUS,
    DecidedBy.ONLY_CANDIDATE: pb.SolveResponse.DECIDED_BY_ONLY_CANDIDATE,
    DecidedBy.NONE: pb.SolveResponse.DECIDED_BY_NONE,
}
_DECISIONS = {message: decided_by for decided_by, message in _DECIDED_BY.items()}


# Requests.


def decode_problem(message: common_pb2.Problem, at: str = "problem") -> Problem:
    """A problem.

    Raises:
        FieldError: Its text is empty or too long, its id is, its check is wrong, or its context is no conversation.
    """
    require_text(message.text, f"{at}.text")
    require_name(message.id, f"{at}.id")
    check = decode_check(message.check, f"{at}.check") if message.HasField("check") else None
    return Problem(message.id, message.text, check, context=_decode_context(message, at))


def encode_problem(problem: Problem) -> common_pb2.Problem:
    """A problem as a message."""
    check = None if problem.check is None else encode_check(problem.check)
    context = [common_pb2.ChatMessage(role=one.role, content=encode_text(one.content)) for one in problem.context]
    return common_pb2.Problem(id=encode_text(problem.id), text=encode_text(problem.text), check=check, context=context)


def _decode_context(message: common_pb2.Problem, at: str) -> tuple[ChatMessage, ...]:
    if not message.context:
        return ()
    require_length(f"{at}.context", message.text, *(one.content for one in message.context))
    for number, one in enumerate(message.context):
        if one.role not in ROLES:
            raise FieldError(f"{at}.context[{number}].role", f"is {one.role[:80]!r}; give one of: {', '.join(ROLES)}")
    return tuple(ChatMessage(one.role, one.content) for one in message.context)


def decode_settings(message: pb.Settings) -> Settings:
    """Settings; absent fields are None. `ServerLimits.plan` says whether they make sense."""
    values = {field.name: value for field, value in message.ListFields()}
    return Settings(**{**values, "stop": tuple(message.stop), "ways": tuple(message.ways) or None})


def encode_settings(settings: Settings) -> pb.Settings:
    """Settings as a message."""
    return pb.Settings(**_values(settings))


# Events and results.


def encode_event(solve_id: str, event: SolveEvent, seconds: float, *, deltas: bool) -> pb.SolveEvent | None:
    """An event as a message.

    Args:
        solve_id: Names the solve.
        event: What happened.
        seconds: When, since the solve began.
        deltas: Whether tokens are told, and token ids of prompts and plans.

    Returns:
        The message; None for tokens without `deltas`.
    """
    told = _told(solve_id, event, deltas=deltas)
    return None if told is None else pb.SolveEvent(seconds=seconds, solve_id=solve_id, **told)


def _told(solve_id: str, event: SolveEvent, *, deltas: bool) -> dict[str, Any] | None:
    """What is told of an event, under the name of its kind."""
    match event:
        case Accepted(problem, policy, budget, seed, examples):
            accepted = {"problem": encode_problem(problem), "policy": encode_text(policy), "budget": _values(budget)}
            return {"accepted": {**accepted, "seed": seed, "examples": [encode_text(one) for one in examples]}}
        case CandidateStarted(spec, question, prompt):
            asked = None if question is None else encode_text(question)
            return {"candidate_started": {"spec": _values(spec), "question": asked, "prompt": prompt if deltas else ()}}
        case Streamed(candidate, of_engine, text):
            return _told_of_engine(candidate, of_engine, encode_text(text), deltas=deltas)
        case AnswerJudged(candidate, path, answer, verdict, repeated):
            judged = {"candidate": candidate, "path": encode_path(path), "answer": encode_text(answer)}
            return {"answer_judged": {**judged, "verdict": encode_verdict(verdict), "already_judged": repeated}}
        case CandidateFinished(candidate, verdict, votes):
            return {"candidate_finished": {"candidate": _candidate(candidate, verdict), "votes": votes}}
        case WrittenTests(tests, usage):
            written = zip(tests.sources, tests.counts, strict=True)
            told = [{"source": encode_text(source), "count": count} for source, count in written]
            return {"written_tests": {"tests": told, "usage": _usage(usage)}}
        case Compared(comparison, usage, votes):
            first, second = comparison.candidates
            compared = {"first": first, "second": second, "score": comparison.score}
            return {"compared": {**compared, "usage": _usage(usage), "votes": votes}}
        case RoundFinished(number, state):
            stopped = state.stopped.value if state.stopped else None
            return {"round_finished": {"round": number, "stopped": stopped, "tokens": state.tokens}}
        case Solved(result):
            return {"solved": _result(solve_id, result)}


def _told_of_engine(candidate: int, event: Event, text: str, *, deltas: bool) -> dict[str, Any] | None:
    told: dict[str, Any] = {"candidate": candidate}
    match event:
        case Finished(reason=reason, usage=usage, detail=detail):
            ended = {"finish_reason": reason.value, "usage": _usage(usage), "detail": encode_text(detail)}
            return {"response_finished": {**told, **ended}}
        case Tokens() if not deltas:
            return None
    told["path"] = encode_path(event.path)
    match event:
        case Tokens(tokens=tokens, forced=forced, logprobs=logprobs, positions=positions):
            delta = {"token_ids": tokens, "forced": forced, "logprobs": logprobs, "positions": positions}
            return {"delta": {**told, "text": text, **delta}}
        case BranchOpened(plan=plan):
            return {"branch_opened": {**told, "plan": text, "plan_tokens": plan if deltas else ()}}
        case BranchClosed(cut=cut):
            return {"branch_closed": {**told, "cut": cut}}
        case Joined(block=block):
            return {"joined": {**told, "block": block}}


def encode_result(solve_id: str, result: Result) -> pb.SolveResponse:
    """The outcome of a solve."""
    return pb.SolveResponse(**_result(solve_id, result))


def _result(solve_id: str, result: Result) -> dict[str, Any]:
    selection = result.selection
    chosen = next((entry.verdict for entry in result.judged if entry.candidate.spec.index == selection.candidate), None)
    return {
        "solve_id": solve_id,
        "problem": encode_problem(result.problem),
        "outcome": _outcome(selection),
        "answer": None if selection.answer is None else encode_text(selection.answer),
        "decided_by": _DECIDED_BY[selection.decided_by],
        "reason": encode_text(selection.reason),
        "verdict": None if chosen is None else encode_verdict(chosen),
        "candidate": selection.candidate,
        "stopped": result.stopped.value,
        "candidates": [_candidate(entry.candidate, entry.verdict) for entry in result.judged],
        "spent": _values(result.spent),
        "seed": result.seed,
        "confidence": selection.confidence,
        "hint": None if selection.hint is None else encode_text(selection.hint),
    }


def decode_result(message: pb.SolveResponse) -> Result:
    """What `encode_result` was given."""
    selection = Selection(
        answer=message.answer if message.HasField("answer") else None,
        decided_by=_DECISIONS[message.decided_by],
        reason=message.reason,
        candidate=message.candidate if message.HasField("candidate") else None,
        confidence=message.confidence if message.HasField("confidence") else None,
        hint=message.hint if message.HasField("hint") else None,
    )
    judged = tuple(
        VerifiedCandidate(entry.candidate, entry.verdict)
        for entry in map(decode_entry, message.candidates)
        if entry.verdict is not None
    )
    spent = _arguments(message.spent)
    spent |= {name: Usage(**_arguments(of)) for name, of in spent.items() if isinstance(of, common_pb2.Usage)}
    return Result(
        problem=decode_problem(message.problem),
        selection=selection,
        stopped=Stop(message.stopped),
        judged=judged,
        spent=Spent(**spent),
        seed=message.seed,
    )


def encode_candidate(candidate: Candidate, verdict: Verdict | None) -> pb.Candidate:
    """A candidate, with its verdict if it has one."""
    return pb.Candidate(**_candidate(candidate, verdict))


def _candidate(candidate: Candidate, verdict: Verdict | None) -> dict[str, Any]:
    return {
        "spec": _values(candidate.spec),
        "text": encode_text(candidate.text),
        "answer": None if candidate.answer is None else encode_text(candidate.answer),
        "branch_answers": [
            {"path": encode_path(found.path), "answer": encode_text(found.answer), "answer_class": found.answer_class}
            for found in candidate.branch_answers
        ],
        "finish_reason": candidate.reason.value,
        "detail": encode_text(candidate.detail),
        "usage": _usage(candidate.usage),
        "verdict": None if verdict is None else encode_verdict(verdict),
        "well_formed": candidate.well_formed,
        "forked": candidate.forked,
        "seconds": candidate.seconds,
        "answer_class": candidate.answer_class,
        "examples": candidate.examples,
    }


def _branch_answer(message: pb.BranchAnswer) -> BranchAnswer:
    number = message.answer_class if message.HasField("answer_class") else None
    return BranchAnswer(decode_path(message.path), message.answer, number)


def encode_entry(entry: Entry) -> pb.Candidate:
    """A candidate as it is kept for a solve that goes on."""
    message = encode_candidate(entry.candidate, entry.verdict)
    message.branches.extend(entry.candidate.branches)
    return message


def decode_entry(message: pb.Candidate) -> Entry:
    """What `encode_entry` was given: a solve goes on from it as it began."""
    spec = _arguments(message.spec)
    if message.spec.HasField("repair"):
        spec["repair"] = Repair(**_arguments(message.spec.repair))
    candidate = Candidate(
        spec=Spec(**spec),
        text=message.text,
        answer=message.answer if message.HasField("answer") else None,
        branch_answers=tuple(map(_branch_answer, message.branch_answers)),
        reason=FinishReason(message.finish_reason),
        usage=Usage(**_arguments(message.usage)),
        seconds=message.seconds,
        forked=message.forked,
        well_formed=message.well_formed,
        detail=message.detail,
        answer_class=message.answer_class if message.HasField("answer_class") else None,
        branches=tuple(message.branches),
        examples=message.examples if message.HasField("examples") else None,
    )
    return Entry(candidate, decode_verdict(message.verdict) if message.HasField("verdict") else None)


def encode_path(path: Path) -> pb.BranchPath:
    """The place of a branch."""
    return pb.BranchPath(turns=(pb.BranchPath.Turn(block=block, step=step) for block, step in path))


def decode_path(message: pb.BranchPath) -> Path:
    """The place of a branch."""
    return tuple((turn.block, turn.step) for turn in message.turns)


def _outcome(selection: Selection) -> pb.SolveResponse.Outcome:
    if selection.answer is None:
        return pb.SolveResponse.OUTCOME_UNSOLVED
    return pb.SolveResponse.OUTCOME_VERIFIED if selection.verified else pb.SolveResponse.OUTCOME_ANSWERED


def _values(value: Any) -> dict[str, Any]:
    """Fields of a dataclass for the message whose fields have the same names; None stands for an absent one.

    A message is made of nested values at once: making each part of it first, and copying that, takes twice as long.
    """
    kind: Any = type(value)  # to mypy a class is no Hashable
    values = {name: getattr(value, name) for name in _names(kind)}
    for name, one in values.items():
        if (encode := _ENCODED.get(type(one))) is not None:
            values[name] = encode(one)
    return values


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass."""
    return tuple(field.name for field in fields(kind))


def _usage(usage: Usage) -> dict[str, int]:
    """Written out: a result has five of them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "sampled_tokens": usage.sampled_tokens,
        "forced_tokens": usage.forced_tokens,
        "critical_path_tokens": usage.critical_path_tokens,
    }


_ENCODED: Mapping[Any, Callable[[Any], Any]] = {str: encode_text, Usage: _usage, Repair: _values}
"""What values that a message does not take as they are become, by their class."""


def _arguments(message: Message) -> dict[str, Any]:
    """Fields of a message for the dataclass whose fields have the same names; None for an absent one."""
    names: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    return {
        name: None if field.has_presence and not message.HasField(name) else getattr(message, name)
        for name, field in names.items()
    }
