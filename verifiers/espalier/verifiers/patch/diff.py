"""Unified diffs as data: read strictly, applied to texts in memory. Nothing of a diff names a file of this machine.

Line numbers are hints, as for `git apply`: a hunk belongs where its lines are, and to the numbered place if they are at
several. A hunk whose place is not certain is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_FILES = 200
"""Files that a patch may change."""

MAX_HUNKS = 1000
"""Hunks of one file."""


class PatchError(ValueError):
    """A patch that cannot be read or applied; the message tells its author what to mend."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines to find and what to put in their place, all without their ends.

    Attributes:
        start: Line at which the old lines begin, from 1; None when the diff does not say.
        old: Context and removed lines.
        new: Context and added lines.
        closes: Whether the last new line has an end, where it is the last of the file; None: as the file has it.
    """

    start: int | None
    old: tuple[str, ...]
    new: tuple[str, ...]
    closes: bool | None


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a diff does to one file.

    Attributes:
        path: The file.
        hunks: In the order of the diff.
        created: It must not exist before.
        deleted: It does not exist afterwards.
        executable: Whether it may be executed afterwards; None: as before.
    """

    path: str
    hunks: tuple[Hunk, ...] = ()
    created: bool = False
    deleted: bool = False
    executable: bool | None = None


_GIT = re.compile(r"diff --git [abciow]/(?P<old>.+) [abciow]/(?P<new>.+)")
_PREFIX = re.compile(r"[abciow]/")
_HUNK = re.compile(r"@@ -(?P<start>\d{1,9})(?:,\d{1,9})? \+\d{1,9}(?:,\d{1,9})? @@.*|@@(?: \.\.\.)?(?: @@)?")
_MODE = re.compile(r"(?P<kind>new file|deleted file|old|new) mode (?P<mode>\d{6})")
_MODES = {"100644": False, "100755": True}
_UNSUPPORTED = ("rename ", "copy ", "GIT binary patch", "Binary files ", "similarity ", "dissimilarity ")
_DEV_NULL = "/dev/null"


def read_diff(text: str) -> tuple[FileDiff, ...]:
    """The changes of a unified diff; text before the first header counts for nothing.

    Raises:
        PatchError: It is none, or does what is not understood: renames, binary files, links.
    """
    reader = _Reader(text.split("\n"))
    files: list[FileDiff] = []
    while reader.seek_header():
        files.append(reader.read_file())
        if len(files) > MAX_FILES:
            raise PatchError(f"the patch changes more than {MAX_FILES} files")
    if not files:
        raise PatchError("there is no '--- a/PATH' and '+++ b/PATH' in it, so it is no unified diff")
    return tuple(files)


class _Reader:
    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = [line.removesuffix("\r") for line in lines]
        self._at = 0

    def seek_header(self) -> bool:
        """Go to where the next file begins, if there is one."""
        while self._at < len(self._lines):
            if self._begins_file():
                return True
            if self._lines[self._at].startswith("@@"):
                raise PatchError(f"line {self._at + 1}: a hunk without '--- a/PATH' and '+++ b/PATH' before it")
            self._at += 1
        return False

    def read_file(self) -> FileDiff:
        old = new = None
        created = deleted = False
        executable: bool | None = None
        if git := _GIT.fullmatch(self._lines[self._at]):
            old, new = git["old"], git["new"]
            self._at += 1
            while self._at < len(self._lines) and not self._begins_file() and not self._line.startswith("@@"):
                if self._line.startswith(_UNSUPPORTED):
                    raise self._error("renames, copies and binary files are not supported: delete and create files")
                if mode := _MODE.fullmatch(self._line):
                    if mode["mode"] not in _MODES:
                        raise self._error(f"the mode {mode['mode']} is not that of a regular file")
                    created |= mode["kind"] == "new file"
                    deleted |= mode["kind"] == "deleted file"
                    if mode["kind"].startswith("new"):
                        executable = _MODES[mode["mode"]]
                self._at += 1
        if self._begins_names():
            old, new = _names(self._line[4:], self._lines[self._at + 1][4:])
            created, deleted = created or old == _DEV_NULL, deleted or new == _DEV_NULL
            self._at += 2
        path = old if deleted else new
        if path is None or path == _DEV_NULL:
            raise self._error("names no file")
        if old not in (path, _DEV_NULL) or new not in (path, _DEV_NULL):
            raise self._error(f"changes the name {old} to {new}: delete the one and create the other")
        hunks = []
        while self._at < len(self._lines) and self._line.startswith("@@"):
            hunks.append(self._read_hunk())
            if len(hunks) > MAX_HUNKS:
                raise self._error(f"{path} has more than {MAX_HUNKS} hunks")
        if not hunks and not created and not deleted and executable is None:
            raise self._error(f"changes nothing in {path}: a hunk begins with a line like '@@ -12,7 +12,8 @@'")
        return FileDiff(path, tuple(hunks), created, deleted, executable)

    def _read_hunk(self) -> Hunk:
        head = _HUNK.fullmatch(self._line)
        if head is None:
            raise self._error(f"{self._line[:60]!r} begins no hunk: write it like '@@ -12,7 +12,8 @@'")
        self._at += 1
        lines: list[str] = []
        unended: set[int] = set()
        while self._at < len(self._lines) and not self._line.startswith("@@") and not self._begins_file():
            if self._line == "-- ":  # the signature of a mail
                break
            if self._line.startswith("\\"):  # "\ No newline at end of file"
                unended.add(len(lines) - 1)
            elif self._line and self._line[0] not in " +-":
                raise self._error("a line of a hunk begins with ' ', '+' or '-'")
            else:
                lines.append(self._line)
            self._at += 1
        while lines and not lines[-1]:
            lines.pop()  # behind the hunk
        if all(line[:1] in ("", " ") for line in lines):
            raise self._error("a hunk without '+' and '-' changes nothing")
        news = [i for i, line in enumerate(lines) if not line.startswith("-")]
        return Hunk(
            start=None if head["start"] is None else int(head["start"]),
            old=tuple(line[1:] for line in lines if not line.startswith("+")),
            new=tuple(lines[i][1:] for i in news),
            closes=None if lines[-1][:1] in ("", " ") else not news or news[-1] not in unended,
        )

    @property
    def _line(self) -> str:
        return self._lines[self._at] if self._at < len(self._lines) else ""

    def _begins_file(self) -> bool:
        return _GIT.fullmatch(self._line) is not None or self._begins_names()

    def _begins_names(self) -> bool:
        return (
            self._line.startswith("--- ")
            and self._at + 1 < len(self._lines)
            and self._lines[self._at + 1].startswith("+++ ")
        )

    def _error(self, problem: str) -> PatchError:
        return PatchError(f"line {min(self._at + 1, len(self._lines))} of the diff: {problem}")


