"""Read a trace back, and show it as a tree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text
from rich.tree import Tree

from espalier.common.terminal import printable
from espalier.solver.core.candidate import attempt_the_whole, voted
from espalier.solver.core.report import status_mark
from espalier.verifiers.verdict import Status

SHORT = 100
"""Characters of a text that are shown unless all are asked for."""

Path = tuple[tuple[int, int], ...]


class TraceError(ValueError):
    """A trace that cannot be read; the message names the line."""


Event = dict[str, Any]
"""A `SolveEvent` in its JSON form."""


@dataclass(slots=True)
class TracedBranch:
    """One branch: its plan, its text, its tokens by kind, when it began and ended, and the verdicts on its answers."""

    plan: str = ""
    text: str = ""
    sampled: int = 0
    forced: int = 0
    began: float = 0.0
    ended: float = 0.0
    verdicts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass(slots=True)
class TracedCandidate:
    """One candidate; `finished` is None when the trace ends before the candidate did.

    One that an earlier delivery of a job had made is `kept`: the trace has its text, but not how it came to be.
    """

    spec: dict[str, Any]
    branches: dict[Path, TracedBranch]
    finished: dict[str, Any] | None = None
    kept: bool = False

    @property
    def answer_class(self) -> int | None:
        return self.finished.get("answer_class") if self.finished else None

    @property
    def weight(self) -> float:
        """What its vote counts."""
        return float(self.finished["verdict"].get("score", 0)) if self.finished else 0.0

    @property
    def classed_steps(self) -> list[dict[str, Any]]:
        """Answers of its steps that may share its vote."""
        stated = self.finished.get("branch_answers", ()) if self.finished else ()
        return [found for found in stated if "answer_class" in found]

    @property
    def branch_classes(self) -> tuple[int, ...]:
        return tuple(found["answer_class"] for found in self.classed_steps)


@dataclass(slots=True)
class TracedSolve:
    """One solve; `tests` is None without generated tests, `result` when the trace ends before the solve did."""

    accepted: dict[str, Any]
    candidates: dict[int, TracedCandidate] = field(default_factory=dict)
    tests: dict[str, Any] | None = None
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None


def read_trace(lines: Iterable[str], name: str) -> list[TracedSolve]:
    """Read a trace; one that breaks off in its last line is read up to there.

    Raises:
        TraceError: A line is not part of a trace.
    """
    solves: dict[str, TracedSolve] = {}
    each_event(lines, name, lambda event, kind: _take(solves, event, kind))
    return list(solves.values())


def each_event(lines: Iterable[str], name: str, take: Callable[[Event, str], None]) -> None:
    """Pass on every event of a trace with the name of its kind. A last line that cannot be read is where it broke off.

    Raises:
        TraceError: A line is no JSON, or `take` raises ValueError, KeyError or TypeError for it.
    """
    fault: TraceError | None = None
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if fault is not None:
                raise fault
            try:
                event = json.loads(line)
                if "event" in event:
                    raise TraceError(f"{name}:{number}: an older version of Espalier wrote this trace; trace it again")
                take(event, kind_of(event))
            except TraceError:
                raise
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                fault = TraceError(f"{name}:{number}: no line of a trace ({type(error).__name__}: {error})")
    except UnicodeDecodeError as error:
        raise TraceError(f"{name} is no trace: it is not UTF-8 ({error.reason})") from None
    if number < 1 + (fault is not None):
        raise fault or TraceError(f"{name} is empty")


def kind_of(event: Event) -> str:
    """What an event is about: the name of the one field beside its time and its solve.

    Raises:
        KeyError: It has no such field.
    """
    for name in event:
        if name not in ("seconds", "solve_id"):
            return name
    raise KeyError("kind")


def path_of(place: dict[str, Any]) -> Path:
    """The place of a branch, from the JSON form of what happened there."""
    return tuple((turn["block"], turn["step"]) for turn in place["path"]["turns"])


def tree(solve: TracedSolve, *, full: bool = False) -> Tree:
    """The tree of a solve."""
    problem = solve.accepted["problem"]
    root = Tree(Text(printable(" ".join(problem["text"].split())), style="bold"))
    facts = f"policy {solve.accepted['policy']}, seed {solve.accepted['seed']}"
    if "check" in problem:
        facts += f", check {json.dumps(problem['check'], ensure_ascii=False)}"
    root.add(Text(facts, style="dim"))
    if stated := solve.accepted.get("examples"):
        node = root.add(Text(f"{len(stated)} stated example{'' if len(stated) == 1 else 's'}", style="bold"))
        for example in stated:
            node.add(Text(printable(_shown(example, full=False)), style="dim"))
    if solve.tests is not None:
        _add_tests(root, solve.tests)
    whole = attempt_the_whole(one for one in solve.candidates.values() if one.weight)
    for candidate in solve.candidates.values():
        _add_candidate(root, candidate, full, shared=len(voted(candidate, whole)) > 1)
    for told in solve.comparisons:
        pair = f"candidates {told['first']} and {told['second']}"
        root.add(Text(f"{pair} compared: the first is right with probability {told['score']:.2f}", style="dim"))
    root.add(_decision(solve.result))
    return root


def _take(solves: dict[str, TracedSolve], event: Event, kind: str) -> None:
    told = event[kind]
    if kind == "accepted":
        solves[event["solve_id"]] = TracedSolve(told)
        return
    solve = solves[event["solve_id"]]
    if kind == "solved":
        solve.result = told
    elif kind == "written_tests":
        solve.tests = told
    elif kind == "compared":
        solve.comparisons.append(told)
    elif kind == "candidate_started":
        spec = told["spec"]
        solve.candidates[spec["index"]] = TracedCandidate(spec, {(): TracedBranch(began=event["seconds"])})
    elif kind == "candidate_finished":
        finished = told["candidate"]
        spec = finished["spec"]
        kept = TracedCandidate(spec, {(): TracedBranch(text=finished["text"])}, kept=True)
        solve.candidates.setdefault(spec["index"], kept).finished = finished
    elif kind == "answer_judged" and told["candidate"] not in solve.candidates:
        return  # one that was kept: its end tells the verdict
    elif kind in ("branch_opened", "delta", "branch_closed", "answer_judged"):
        _take_branch(solve.candidates[told["candidate"]], event["seconds"], kind, told)


def _take_branch(candidate: TracedCandidate, seconds: float, kind: str, told: dict[str, Any]) -> None:
    path = path_of(told)
    if kind == "branch_opened":
        candidate.branches[path] = TracedBranch(plan=told["plan"], began=seconds)
        return
    branch = candidate.branches[path]
    branch.ended = seconds
    if kind == "delta":
        forced = sum(told["forced"])
        branch.text += told["text"]
        branch.forced += forced
        branch.sampled += len(told["token_ids"]) - forced
    elif kind == "answer_judged":
        branch.verdicts.append((told["answer"], told["verdict"]))


def _add_candidate(root: Tree, candidate: TracedCandidate, full: bool, shared: bool) -> None:
    spec, finished = candidate.spec, candidate.finished
    again = f", joins candidate {spec['rejoin']} again" if "rejoin" in spec else ""
    label = Text(f"candidate {spec['index']}{again}", style="bold")
    way = f", way {printable(spec['way'])}" if spec.get("way") else ""
    facts = f"  round {spec['round']}, temperature {spec['temperature']:g}, seed {spec['seed']}{way}"
    label.append(facts, style="dim")
    if finished is not None:
        label.append(f"  {finished['finish_reason']} after {finished['seconds']:.2f} s  ")
        label.append_text(_verdict(finished.get("answer"), finished["verdict"]))
    else:
        label.append("  the trace ends here", style="yellow")
    node = root.add(label)
    voting = {path_of(found): found["answer"] for found in candidate.classed_steps} if shared else {}
    nodes: dict[Path, Tree] = {(): node}
    for path, branch in sorted(candidate.branches.items()):
        above = nodes[path[:-1]] if path else node
        name = "response" if not path else "step " + ".".join(str(step) for _, step in path)
        line = Text(name, style="cyan")
        spent = f"{branch.sampled} + {branch.forced} tokens, {branch.began:.2f}-{branch.ended:.2f} s"
        line.append("  kept from an earlier delivery  " if candidate.kept else f"  {spent}  ", style="dim")
        if branch.plan:
            line.append(printable(" ".join(branch.plan.split())) + ": ", style="italic")
        line.append(printable(_shown(branch.text, full)))
        nodes[path] = above.add(line)
        for answer, verdict in branch.verdicts:
            nodes[path].add(_verdict(answer, verdict))
        if path in voting:
            nodes[path].add(Text(printable(f"shares the vote: {_shown(voting[path], full=False)}"), style="dim"))


def _add_tests(root: Tree, written: dict[str, Any]) -> None:
    usage = written["usage"]
    label = Text(f"{len(written['tests'])} generated tests", style="bold")
    label.append(f"  {usage['sampled_tokens'] + usage['forced_tokens']} tokens", style="dim")
    node = root.add(label)
    for test in written["tests"]:
        again = f"  written {test['count']} times" if test["count"] > 1 else ""
        node.add(Text(printable(_shown(test["source"], full=False)) + again, style="dim"))


def _verdict(answer: str | None, verdict: dict[str, Any]) -> Text:
    status = Status(verdict["status"].removeprefix("STATUS_").lower())
    line = Text(
        printable(f"{status_mark(status)} {' '.join((answer or 'no answer').split())}"),
        style="bold" if answer else "dim",
    )
    seen = "; ".join(evidence["detail"] for evidence in verdict["evidence"])
    line.append(printable(f"  {status.value} by {verdict['decided_by']}" + (f": {seen}" if seen else "")), style="dim")
    return line


def _decision(result: dict[str, Any] | None) -> Text:
    if result is None:
        return Text("the trace ends before the solve did", style="yellow")
    spent = result["spent"]
    verified = result["outcome"] == "OUTCOME_VERIFIED"
    fates = [spent[fate] for fate in ("accepted", "failed", "aborted", "verification") if fate in spent]
    tokens = sum(usage["sampled_tokens"] + usage["forced_tokens"] for usage in fates)
    line = Text(
        printable(f"{'verified' if verified else 'not verified'}: {result.get('answer', 'UNSOLVED')}"), style="bold"
    )
    line.append(printable(f"  {result['reason']}; stopped by {result['stopped']}"), style="dim")
    cost = f"{tokens} tokens, critical path {spent['critical_path_tokens']}, {spent['seconds']:.3f} s"
    line.append(f"; {cost}", style="dim")
    return line


def _shown(text: str, full: bool) -> str:
    if full:
        return text
    text = " ".join(text.split())
    return "…" + text[-SHORT:] if len(text) > SHORT else text
