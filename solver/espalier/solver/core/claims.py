"""What a text claims, given how it will be judged."""

from __future__ import annotations

from espalier.runtime.grammar import Tag
from espalier.verifiers.answer import Found, boxes, extract, last_program
from espalier.verifiers.check import Check, CustomCheck, ProgramCheck


def branch_answer(text: str, check: Check | None) -> str | None:
    """The answer that a step states so far: its last box, or its last complete fenced program; None without one.

    Running text is no statement: steps say many things on their way.
    """
    if isinstance(check, ProgramCheck):
        return _program(text, complete=False)
    found = boxes(text)
    return found[-1].strip() or None if found else None


def final_answer(text: str, check: Check | None, *, complete: bool) -> str | None:
    """The answer of a response.

    Args:
        text: The response without its steps.
        check: How it will be judged; a program is expected where programs are judged.
        complete: Whether the response came to its own end; a cut one claims only what it marks as its answer.
    """
    text = text.rpartition(Tag.END_TAKEAWAY.value)[2]
    if isinstance(check, ProgramCheck):
        return _program(text, complete)
    answer = extract(text)
    if answer is not None and (complete or answer.found is Found.BOXED):
        if check is None and answer.found is not Found.BOXED and (program := _program(text, complete)):
            return program
        return answer.text.strip() or None
    if isinstance(check, CustomCheck) and complete:
        return text.strip() or None
    return _program(text, complete)


def _program(text: str, complete: bool) -> str | None:
    if not complete and text.count("\n```") % 2:
        text = text.rpartition("\n```")[0]
    program = last_program(text)
    return program.source if program is not None and program.source.strip() else None
