"""A solve as people watch it: a live tree of candidates and branches, or plain lines when there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from espalier.common.terminal import printable
from espalier.runtime.engine import BranchClosed, BranchOpened, Finished, FinishReason, Joined, Tokens
from espalier.solver.core.events import (
    Accepted,
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    Compared,
    Observer,
    RoundFinished,
    SolveEvent,
    Streamed,
    WrittenTests,
)
from espalier.solver.core.report import status_mark
from espalier.verifiers.verdict import Status, Verdict

if TYPE_CHECKING:
    from espalier.runtime.layout import Path

STYLES = {Status.PASS: "bold green", Status.FAIL: "red", Status.UNKNOWN: "yellow", Status.ERROR: "magenta"}
TAIL = 4096
"""Characters of a branch that are kept for the view."""


@dataclass(slots=True)
class _Branch:
    plan: str
    text: str = ""
    tokens: int = 0
    open: bool = True
    verdict: Verdict | None = None


@dataclass(slots=True)
class _Row:
    """A candidate as it is seen."""

    label: str
    branches: dict[Path, _Branch] = field(default_factory=lambda: {(): _Branch("")})
    answer: str | None = None
    verdict: Verdict | None = None
    reason: FinishReason | None = None

    @property
    def tokens(self) -> int:
        return sum(branch.tokens for branch in self.branches.values())


class LiveView:
    """Draws itself from the events that it has seen."""

    def __init__(self, height: int) -> None:
        self._rows: dict[int, _Row] = {}
        self._height = height

    def observe(self, event: SolveEvent) -> None:
        """Take in one event."""
        match event:
            case CandidateStarted(spec):
                repair = f", repairs candidate {spec.repair.candidate}" if spec.repair else ""
                again = "" if spec.rejoin is None else f", joins candidate {spec.rejoin} again"
                self._rows[spec.index] = _Row(
                    f"candidate {spec.index} (temperature {spec.temperature:g}{repair}{again})"
                )
            case Streamed(candidate, inner, text):
                self._stream(self._rows[candidate], inner, text)
            case AnswerJudged(candidate, path, _, verdict) if path in self._rows[candidate].branches:
                self._rows[candidate].branches[path].verdict = verdict
            case CandidateFinished(candidate, verdict) if candidate.spec.index in self._rows:
                row = self._rows[candidate.spec.index]
                row.answer, row.verdict, row.reason = candidate.answer, verdict, candidate.reason

    def __rich__(self) -> RenderableType:
        """As many lines as fit: finished candidates shrink to one line, the newest branches stay."""
        lines: list[Text] = []
        for row in self._rows.values():
            lines.append(_headline(row))
            if row.verdict is None:
                lines += [_branch_line(path, branch) for path, branch in row.branches.items()]
        hidden = len(lines) - self._height
        if hidden > 0:
            lines = [Text(f"… {hidden} more lines", style="dim"), *lines[hidden + 1 :]]
        return Group(*lines)

    def _stream(self, row: _Row, event: object, text: str) -> None:
        match event:
            case BranchOpened(path=path):
                row.branches[path] = _Branch(printable(" ".join(text.split())))
            case Tokens(path=path, tokens=tokens):
                branch = row.branches[path]
                branch.text = (branch.text + printable(text))[-TAIL:]
                branch.tokens += len(tokens)
            case BranchClosed(path=path):
                row.branches[path].open = False
            case Finished(reason=reason):
                row.reason = reason


def _headline(row: _Row) -> Text:
    line = Text(row.label, style="bold", no_wrap=True, overflow="ellipsis")
    line.append(f"  {row.tokens} tokens", style="dim")
    if row.verdict is not None:
        if row.reason is FinishReason.ABORTED and not row.verdict.passed:
            line.append("  aborted", style="dim")
        else:
            said = printable(" ".join((row.answer or "no answer").split()))
            line.append(f"  {status_mark(row.verdict.status)} {said}", style=STYLES[row.verdict.status])
    elif row.reason is not None:
        line.append("  judging", style="cyan")
    return line


def _branch_line(path: Path, branch: _Branch) -> Text:
    indent = "  " * (len(path) + 1)
    name = "response" if not path else ".".join(str(step) for _, step in path)
    sign = "│" if branch.open else "└"
    line = Text(f"{indent}{sign} {name} ", style="cyan" if branch.open else "dim", no_wrap=True, overflow="ellipsis")
    if branch.verdict is not None:
        line.append(status_mark(branch.verdict.status) + " ", style=STYLES[branch.verdict.status])
    if branch.plan:
        line.append(branch.plan[:40] + ": ", style="italic dim")
    text = " ".join(branch.text.split())
    line.append("…" + text[-60:] if len(text) > 60 else text, style="" if branch.open else "dim")
    return line


def plain_lines(console: Console) -> Observer:
    """A watcher that prints one line for each thing that happens, tokens left out."""

    def watch(event: SolveEvent) -> None:
        for line in _plain(event):
            console.print(Text(printable(line)), soft_wrap=True)

    return watch


def _plain(event: SolveEvent) -> Iterator[str]:
    match event:
        case Accepted(examples=examples) if examples:
            yield f"examples that the problem states, on which programs are run: {len(examples)}"
        case CandidateStarted(spec):
            again = "" if spec.rejoin is None else f", joins candidate {spec.rejoin} again"
            way = f", way {spec.way}" if spec.way else ""
            yield f"candidate {spec.index}: started at temperature {spec.temperature:g}{way}{again}"
        case Streamed(candidate, BranchOpened(path=path), text):
            yield f"candidate {candidate}: branch {_name(path)} opens: {' '.join(text.split())}"
        case Streamed(candidate, BranchClosed(path=path, cut=cut)):
            yield f"candidate {candidate}: branch {_name(path)} closes{' at a limit' if cut else ''}"
        case Streamed(candidate, Joined()):
            yield f"candidate {candidate}: branches join"
        case WrittenTests(tests, usage):
            yield f"{len(tests.sources)} tests written ({usage.new_tokens} tokens)"
        case AnswerJudged(candidate, path, answer, verdict):
            where = f"branch {_name(path)}" if path else "the response"
            yield f"candidate {candidate}: {where} answers {' '.join(answer.split())}: {verdict.status.value}"
        case CandidateFinished(candidate, verdict):
            ended = f"{candidate.reason.value}, {candidate.usage.new_tokens} tokens"
            yield f"candidate {candidate.spec.index}: ended ({ended}): {verdict.status.value}"
        case Compared(comparison):
            first, second = comparison.candidates
            yield f"candidates {first} and {second} compared: {first} is right with probability {comparison.score:.2f}"
        case RoundFinished(number, state):
            yield f"round {number}: {'solve stops: ' + state.stopped.value if state.stopped else 'not settled yet'}"


def _name(path: Path) -> str:
    return ".".join(str(step) for _, step in path)


@contextmanager
def view(console: Console) -> Iterator[Observer]:
    """A watcher that shows a solve on this console."""
    if not console.is_terminal:
        yield plain_lines(console)
        return
    live = LiveView(max(console.height - 4, 4))
    with Live(live, console=console, refresh_per_second=8, transient=True):
        yield live.observe
