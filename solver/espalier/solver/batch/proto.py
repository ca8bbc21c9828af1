"""Stored candidates to messages and back. What was stored comes back equal, so that a solve goes on as it began."""

from __future__ import annotations

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import BranchAnswer, Candidate, Repair, Spec
from espalier.solver.core.journal import Entry
from espalier.solver.core.loop import NOT_JUDGED
from espalier.solver.core.proto import encode_candidate, encode_path
from espalier.v1 import batch_pb2 as pb
from espalier.verifiers.proto import decode_verdict, encode_text


def encode_entry(entry: Entry) -> pb.StoredCandidate:
    """A candidate, with its verdict if it has one."""
    candidate, spec = entry.candidate, entry.candidate.spec
    message = pb.StoredCandidate(
        candidate=encode_candidate(candidate, entry.verdict or NOT_JUDGED),
        spec=pb.CandidateSpec(
            seed=spec.seed,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
            hint=encode_text(spec.hint),
            repair=None if spec.repair is None else _encode_repair(spec.repair),
        ),
        branch_answers=(
            pb.BranchAnswer(path=encode_path(found.path), answer=encode_text(found.answer))
            for found in candidate.branch_answers
        ),
        answer_class=candidate.answer_class,
    )
    if entry.verdict is None:
        message.candidate.ClearField("verdict")
    return message


def decode_entry(message: pb.StoredCandidate) -> Entry:
    """What `encode_entry` was given."""
    stored, spec = message.candidate, message.spec
    repair = spec.repair
    candidate = Candidate(
        spec=Spec(
            index=stored.index,
            round=stored.round,
            seed=spec.seed,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens if spec.HasField("max_tokens") else None,
            hint=spec.hint,
            repair=Repair(repair.candidate, repair.answer, repair.feedback) if spec.HasField("repair") else None,
        ),
        text=stored.text,
        answer=stored.answer if stored.HasField("answer") else None,
        branch_answers=tuple(
            BranchAnswer(tuple((turn.block, turn.step) for turn in found.path.turns), found.answer)
            for found in message.branch_answers
        ),
        reason=FinishReason(stored.finish_reason),
        usage=Usage(
            stored.usage.prompt_tokens,
            stored.usage.sampled_tokens,
            stored.usage.forced_tokens,
            stored.usage.critical_path_tokens,
        ),
        seconds=stored.usage.seconds,
        forked=stored.forked,
        well_formed=stored.well_formed,
        detail=stored.detail,
        answer_class=message.answer_class if message.HasField("answer_class") else None,
    )
    return Entry(candidate, decode_verdict(stored.verdict) if stored.HasField("verdict") else None)


def _encode_repair(repair: Repair) -> pb.CandidateSpec.Repair:
    return pb.CandidateSpec.Repair(
        candidate=repair.candidate, answer=encode_text(repair.answer), feedback=encode_text(repair.feedback)
    )
