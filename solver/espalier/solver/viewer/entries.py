"""What the pages are told of a solve: the entries of its trace, made small.

An entry is a line of a trace (`espalier.solver.trace.writer`) without what no page shows. Tokens of one branch are
gathered into one entry: their text, and the time of each. The pages fold entries into a picture (`web/src/model.ts`),
whether they come from a file or from a solve that is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from espalier.solver.trace.reader import each_entry

Entry = dict[str, Any]

MILLISECONDS = 1000


@dataclass(slots=True)
class _Gathered:
    """Tokens of one branch that are not passed on yet."""

    candidate: int
    path: list[list[int]]
    first: int
    last: int
    steps: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    forced: int = 0
    positions: tuple[int, int] = (0, 0)
    logprob: float = 0.0

    def add(self, at: int, entry: Entry) -> None:
        count = len(entry["tokens"])
        self.steps += (at - self.last, *([0] * (count - 1))) if count else ()
        self.last = at
        self.texts.append(entry["text"])
        self.forced += sum(entry["forced"])
        positions = entry["positions"]
        if positions:
            self.positions = (self.positions[0] if len(self.steps) > count else positions[0], positions[-1])
        self.logprob += sum(entry["logprobs"])

    def entry(self) -> Entry:
        return {
            "event": "tokens",
            "at": self.first / MILLISECONDS,
            "candidate": self.candidate,
            "path": self.path,
            "steps": self.steps,
            "text": "".join(self.texts),
            "forced": self.forced,
            "positions": self.positions,
            "logprob": round(self.logprob, 3),
        }


class EventCompactor:
    """Makes the entries of one solve small. Feed it in order; `flush` now and then, and at the end."""

    def __init__(self) -> None:
        self._gathered: dict[tuple[int, str], _Gathered] = {}
        self._started: set[int] = set()
        self._text = ""

    def feed(self, entry: Entry) -> Entry | None:
        """The entry made small; None for tokens, which wait for `flush`.

        Raises:
            KeyError: It is no entry of a trace.
            TypeError: As KeyError.
        """
        at, event = entry["at"], entry["event"]
        if event == "tokens":
            self._gather(round(at * MILLISECONDS), entry)
            return None
        return {"event": event, "at": round(at, 3), **self._small(event, entry)}

    def flush(self) -> list[Entry]:
        """All tokens since the last time, one entry for each branch."""
        entries = [gathered.entry() for gathered in self._gathered.values()]
        self._gathered.clear()
        return entries

    def _gather(self, at: int, entry: Entry) -> None:
        path = [list(turn) for turn in entry["path"]]
        key = (entry["candidate"], str(path))
        gathered = self._gathered.get(key)
        if gathered is None:
            gathered = self._gathered[key] = _Gathered(entry["candidate"], path, at, at)
        gathered.add(at, entry)

    def _small(self, event: str, entry: Entry) -> Entry:
        match event:
            case "accepted":
                self._text = entry["text"]
                return _only(entry, "text", "check", "policy", "budget", "seed")
            case "candidate_started":
                self._started.add(entry["spec"]["index"])
                asked = {} if entry["question"] == self._text else {"question": entry["question"]}
                return {"spec": entry["spec"], "prompt_tokens": len(entry["prompt"]), **asked}
            case "branch_opened":
                return {**_only(entry, "candidate", "path"), "plan": entry["text"]}
            case "branch_closed":
                return _only(entry, "candidate", "path", "cut")
            case "joined":
                return _only(entry, "candidate", "path", "block")
            case "response_finished":
                return _only(entry, "candidate", "reason", "usage", "detail")
            case "answer_judged":
                return _only(entry, "candidate", "path", "answer", "verdict", "repeated")
            case "candidate_finished":
                return self._finished(entry)
            case "round_finished":
                return _only(entry, "round", "stopped", "tokens")
            case "solved":
                told = ("answer", "verified", "decided_by", "reason", "candidate", "stopped", "usage")
                return {"result": _only(entry["result"], *told)}
        raise KeyError(event)

    def _finished(self, entry: Entry) -> Entry:
        candidate = entry["candidate"]
        index = candidate["spec"]["index"]
        told = ("answer", "answer_class", "reason", "usage", "seconds", "forked", "well_formed", "detail")
        recalled = {} if index in self._started else {"spec": candidate["spec"], "text": candidate["text"]}
        return {"candidate": index, **_only(candidate, *told), "verdict": entry["verdict"], **recalled}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One solve of a trace: the id of its problem, and its entries."""

    id: str
    source: str
    entries: list[Entry]


def recorded(lines: Iterable[str], name: str) -> list[Recorded]:
    """The solves of a trace; one that breaks off in its last line is read up to there.

    Raises:
        TraceError: A line is not part of a trace.
    """
    solves: list[Recorded] = []
    condensers: dict[str, tuple[Recorded, EventCompactor]] = {}

    def take(entry: Entry) -> None:
        problem = entry["problem"]
        if entry["event"] == "accepted":
            _close(condensers.pop(problem, None))
            condensers[problem] = (Recorded(problem, name, []), EventCompactor())
            solves.append(condensers[problem][0])
        solve, condenser = condensers[problem]
        if (small := condenser.feed(entry)) is not None:
            solve.entries.append(small)

    each_entry(lines, name, take)
    for pair in condensers.values():
        _close(pair)
    return solves


def _close(pair: tuple[Recorded, EventCompactor] | None) -> None:
    if pair is not None:
        solve, condenser = pair
        solve.entries.extend(condenser.flush())


def _only(entry: Entry, *names: str) -> Entry:
    return {name: entry[name] for name in names}