def _names(old: str, new: str) -> tuple[str, str]:
    """The names of a file before and after, without the times behind them and the letters that git puts before them."""
    old, new = (name.partition("\t")[0].rstrip() for name in (old, new))
    prefixes = [name[:2] for name in (old, new) if name != _DEV_NULL]
    if len(set(prefixes)) == len(prefixes) and all(_PREFIX.fullmatch(prefix) for prefix in prefixes):
        old, new = (name if name == _DEV_NULL else name[2:] for name in (old, new))
    return old, new


def apply_hunks(path: str, text: str, hunks: Sequence[Hunk]) -> str:
    """The text of a file with the hunks applied, in order. Ends of lines stay those of the file.

    Raises:
        PatchError: A hunk has no place, or several.
    """
    end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    closed = text.endswith(end) or not text
    lines = text.removesuffix(end).split(end) if text else []
    done = shift = 0  # lines that no later hunk may touch; how far the text has moved against the diff's numbers
    for number, hunk in enumerate(hunks, 1):
        at = _place(lines, hunk, done, shift, end, f"hunk {number} of {path}")
        if hunk.closes is not None and at + len(hunk.old) == len(lines):
            closed = hunk.closes
        lines[at : at + len(hunk.old)] = hunk.new
        shift = at + 1 - hunk.start if hunk.start else shift
        shift += len(hunk.new) - len(hunk.old)
        done = at + len(hunk.new)
    return end.join(lines) + (end if closed and lines else "")


def _place(lines: list[str], hunk: Hunk, done: int, shift: int, end: str, name: str) -> int:
    """The index at which the old lines of a hunk stand, at or behind `done`."""
    old = list(hunk.old)
    if not old:
        if lines:
            raise PatchError(f"{name} has no line of context: give the lines around the change")
        return 0
    told = -1 if hunk.start is None else hunk.start - 1 + shift
    if told >= done and lines[told : told + len(old)] == old:
        return told
    # As texts between ends of lines, which search in linear time whatever repeats itself in them.
    text, sought = (end + end.join(some) + end for some in (lines[done:], old))
    at = text.find(sought)
    if at < 0:
        raise PatchError(f"{name} does not apply: {_mismatch(lines, old, done)}")
    if text.find(sought, at + 1) >= 0:
        raise PatchError(f"{name} fits several places of the file: give more lines of context")
    return done + text.count(end, 0, at)


def _mismatch(lines: list[str], old: list[str], done: int) -> str:
    """The first line of a hunk that cannot be found."""
    behind = set(lines[done:])
    for line in old:
        if line not in behind:
            return f"the file has no line {line[:200]!r} there"
    return "its lines are in the file, but not together and in this order"
