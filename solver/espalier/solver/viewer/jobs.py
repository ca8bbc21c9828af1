"""Events of a job, as the contract says them, to entries of a trace, as the pages read them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from espalier.solver.viewer.entries import Entry
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.proto import decode_verdict


def entry_of(event: pb.SolveEvent) -> Entry | None:
    """An event as an entry; None for what the pages do not show. Jobs do not stream tokens."""
    head = {"at": round(event.seconds, 3)}
    match event.WhichOneof("kind"):
        case "accepted":
            accepted = event.accepted
            check = accepted.problem.check
            return {
                **head,
                "event": "accepted",
                "text": accepted.problem.text,
                "check": MessageToDict(check, preserving_proto_field_name=True) if check.WhichOneof("kind") else None,
                "policy": accepted.policy,
                "seed": accepted.seed,
                "budget": None,
            }
        case "candidate_started":
            started = event.candidate_started
            spec = _spec(started.candidate, started.round, started.temperature)
            if started.HasField("repairs"):
                spec["repair"] = {"candidate": started.repairs, "answer": "", "feedback": ""}
            return {**head, "event": "candidate_started", "spec": spec, "prompt_tokens": 0}
        case "branch_opened":
            opened = event.branch_opened
            return {**head, "event": "branch_opened", **_place(opened), "plan": opened.plan}
        case "branch_closed":
            return {**head, "event": "branch_closed", **_place(event.branch_closed), "cut": event.branch_closed.cut}
        case "answer_judged":
            judged = event.answer_judged
            verdict = asdict(decode_verdict(judged.verdict))
            said = {"answer": judged.answer, "verdict": verdict, "repeated": False}
            return {**head, "event": "answer_judged", **_place(judged), **said}
        case "candidate_finished":
            return {**head, **_finished(event.candidate_finished.candidate)}
        case "round_finished":
            number = event.round_finished.round
            return {**head, "event": "round_finished", "round": number, "stopped": None, "tokens": 0}
    return None


def outcome_of(response: pb.SolveResponse) -> Entry:
    """The result of a job as the last entry."""
    spent = response.spent
    parts = [spent.accepted, spent.failed, spent.aborted]
    tokens = [part.sampled_tokens + part.forced_tokens for part in parts]
    unsolved = response.outcome == pb.SolveResponse.OUTCOME_UNSOLVED
    return {
        "event": "solved",
        "at": spent.seconds,
        "result": {
            "answer": None if unsolved else response.answer,
            "verified": response.outcome == pb.SolveResponse.OUTCOME_VERIFIED,
            "decided_by": pb.SolveResponse.DecidedBy.Name(response.decided_by).removeprefix("DECIDED_BY_").lower(),
            "reason": "",
            "candidate": response.candidate if response.HasField("candidate") else None,
            "stopped": response.stopped,
            "usage": {
                "new_tokens": sum(tokens),
                "forced_tokens": sum(part.forced_tokens for part in parts),
                "accepted_tokens": tokens[0],
                "failed_tokens": tokens[1],
                "aborted_tokens": tokens[2],
                "critical_path_tokens": spent.critical_path_tokens,
                "parallel_speedup": sum(tokens) / spent.critical_path_tokens if spent.critical_path_tokens else 1.0,
                "seconds": spent.seconds,
            },
        },
    }


def _finished(candidate: pb.Candidate) -> Entry:
    return {
        "event": "candidate_finished",
        "candidate": candidate.index,
        "answer": candidate.answer if candidate.HasField("answer") else None,
        "answer_class": None,
        "reason": candidate.finish_reason,
        "usage": _usage(candidate.usage),
        "seconds": candidate.usage.seconds,
        "forked": candidate.forked,
        "well_formed": candidate.well_formed,
        "detail": candidate.detail,
        "verdict": asdict(decode_verdict(candidate.verdict)),
        "spec": _spec(candidate.index, candidate.round, 0.0),
        "text": candidate.text,
    }


def _usage(usage: common_pb2.Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "sampled_tokens": usage.sampled_tokens,
        "forced_tokens": usage.forced_tokens,
        "critical_path_tokens": usage.critical_path_tokens,
    }


def _spec(index: int, number: int, temperature: float) -> dict[str, Any]:
    return {
        "index": index,
        "round": number,
        "seed": 0,
        "temperature": round(temperature, 6),
        "max_tokens": None,
        "hint": "",
        "repair": None,
    }


def _place(message: Any) -> dict[str, Any]:
    """Candidate and path of what happened in a branch."""
    return {"candidate": message.candidate, "path": [[turn.block, turn.step] for turn in message.path.turns]}
