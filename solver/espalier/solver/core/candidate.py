"""A candidate: one response with all its branches, and what it claims."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from espalier.runtime.engine import FinishReason, Usage

if TYPE_CHECKING:
    from espalier.runtime.layout import Path


@dataclass(frozen=True, slots=True)
class Repair:
    """An earlier answer to be put right, with what the verifier said of it."""

    candidate: int
    answer: str
    feedback: str


@dataclass(frozen=True, slots=True)
class Spec:
    """One candidate to sample, or one more conclusion of a candidate's branches: a re-join.

    Attributes:
        index: Its number within the solve, from 0.
        round: The round that it belongs to, from 0.
        seed: Of its sampling; depends on the solve's seed and the index alone.
        temperature: Of its sampling.
        max_tokens: Its share of the token budget; None: no limit from there.
        hint: A strategy to try, appended to the problem.
        repair: Set for an attempt to put an earlier answer right.
        rejoin: Set for a re-join: index of the candidate whose finished branches it concludes anew.
        way: How the problem is to be solved; see `Way`. Empty: as it is put.
    """

    index: int
    round: int
    seed: int
    temperature: float
    max_tokens: int | None = None
    hint: str = ""
    repair: Repair | None = None
    rejoin: int | None = None
    way: str = ""

    @property
    def source(self) -> int:
        """Index of the candidate whose branches its conclusion rests on; its own unless it is a re-join."""
        return self.index if self.rejoin is None else self.rejoin


@dataclass(frozen=True, slots=True)
class BranchAnswer:
    """An answer that a step states on its way.

    Attributes:
        path: Of the step.
        answer: What it states.
        answer_class: Its equivalence class, where it may share the vote of its candidate, see :func:`voted`; else None.
    """

    path: Path
    answer: str
    answer_class: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A response that has ended: the unit of recovery, stored before it is judged and never generated twice.

    Attributes:
        spec: What was asked for.
        text: The response in linearised order, tags included.
        answer: What it claims: the answer behind its last block, or the branch answer that ended it early; None if it
            claims nothing.
        branch_answers: What its steps state, in the order in which they were found.
        reason: Why it ended.
        usage: Its tokens.
        seconds: From the start of the solve to its end.
        forked: Whether a block of it ran at least two steps side by side.
        well_formed: Whether it keeps to the grammar from its first token to its last.
        detail: What the engine said of its end.
        answer_class: Its equivalence class in the votes of this solve; None where votes do not count.
        branches: Token ids of the response up to the end of its last block's steps, where further conclusions may be
            drawn from them; empty where none can, and where none are asked for.
        examples: The share of the examples that the problem states which its program passes; None where it states none,
            where they judge nothing, and where they were not run.
    """

    spec: Spec
    text: str
    answer: str | None
    branch_answers: tuple[BranchAnswer, ...]
    reason: FinishReason
    usage: Usage
    seconds: float
    forked: bool = False
    well_formed: bool = False
    detail: str = ""
    answer_class: int | None = None
    branches: tuple[int, ...] = ()
    examples: float | None = None

    @property
    def branch_classes(self) -> tuple[int, ...]:
        """Classes of those answers of its steps that may share its vote, one an answer."""
        return tuple(found.answer_class for found in self.branch_answers if found.answer_class is not None)


class Voter(Protocol):
    """What votes: a candidate, or what a policy remembers of it."""

    @property
    def answer_class(self) -> int | None: ...

    @property
    def branch_classes(self) -> tuple[int, ...]: ...


def attempt_the_whole(voters: Iterable[Voter]) -> bool:
    """Whether the steps of candidates attempt the whole problem: most conclude with what one of their steps states.

    A takeaway may misread its steps, so one that concludes with something else tells nothing alone. Steps that work out
    parts state the conclusion only by chance.
    """
    voting = [one for one in voters if one.answer_class is not None and one.branch_classes]
    return 2 * sum(one.answer_class in one.branch_classes for one in voting) > len(voting)


def voted(voter: Voter, whole: bool) -> tuple[int, ...]:
    """Classes that a vote is shared between, in equal parts: of the answer, then of the steps'; none: no vote.

    Args:
        voter: Whose vote.
        whole: Whether steps attempt the whole problem; if not, they share only the votes whose conclusion they state.
    """
    if voter.answer_class is None:
        return ()
    shared = whole or voter.answer_class in voter.branch_classes
    return (voter.answer_class, *(voter.branch_classes if shared else ()))
