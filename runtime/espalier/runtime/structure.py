"""Read a linearised response: where its blocks and steps are, and what is wrong with it.

A linearised response lists every block as guideline, step 1, …, step n, takeaway, one after the other. The reading
drives the branch machine of :mod:`.grammar` with a stack, one frame per open branch, in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from espalier.runtime.grammar import (
    ROOT,
    CloseBranch,
    Continue,
    Fault,
    FaultKind,
    Finish,
    Fork,
    GrammarLimits,
    Malformed,
    Place,
    Span,
    State,
    Vocabulary,
    advance,
    step_state,
)


class Edge(Enum):
    """What changes at a token of a linearised sequence."""

    FORK = auto()
    """A block opens before this token."""
    OPEN = auto()
    """A step opens before this token."""
    CLOSE = auto()
    """The innermost step closes before this token."""
    JOIN = auto()
    """The innermost block closes before this token."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: contents of its plans, its steps from forced opening to `</step>`, its takeaway with both tags."""

    depth: int
    plans: tuple[Span, ...]
    steps: tuple[Span, ...]
    takeaway: Span


@dataclass(frozen=True, slots=True)
class Structure:
    """The structure of a response that was read to its end or to its first structural fault.

    Attributes:
        edges: Structural changes in order, as (index, edge).
        blocks: Complete blocks in the order in which they end; `depth` 0 are the response's own.
        answer: From behind the last block to the end of turn (empty if there is none).
        faults: What is wrong; empty for a well-formed response.
    """

    edges: tuple[tuple[int, Edge], ...]
    blocks: tuple[Block, ...]
    answer: Span
    faults: tuple[Fault, ...]

    @property
    def well_formed(self) -> bool:
        return not self.faults


@dataclass(slots=True)
class _Frame:
    """An open branch, and the block that it has open."""

    state: State
    start: int
    plans: tuple[Span, ...] = ()
    steps: tuple[Span, ...] = ()
    takeaway_at: int = 0


def read(
    tokens: Sequence[int], prompt_length: int, vocabulary: Vocabulary, limits: GrammarLimits = GrammarLimits()
) -> Structure:
    """Read prompt and linearised response in one O(n) pass.

    Args:
        tokens: Prompt and response. Tags inside the prompt are text.
        prompt_length: Number of prompt tokens.
        vocabulary: The ids of the tags.
        limits: Structural limits.

    Returns:
        Structure and faults. Reading ends at the first fault that leaves the rest without meaning.
    """
    frames = [_Frame(ROOT, prompt_length)]
    edges: list[tuple[int, Edge]] = []
    blocks: list[Block] = []
    fault: Fault | None = None
    at = prompt_length
    for at in range(prompt_length, len(tokens)):
        frame = frames[-1]
        place = frame.state.place
        frame.state, action = advance(frame.state, tokens[at], at, vocabulary, limits)
        match action:
            case Continue():
                if frame.state.place is place:
                    continue
                if frame.state.place is Place.TAKEAWAY:
                    frame.takeaway_at = at
                elif place is Place.TAKEAWAY:
                    takeaway = Span(frame.takeaway_at, at + 1)
                    blocks.append(Block(frame.state.depth, frame.plans, frame.steps, takeaway))
            case Fork(plans):
                frame.plans, frame.steps = plans, ()
                edges += [(at + 1, Edge.FORK), (at + 1, Edge.OPEN)]
                frames.append(_Frame(step_state(frame.state.depth + 1), at + 1))
            case CloseBranch():
                frames.pop()
                parent = frames[-1]
                parent.steps = (*parent.steps, Span(frame.start, at + 1))
                edges.append((at + 1, Edge.CLOSE))
                if len(parent.steps) == len(parent.plans):
                    edges.append((at + 1, Edge.JOIN))
                else:
                    edges.append((at + 1, Edge.OPEN))
                    frames.append(_Frame(step_state(frame.state.depth), at + 1))
            case Finish():
                break
            case Malformed(fault):
                break
    place = frames[-1].state.place
    if fault is None and place is not Place.CLOSED:
        fault = Fault(FaultKind.UNFINISHED, len(tokens), f"the sequence ends inside {place.value}")
    if fault is None and at + 1 < len(tokens):
        fault = Fault(FaultKind.UNEXPECTED_TAG, at, "the turn ends before the sequence does")
    outer = [block for block in blocks if block.depth == 0]
    answer = Span(outer[-1].takeaway.end if outer else prompt_length, at if place is Place.CLOSED else len(tokens))
    if fault is not None:
        return Structure(tuple(edges), tuple(blocks), answer, (fault,))
    return Structure(tuple(edges), tuple(blocks), answer, tuple(_weigh(tokens, blocks, answer, vocabulary)))


def _weigh(tokens: Sequence[int], blocks: Sequence[Block], answer: Span, vocabulary: Vocabulary) -> Iterator[Fault]:
    """Faults of a response whose structure is complete."""
    if not blocks:
        yield Fault(FaultKind.NO_BLOCK, answer.start, "the response has no block")
    elif not len(answer):
        yield Fault(FaultKind.NO_ANSWER, answer.start, "nothing follows the last block")
    for block in blocks:
        for plan in block.plans:
            if not len(plan):
                yield Fault(FaultKind.EMPTY_PLAN, plan.start, "a plan without content")
        for number, step in enumerate(block.steps, start=1):
            opening = vocabulary.step_opening(number)
            if tuple(tokens[step.start : step.start + len(opening)]) != opening:
                yield Fault(FaultKind.WRONG_LABEL, step.start, f"step {number} does not open with its forced tokens")
