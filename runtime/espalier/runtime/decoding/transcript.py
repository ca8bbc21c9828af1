"""A response as its client sees it grow: events in, usage and rollout out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from espalier.runtime.decoding.given import first_position, whole
from espalier.runtime.engine import (
    BranchOpened,
    Event,
    Finished,
    FinishReason,
    GenerateRequest,
    Joined,
    Rollout,
    Tokens,
    Usage,
)
from espalier.runtime.layout import Path


@dataclass(eq=False, slots=True)
class _Branch:
    """The root or a step: its runs of tokens, and after which run which steps follow."""

    runs: list[Tokens] = field(default_factory=list)
    forks: dict[int, list[Path]] = field(default_factory=dict)  # runs before the block -> its steps


class Inconsistent(ValueError):
    """The events of a server contradict one another."""


@dataclass(eq=False, slots=True)
class Transcript:
    """One response under way.

    Attributes:
        request: What is answered.
    """

    request: GenerateRequest
    _branches: dict[Path, _Branch] = field(default_factory=lambda: {(): _Branch()})
    _sampled: int = 0
    _forced: int = 0
    _end: int = 0

    @property
    def new_tokens(self) -> int:
        return self._sampled + self._forced

    def take(self, event: Event) -> None:
        """Note an event.

        Raises:
            Inconsistent: It is about a branch that was never opened.
        """
        match event:
            case BranchOpened(path=path):
                parent = self._branch(path[:-1])
                parent.forks.setdefault(len(parent.runs), []).append(path)
                self._branches[path] = _Branch()
            case Tokens(path=path, forced=forced, positions=positions):
                self._branch(path).runs.append(event)
                self._forced += sum(forced)
                self._sampled += len(forced) - sum(forced)
                self._end = max(self._end, *positions, 0)
            case Joined(path=path):
                self._branch(path)

    def finish(self, reason: FinishReason, detail: str, weight_version: int) -> Finished:
        """The last event. Branches that are still open are part of the rollout."""
        request = self.request
        runs = list(self._linearised(self._branches[()]))
        new = Rollout(
            prompt=request.prompt,
            tokens=tuple(item for run in runs for item in run.tokens),
            logprobs=tuple(item for run in runs for item in run.logprobs),
            forced=tuple(item for run in runs for item in run.forced),
            positions=tuple(item for run in runs for item in run.positions),
            paths=tuple(run.path for run in runs for _ in run.tokens),
            weight_version=weight_version,
        )
        critical = max(0, self._end + 1 - first_position(request))
        usage = Usage(len(request.prompt), self._sampled, self._forced, critical)
        return Finished(request.request_id, reason, usage, whole(request.given, new), detail)

    def _branch(self, path: Path) -> _Branch:
        try:
            return self._branches[path]
        except KeyError:
            raise Inconsistent(f"an event is about the step {path}, which was not opened") from None

    def _linearised(self, branch: _Branch) -> Iterator[Tokens]:
        for index in range(len(branch.runs) + 1):
            for path in branch.forks.get(index, ()):
                yield from self._linearised(self._branches[path])
            yield from branch.runs[index : index + 1]
