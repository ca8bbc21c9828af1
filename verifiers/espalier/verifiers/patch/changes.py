"""What a claim does to a repository: worked out in memory, before anything runs."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from espalier.verifiers.answer import file_fences
from espalier.verifiers.patch.diff import FileDiff, PatchError, apply_hunks, read_diff
from espalier.verifiers.patch.repository import Repository
from espalier.verifiers.paths import matches, parents, path_problem

MAX_TEXT = 4 << 20
"""Bytes of a file that a patch changes or creates."""

CONTEXT = 3
"""Lines of context that diffs show."""

MAX_COMPARED = 1_000_000
"""Lines before times lines after that are compared with each other."""

_NO_NEWLINE = "\n\\ No newline at end of file\n"


@dataclass(frozen=True, slots=True)
class Change:
    """A file before and after; None where there is none.

    Attributes:
        old: Its text before.
        new: Its text afterwards.
        was_executable: Whether it might be executed before.
        executable: Whether it may be executed afterwards.
    """

    old: str | None
    new: str | None
    was_executable: bool = False
    executable: bool = False


def changes_of(
    patch: str, repository: Repository, protected: Iterable[str], held: frozenset[str] = frozenset()
) -> dict[str, Change]:
    """What a patch does, by path.

    Args:
        patch: What :func:`espalier.verifiers.answer.answer_of` found: a diff, or fenced files with their paths.
        repository: What it is applied to.
        protected: Patterns of paths that it must not touch.
        held: Further paths that it must not touch: files of tests.

    Raises:
        PatchError: It cannot be read, does not fit, changes nothing, or touches what it must not.
    """
    files = file_fences(patch) if patch.lstrip().startswith(("`", "~")) else None
    diffs = () if files is not None else read_diff(patch)
    patterns = tuple(protected)
    changes: dict[str, Change] = {}
    for path in files if files is not None else dict.fromkeys(diff.path for diff in diffs):
        _refuse(path, repository, patterns, held)
        old, executable = _text(path, repository), repository.is_executable(path)
        changes[path] = Change(old, old, executable, executable)
    for path, text in (files or {}).items():
        changes[path] = replace(changes[path], new=text)
    for diff in diffs:
        changes[diff.path] = _changed(changes[diff.path], diff)
    if any(change.new is not None and len(change.new.encode()) > MAX_TEXT for change in changes.values()):
        raise PatchError(f"the patch makes a file of more than {MAX_TEXT >> 20} MiB")
    made = {path for path, change in changes.items() if change.new is not None}
    for path in made:
        if repository.is_directory(path) or any(above in made for above in parents(path)):
            raise PatchError(f"{path} would be a file and a directory")
    changes = {
        path: change
        for path, change in changes.items()
        if (change.new, change.executable) != (change.old, change.was_executable)
    }
    if not changes:
        raise PatchError("the patch changes nothing")
    return changes


def diff_of(changes: Mapping[str, Change]) -> str:
    """The changes as a diff that `git apply` takes."""
    return "".join(_diff_of(path, change) for path, change in sorted(changes.items()))


def _refuse(path: str, repository: Repository, patterns: tuple[str, ...], held: frozenset[str]) -> None:
    if problem := path_problem(path):
        raise PatchError(f"the path {path[:200]!r} {problem}")
    for name in (path, *sorted(repository.aliases(path))):
        through = f", which {name} leads to" if name != path else ""
        if pattern := matches(name, patterns):
            raise PatchError(f"the patch must not touch {path}{through}: {pattern} is protected")
        if name in held:
            raise PatchError(f"the patch must not touch {path}{through}: it belongs to the tests")
    for place in (path, *parents(path)):
        if repository.is_link(place):
            raise PatchError(f"the patch must not touch {path}: {place} is a link")
        if place != path and place in repository.paths:
            raise PatchError(f"{path} lies below {place}, which is a file")


def _text(path: str, repository: Repository) -> str | None:
    content = repository.read(path)
    if content is not None and len(content) > MAX_TEXT:
        raise PatchError(f"{path} has more than {MAX_TEXT >> 20} MiB, and cannot be changed")
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise PatchError(f"{path} is no text file, and only such can be changed") from None


def _changed(change: Change, diff: FileDiff) -> Change:
    """A change with what a diff does on top of it."""
    text, path = change.new, diff.path
    if diff.created and text:
        raise PatchError(f"{path} exists: change it instead of creating it")
    if not diff.created and text is None:
        raise PatchError(f"there is no file {path} in the repository")
    new = apply_hunks(path, text or "", diff.hunks)
    executable = change.executable if diff.executable is None else diff.executable
    return replace(change, new=None if diff.deleted else new, executable=executable and not diff.deleted)


def _diff_of(path: str, change: Change) -> str:
    old, new = ([] if text is None else list(io.StringIO(text, newline="\n")) for text in (change.old, change.new))
    head = f"diff --git a/{path} b/{path}\n"
    before_mode, mode = (
        "100755" if executable else "100644" for executable in (change.was_executable, change.executable)
    )
    if change.old is None:
        head += f"new file mode {mode}\n"
    elif change.new is None:
        head += f"deleted file mode {before_mode}\n"
    elif mode != before_mode:
        head += f"old mode {before_mode}\nnew mode {mode}\n"
    before = f"a/{path}" if change.old is not None else "/dev/null"
    after = f"b/{path}" if change.new is not None else "/dev/null"
    body = "".join(line if line.endswith("\n") else line + _NO_NEWLINE for line in _hunks(old, new))
    return head + (f"--- {before}\n+++ {after}\n{body}" if body else "")


def _hunks(old: list[str], new: list[str]) -> Iterator[str]:
    """The lines of the hunks that make `new` of `old`. What is the same at both ends is cut off first; a difference in
    between that would take long to work out is one hunk."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    backwards = zip(reversed(old[same:]), reversed(new[same:]), strict=False)
    end = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], backwards))
    head, tail = min(same, CONTEXT), min(end, CONTEXT)
    start = same - head
    before, after = old[start : len(old) - end + tail], new[start : len(new) - end + tail]
    last_old, last_new = len(before) - tail, len(after) - tail
    if len(before) * len(after) <= MAX_COMPARED:
        groups = list(difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT))
    else:
        ends = ("equal", 0, head, 0, head), ("equal", last_old, len(before), last_new, len(after))
        groups = [[ends[0], ("replace", head, last_old, head, last_new), ends[1]]]
    for group in groups:
        (_, old_start, _, new_start, _), (*_, old_end, _, new_end) = group[0], group[-1]
        old_range = _range(start + old_start, old_end - old_start)
        new_range = _range(start + new_start, new_end - new_start)
        yield f"@@ -{old_range} +{new_range} @@\n"
        for kind, from_old, to_old, from_new, to_new in group:
            if kind == "equal":
                yield from (f" {line}" for line in before[from_old:to_old])
            else:
                yield from (f"-{line}" for line in before[from_old:to_old])
                yield from (f"+{line}" for line in after[from_new:to_new])


def _range(start: int, length: int) -> str:
    """Lines of a hunk as its header counts them, from 1; an empty range is named by the line before it."""
    return f"{start + 1 if length else start},{length}"
