"""The output grammar of parallel reasoning, as pure code over token ids.

    response  := block+ answer
    block     := guideline step{n} takeaway              n = number of plans, n >= 1
    guideline := <guideline> (<plan>i: ... </plan>){n} </guideline>
    step      := "\\n" <step> "\\ni:" ... </step>           blind to its siblings; may hold blocks of its own
    takeaway  := <takeaway> "\\n" ... </takeaway>
    answer    := text, end of turn

(Native Parallel Reasoner, arXiv 2512.07461, section 3.) A branch is the root response or one step. Every branch is read
by its own little machine: :func:`advance` takes the machine's state and the next token of that branch, forced or
sampled, and says what the engine has to do. Validation of a whole linearised response (:mod:`.structure`) drives the
same machine, so engine, trainer and validator cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Protocol


class Tag(StrEnum):
    """The eight tags and the end of a turn."""

    GUIDELINE = "<guideline>"
    END_GUIDELINE = "</guideline>"
    PLAN = "<plan>"
    END_PLAN = "</plan>"
    STEP = "<step>"
    END_STEP = "</step>"
    TAKEAWAY = "<takeaway>"
    END_TAKEAWAY = "</takeaway>"
    END_OF_TURN = "end of turn"


EIGHT_TAGS = tuple(tag for tag in Tag if tag is not Tag.END_OF_TURN)


class Tokenizer(Protocol):
    """The part of a `transformers` tokenizer that the grammar needs."""

    @property
    def eos_token_id(self) -> int | None: ...
    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str) -> int | None: ...


class TagError(ValueError):
    """The tokenizer does not know the tags as single tokens."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token ids of the grammar for one tokenizer.

    Attributes:
        tags: What each structural token id means.
        newline: Ids of "\\n".
        labels: Ids of "\\ni:" for i = 1, 2, …; their number bounds the plans of a block.
    """

    tags: dict[int, Tag]
    newline: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, max_plans: int = 16, end_of_turn: Iterable[int] = ()) -> Vocabulary:
        """Read the ids from a tokenizer.

        Args:
            tokenizer: A tokenizer that holds the eight tags as single special tokens.
            max_plans: How many step labels to prepare.
            end_of_turn: Ids that end a turn, beside the tokenizer's own end-of-sequence token: those of the model's
                generation config. Tags among them are left out, because models that were made for other engines list
                `</guideline>` and `</step>` there.

        Raises:
            TagError: A tag is missing or is not one token.
        """
        tags: dict[int, Tag] = {}
        for tag in EIGHT_TAGS:
            ids = tokenizer.encode(tag.value, add_special_tokens=False)
            if len(ids) != 1:
                raise TagError(f"the tokenizer splits {tag.value} into {len(ids)} tokens; add it as a special token")
            tags[ids[0]] = tag
        eos = tokenizer.eos_token_id
        ends = ([] if eos is None else [eos]) + list(end_of_turn)  # the tokenizer's own one first: `id_of` returns it
        tags = dict.fromkeys((token for token in ends if token not in tags), Tag.END_OF_TURN) | tags
        labels = (tokenizer.encode(f"\n{i}:", add_special_tokens=False) for i in range(1, max_plans + 1))
        newline = tokenizer.encode("\n", add_special_tokens=False)
        return cls(tags=tags, newline=tuple(newline), labels=tuple(map(tuple, labels)))

    def id_of(self, tag: Tag) -> int:
        """The id of a tag (the first one for the end of a turn)."""
        return next(token for token, known in self.tags.items() if known is tag)

    def step_opening(self, number: int) -> tuple[int, ...]:
        """The tokens that an engine forces at the start of step `number` (from 1): `\\n<step>\\ni:`."""
        return (*self.newline, self.id_of(Tag.STEP), *self.labels[number - 1])

    def takeaway_opening(self) -> tuple[int, ...]:
        """The tokens that an engine forces where the steps join: `<takeaway>\\n`."""
        return (self.id_of(Tag.TAKEAWAY), *self.newline)


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """Structural limits. The defaults follow this project; `REFERENCE` those of the paper's engine."""

    max_plans: int = 8
    max_depth: int = 5


REFERENCE = GrammarLimits(max_plans=5, max_depth=5)


class FaultKind(StrEnum):
    """What can be wrong with a response. The first five end it; the others are judged when it is complete."""

    UNEXPECTED_TAG = "unexpected_tag"
    """A tag where the grammar has no place for it, for example `</plan>` outside a plan."""
    MISSING_TAG = "missing_tag"
    """Text where only a tag may stand, for example between the last `</step>` and `<takeaway>`."""
    NO_PLANS = "no_plans"
    """`</guideline>` without a single plan before it."""
    TOO_MANY_PLANS = "too_many_plans"
    TOO_DEEP = "too_deep"
    UNFINISHED = "unfinished"
    """The response ends before its structure does."""
    NO_BLOCK = "no_block"
    """The response has no block at all."""
    EMPTY_PLAN = "empty_plan"
    """A plan without content."""
    WRONG_LABEL = "wrong_label"
    """Step i does not open with `\\n<step>\\ni:`."""
    NO_ANSWER = "no_answer"
    """Nothing follows the last block."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A named fault and its place (index into the tokens that were read)."""

    kind: FaultKind
    at: int
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value} at token {self.at}: {self.detail}"


