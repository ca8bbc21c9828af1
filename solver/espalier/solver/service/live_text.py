"""The response of the only candidate of a solve as text while it is generated, in the order in which it will stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espalier.runtime.engine import BranchClosed, BranchOpened, Tokens
from espalier.solver.core.events import Streamed

if TYPE_CHECKING:
    from espalier.runtime.layout import Path


@dataclass(slots=True)
class _Branch:
    """What a branch has said and which branches it has opened, in order.

    Attributes:
        parts: Texts, and paths of branches.
        told: Parts that were told.
        closed: Whether nothing more comes.
    """

    parts: list[str | Path] = field(default_factory=list)
    told: int = 0
    closed: bool = False


class LiveText:
    """Feed it the events of one response in order: it tells the text as far as nothing can come before it any more.

    Branches that run side by side are told one after the other, and the last piece waits for the next event: it may be
    the end of turn, which is no part of the response.
    """

    def __init__(self) -> None:
        self._branches: dict[Path, _Branch] = {(): _Branch()}
        self._front: Path = ()
        self._held = ""
        self._told: list[str] = []

    def feed(self, streamed: Streamed) -> str:
        """The text that can be told now."""
        match streamed.event:
            case BranchOpened(path=path):
                self._branches[path] = _Branch()
                self._branches[path[:-1]].parts.append(path)
            case Tokens(path=path) if streamed.text:
                self._branches[path].parts.append(streamed.text)
            case BranchClosed(path=path):
                self._branches[path].closed = True
            case _:
                return ""
        fresh = self._advance()
        if not fresh:
            return ""
        ready, self._held = self._held, fresh
        self._told.append(ready)
        return ready

    def rest(self, text: str) -> str:
        """What is left to tell of the whole response; all that was told before is the beginning of it, or it is left.

        Args:
            text: The whole response.
        """
        told = "".join(self._told)
        return text[len(told) :] if text.startswith(told) else ""

    def _advance(self) -> str:
        fresh: list[str] = []
        while True:
            branch = self._branches[self._front]
            if branch.told < len(branch.parts):
                part = branch.parts[branch.told]
                branch.told += 1
                if isinstance(part, str):
                    fresh.append(part)
                else:
                    self._front = part
            elif branch.closed and self._front:
                self._front = self._front[:-1]
            else:
                return "".join(fresh)
