"""Everything that happens in a solve as JSON lines, written as it happens.

One object a line: `at` (seconds since the first event), `problem` (its id), `event`, and what that event carries.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from espalier.runtime.engine import BranchClosed, BranchOpened, Event, Finished, Joined, Tokens
from espalier.solver.core.events import (
    Accepted,
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    Observer,
    RoundFinished,
    Solved,
    SolveEvent,
    Streamed,
)
from espalier.solver.core.report import result_to_json
from espalier.verifiers.check_text import check_to_json


class TraceWriter:
    """A trace file. A disk that is full does not end a solve: the trace stops, and `fault` says why.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.fault = ""
        self._clock = clock
        self._start: float | None = None
        self._file: TextIO = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as fault:
            self.fault = self.fault or str(fault)

    def observer(self, problem: str) -> Observer:
        """A watcher for the solve of one problem."""

        def write(event: SolveEvent) -> None:
            if self.fault:
                return
            now = self._clock()
            self._start = now if self._start is None else self._start
            line = {"at": round(now - self._start, 6), "problem": problem, **event_to_json(event)}
            try:
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()
            except OSError as error:
                self.fault = str(error)

        return write


def event_to_json(event: SolveEvent) -> dict[str, Any]:
    """One event as a JSON object."""
    match event:
        case Accepted(problem, policy, budget, seed):
            check = check_to_json(problem.check) if problem.check else None
            return {
                "event": "accepted",
                "text": problem.text,
                "check": check,
                "policy": policy,
                "budget": asdict(budget),
                "seed": seed,
            }
        case CandidateStarted(spec, asked, prompt):
            return {"event": "candidate_started", "spec": asdict(spec), "question": asked, "prompt": prompt}
        case Streamed(candidate, inner, text):
            return {"candidate": candidate, **_engine_event(inner, text)}
        case AnswerJudged(candidate, path, answer, verdict, repeated):
            return {
                "event": "answer_judged",
                "candidate": candidate,
                "path": path,
                "answer": answer,
                "verdict": asdict(verdict),
                "repeated": repeated,
            }
        case CandidateFinished(finished, verdict):
            return {"event": "candidate_finished", "candidate": asdict(finished), "verdict": asdict(verdict)}
        case RoundFinished(number, state):
            return {"event": "round_finished", "round": number, "stopped": state.stopped, "tokens": state.tokens}
        case Solved(result):
            return {"event": "solved", "result": result_to_json(result)}


def _engine_event(event: Event, text: str) -> dict[str, Any]:
    match event:
        case BranchOpened(path=path, plan=plan):
            return {"event": "branch_opened", "path": path, "plan": plan, "text": text}
        case Tokens(path=path, tokens=tokens, logprobs=logprobs, forced=forced, positions=positions):
            return {
                "event": "tokens",
                "path": path,
                "tokens": tokens,
                "logprobs": [round(value, 5) for value in logprobs],
                "forced": forced,
                "positions": positions,
                "text": text,
            }
        case BranchClosed(path=path, cut=cut):
            return {"event": "branch_closed", "path": path, "cut": cut}
        case Joined(path=path, block=block):
            return {"event": "joined", "path": path, "block": block}
        case Finished(reason=reason, usage=usage, detail=detail):
            return {"event": "response_finished", "reason": reason, "usage": asdict(usage), "detail": detail}