class Place(Enum):
    """Where in the grammar a branch stands."""

    OPENING = "the opening of a step"
    BODY = "running text"
    GUIDELINE = "a guideline"
    PLAN = "a plan"
    FORKED = "a fork"
    TAKEAWAY = "a takeaway"
    CLOSED = "the end"


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class State:
    """Where the reading of one branch stands.

    Attributes:
        place: See :class:`Place`.
        depth: 0 for the root response, 1 for its steps, 2 for steps inside steps, …
        plans: Contents of the plans of the guideline being read, as spans of the branch's own token indices.
        opened_at: Index at which the plan being read began.
    """

    place: Place
    depth: int = 0
    plans: tuple[Span, ...] = ()
    opened_at: int = 0


ROOT = State(Place.BODY)


def step_state(depth: int) -> State:
    """The state of a fresh step at `depth` (from 1), before its forced opening has been read."""
    return State(Place.OPENING, depth)


@dataclass(frozen=True, slots=True)
class Continue:
    """Nothing to do: decode on."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Open one branch per plan; spans are plan contents in the branch's own token indices."""

    plans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class CloseBranch:
    """The step is complete."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The response is complete."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """The token breaks the grammar; nothing that follows can be read."""

    fault: Fault


Action = Continue | Fork | CloseBranch | Finish | Malformed

CONTINUE = Continue()
CLOSE_BRANCH = CloseBranch()
FINISH = Finish()

# Where a tag leads from each place; a pair that is missing is UNEXPECTED_TAG. What a tag does beyond moving on is
# decided by the place it leads to: GUIDELINE from PLAN records a plan, FORKED forks, CLOSED closes.
_MOVES: dict[tuple[Place, Tag], Place] = {
    (Place.OPENING, Tag.STEP): Place.BODY,
    (Place.BODY, Tag.GUIDELINE): Place.GUIDELINE,
    (Place.GUIDELINE, Tag.PLAN): Place.PLAN,
    (Place.PLAN, Tag.END_PLAN): Place.GUIDELINE,
    (Place.GUIDELINE, Tag.END_GUIDELINE): Place.FORKED,
    (Place.FORKED, Tag.TAKEAWAY): Place.TAKEAWAY,
    (Place.TAKEAWAY, Tag.END_TAKEAWAY): Place.BODY,
}


def advance(
    state: State, token: int, at: int, vocabulary: Vocabulary, limits: GrammarLimits = GrammarLimits()
) -> tuple[State, Action]:
    """Read one token of a branch. O(1), except that a fork copies the spans of its plans.

    Args:
        state: The branch's state.
        token: The next token of the branch, forced or sampled.
        at: Its index; spans and faults are given in these indices.
        vocabulary: The ids of the tags.
        limits: Structural limits.

    Returns:
        The new state and what to do. After :class:`Malformed` the state is meaningless.
    """
    tag = vocabulary.tags.get(token)
    if tag is None:
        if state.place is Place.FORKED:
            return state, _malformed(FaultKind.MISSING_TAG, at, "text where <takeaway> must stand")
        return state, CONTINUE
    if state.place is Place.BODY:
        if tag is Tag.END_STEP and state.depth > 0:
            return replace(state, place=Place.CLOSED), CLOSE_BRANCH
        if tag is Tag.END_OF_TURN and state.depth == 0:
            return replace(state, place=Place.CLOSED), FINISH
    place = _MOVES.get((state.place, tag))
    if place is None:
        kind = FaultKind.UNFINISHED if tag is Tag.END_OF_TURN else FaultKind.UNEXPECTED_TAG
        return state, _malformed(kind, at, f"{tag.value} inside {state.place.value}")
    if place is Place.PLAN:
        return replace(state, place=place, opened_at=at + 1), CONTINUE
    if state.place is Place.PLAN:
        return replace(state, place=place, plans=(*state.plans, Span(state.opened_at, at))), CONTINUE
    if place is Place.FORKED:
        return _fork(state, at, limits)
    return replace(state, place=place), CONTINUE


def _fork(state: State, at: int, limits: GrammarLimits) -> tuple[State, Action]:
    if not state.plans:
        return state, _malformed(FaultKind.NO_PLANS, at, "</guideline> without a plan before it")
    if len(state.plans) > limits.max_plans:
        detail = f"{len(state.plans)} plans, at most {limits.max_plans} allowed"
        return state, _malformed(FaultKind.TOO_MANY_PLANS, at, detail)
    if state.depth >= limits.max_depth:
        return state, _malformed(FaultKind.TOO_DEEP, at, f"a block at depth {state.depth}, limit {limits.max_depth}")
    return State(Place.FORKED, state.depth), Fork(state.plans)


def _malformed(kind: FaultKind, at: int, detail: str) -> Malformed:
    return Malformed(Fault(kind, at, detail))
