"""What the pages are told of a solve: its events in their JSON form, made small.

The pages read the events of the contract (`SolveEvent`, see `espalier.solver.core.json_form.to_json`), with two
differences: token ids are left out, and the deltas of a branch are gathered into one entry of the kind `deltas`, which
has their text and the time of each token. The pages fold entries into a picture (`web/src/solve/model.ts`), whether
they come from a file or from a solve that is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from espalier.solver.trace.reader import Event, each_event, kind_of

Entry = dict[str, Any]
"""An event, or what a page is told beside events: `deltas`, `status` of a job, `broken_off`."""

MILLISECONDS = 1000


@dataclass(slots=True)
class _Gathered:
    """Deltas of one branch that are not passed on yet."""

    candidate: int
    path: Entry
    first: int
    last: int
    steps: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    forced: int = 0
    positions: tuple[int, int] = (0, 0)
    logprob: float = 0.0

    def add(self, at: int, delta: Entry) -> None:
        count = len(delta["token_ids"])
        self.steps += (at - self.last, *([0] * (count - 1))) if count else ()
        self.last = at
        self.texts.append(delta["text"])
        self.forced += sum(delta["forced"])
        positions = delta["positions"]
        if positions:
            self.positions = (self.positions[0] if len(self.steps) > count else positions[0], positions[-1])
        self.logprob += sum(delta["logprobs"])

    def entry(self) -> Entry:
        deltas = {
            "candidate": self.candidate,
            "path": self.path,
            "steps": self.steps,
            "text": "".join(self.texts),
            "forced": self.forced,
            "positions": self.positions,
            "logprob": round(self.logprob, 3),
        }
        return {"seconds": self.first / MILLISECONDS, "deltas": deltas}


class EventCompactor:
    """Makes the events of one solve small. Feed it in order; `flush` now and then, and at the end."""

    def __init__(self) -> None:
        self._gathered: dict[tuple[int, str], _Gathered] = {}
        self._started: set[int] = set()

    def feed(self, event: Event) -> Entry | None:
        """The event made small; None for deltas, which wait for `flush`.

        Raises:
            KeyError: It is no event.
            TypeError: As KeyError.
        """
        kind = kind_of(event)
        told = event[kind]
        if kind == "delta":
            self._gather(round(event["seconds"] * MILLISECONDS), told)
            return None
        return {"seconds": round(event["seconds"], 3), kind: self._small(kind, told)}

    def flush(self) -> list[Entry]:
        """All tokens since the last time, one entry for each branch."""
        entries = [gathered.entry() for gathered in self._gathered.values()]
        self._gathered.clear()
        return entries

    def _gather(self, at: int, delta: Entry) -> None:
        key = (delta["candidate"], str(delta["path"]))
        gathered = self._gathered.get(key)
        if gathered is None:
            gathered = self._gathered[key] = _Gathered(delta["candidate"], delta["path"], at, at)
        gathered.add(at, delta)

    def _small(self, kind: str, told: Entry) -> Entry:
        """Without token ids, without the text of a candidate whose tokens the page has been told, and of what its steps
        state without all that can share no vote."""
        match kind:
            case "candidate_started":
                self._started.add(told["spec"]["index"])
                return _without(told, "prompt")
            case "branch_opened":
                return _without(told, "plan_tokens")
            case "candidate_finished":
                stated = told["candidate"].get("branch_answers", ())
                sharing = [_without(found, "path") for found in stated if "answer_class" in found]
                candidate = {**told["candidate"], "branch_answers": sharing}
                streamed = candidate["spec"]["index"] in self._started
                return {**told, "candidate": _without(candidate, "text") if streamed else candidate}
            case "solved":
                return _without(told, "candidates", "problem")
        return told


@dataclass(frozen=True, slots=True)
class Recorded:
    """One solve of a trace: the id of its problem or, without one, of the solve; and its entries."""

    id: str
    source: str
    entries: list[Entry]


def recorded(lines: Iterable[str], name: str) -> list[Recorded]:
    """The solves of a trace; one that breaks off in its last line is read up to there.

    Raises:
        TraceError: A line is not part of a trace.
    """
    solves: list[Recorded] = []
    compactors: dict[str, tuple[Recorded, EventCompactor]] = {}

    def take(event: Event, kind: str) -> None:
        solve_id = event["solve_id"]
        if kind == "accepted":
            _close(compactors.pop(solve_id, None))
            label = event["accepted"]["problem"]["id"] or solve_id
            compactors[solve_id] = (Recorded(label, name, []), EventCompactor())
            solves.append(compactors[solve_id][0])
        solve, compactor = compactors[solve_id]
        if (small := compactor.feed(event)) is not None:
            solve.entries.append(small)

    each_event(lines, name, take)
    for pair in compactors.values():
        _close(pair)
    return solves


def _close(pair: tuple[Recorded, EventCompactor] | None) -> None:
    if pair is not None:
        solve, compactor = pair
        solve.entries.extend(compactor.flush())


def _without(entry: Entry, *names: str) -> Entry:
    return {name: value for name, value in entry.items() if name not in names}
