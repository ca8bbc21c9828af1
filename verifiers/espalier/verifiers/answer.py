"""What a response claims: its last boxed expression, its stated final answer, or its fenced program. Linear time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Found(StrEnum):
    """How an answer was found in a response."""

    BARE = "the whole text"
    BOXED = "the last boxed expression"
    PHRASE = "the final answer phrase"
    MATH = "the last displayed or inline mathematics"
    LINE = "the last line"
    FENCE = "the last fenced block"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it came from.

    Attributes:
        text: The answer, without the marks around it.
        found: How it was found.
        boxes: How many boxed expressions the response has.
    """

    text: str
    found: Found
    boxes: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A fenced program and the language tag of its fence ("" without one)."""

    source: str
    language: str


_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{|\S)")
_PHRASE = re.compile(
    r"(?:final\s+answer|answer)\*{0,2}\s*(?:\(\s*)?(?:is|are|:|=)[\s:*]*|####\s*|<answer>\s*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s|$)|</answer>|\n")
_DISPLAY = re.compile(r"\$\$(.{1,4096}?)\$\$|\\\[(.{1,4096}?)\\\]|\$([^$\n]{1,4096})\$|\\\((.{1,4096}?)\\\)", re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)


def boxes(text: str) -> tuple[str, ...]:
    """The contents of every boxed expression with balanced braces, in order, the outer one of nested boxes."""
    found: list[str] = []
    at = 0
    while match := _BOX.search(text, at):
        start = match.end()
        if text[start] != "{":
            found.append(text[start])
            at = start + 1
            continue
        end = closing_brace(text, start)
        if end is None:
            break
        found.append(text[start + 1 : end])
        at = end + 1
    return tuple(found)


def closing_brace(text: str, start: int) -> int | None:
    """The index of the brace that closes the one at `start`; None when there is none. Escaped braces do not count."""
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None


def extract(text: str, *, bare: bool = False) -> Answer | None:
    """The answer that a response claims.

    The last box wins; several boxes in the last sentence that has one ("\\boxed{1} and \\boxed{2}") are one answer of
    several parts. Without a box, the last "final answer" phrase, then the last line when it is short.

    Args:
        text: A response, or the answer itself when `bare`.
        bare: Nothing but a box around the whole has to be taken off.

    Returns:
        The answer, or None when the response does not claim one.
    """
    found = boxes(text)
    if bare:
        whole = len(found) == 1 and text.strip().startswith("\\boxed") and text.strip().endswith("}")
        stripped = found[0] if whole else text.strip()
        return Answer(stripped.strip(), Found.BARE, len(found)) if stripped.strip() else None
    if found:
        return Answer(_last_boxes(text, found), Found.BOXED, len(found))
    if phrase := _after_phrase(text):
        return Answer(phrase, Found.PHRASE)
    return _last_statement(text)


def _last_boxes(text: str, found: tuple[str, ...]) -> str:
    """The last box, with the boxes before it that only "and", "or" or a comma separates."""
    parts = [found[-1]]
    end = text.rfind("\\boxed")
    for content in reversed(found[:-1]):
        start = text.rfind("\\boxed", 0, end)
        close = closing_brace(text, text.find("{", start)) if start >= 0 else None
        if close is None or not re.fullmatch(
            r"[\s$,;]*(?:and|or|,|;|\\text\{\s*(?:and|or)\s*\})[\s$,;]*", text[close + 1 : end]
        ):
            break
        parts.append(content)
        end = start
    return ", ".join(part.strip() for part in reversed(parts))


def _after_phrase(text: str) -> str | None:
    last = None
    for match in _PHRASE.finditer(text):
        last = match
    if last is None:
        return None
    rest = text[last.end() : last.end() + 4096]
    end = _SENTENCE_END.search(rest)
    return _unmark(rest[: end.start()] if end else rest) or None


def _last_statement(text: str) -> Answer | None:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return None
    line = lines[-1][-4096:]
    inline = [next(group for group in match.groups() if group is not None) for match in _DISPLAY.finditer(line)]
    if inline and len(line) > len(inline[-1]) + 4:
        return Answer(inline[-1].strip(), Found.MATH)
    stripped = _unmark(line)
    if stripped and len(stripped) <= 200 and len(stripped.split()) <= 12:
        return Answer(stripped, Found.LINE)
    return None


def _unmark(text: str) -> str:
    """Without Markdown emphasis, dollar signs around the whole, or a final full stop."""
    text = text.strip().strip("*`").strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    return text.strip().strip("*`").strip()


def last_program(text: str) -> Program | None:
    """The last fenced block of a response, with its language tag; an unclosed last fence runs to the end."""
    fences = list(_FENCE.finditer(text))
    program: Program | None = None
    opening: re.Match[str] | None = None
    for fence in fences:
        if opening is None:
            opening = fence
        elif (
            fence.group(1)[0] == opening.group(1)[0]
            and len(fence.group(1)) >= len(opening.group(1))
            and not fence.group(2)
        ):
            program = Program(text[opening.end() + 1 : fence.start()], opening.group(2).lower())
            opening = None
    if opening is not None and text[opening.end() + 1 :].strip():
        program = Program(text[opening.end() + 1 :], opening.group(2).lower())
    return program
