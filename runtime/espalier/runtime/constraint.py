"""Which tags may come next, so that a response keeps to the grammar whatever the model would rather say.

A finite automaton for each branch, with a state before every token. It is not written down but worked out from
:func:`espalier.runtime.grammar.advance`, which is asked what every tag does everywhere. A tag is forbidden where no
well-formed branch goes on with it: `advance` calls it malformed; or nothing that `advance` takes leads from there to an
end, as with `<guideline>` at the greatest depth or a plan too many; or it completes what
:func:`espalier.runtime.structure.read` finds fault with once a response is complete: an empty plan, a response without
a block or without an answer. Text may come wherever an engine samples.

Engines draw under this mask, and trainers score under it. Both read the same tables: next state by state and class of
token, and forbidden classes by state. There are some hundred states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from espalier.runtime.grammar import (
    ROOT,
    Finish,
    GrammarLimits,
    Malformed,
    Place,
    Span,
    State,
    Tag,
    Vocabulary,
    advance,
    step_state,
)
from espalier.runtime.layout import Path

CLASSES: tuple[Tag | None, ...] = (None, *Tag)
"""Classes of tokens, which are the columns of the tables: text, and every tag."""

FREE = 0
"""The state of what nothing is forbidden to: tokens outside of constrained branches, and behind their ends."""

_ALPHABET = Vocabulary({number: tag for number, tag in enumerate(CLASSES) if tag}, (), ())
"""Token ids that are classes."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """The tables, over classes of tokens. States are numbers; `FREE` is one of them.

    Attributes:
        moves: (states, classes) the next state; `FREE` where a branch ends or can never end.
        forbidden: (states, classes) whether such a token may not come.
        starts: States before the first token of the root, of a step that may open blocks, and of one that may not.
    """

    moves: tuple[tuple[int, ...], ...]
    forbidden: tuple[tuple[bool, ...], ...]
    starts: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Node:
    """All that decides about what may come next.

    Attributes:
        state: Of :func:`advance`; its depth is 0, 1 where blocks may open inside a step, else 2.
        bare: Whether nothing stands behind the last tag yet, where that matters: in a plan and in the answer.
        blocks: Whether the response has a block, where that matters: outside of blocks.
    """

    state: State
    bare: bool = False
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class _Move:
    """What a token does: to which node it leads (None: the branch ends, or its reading), and whether it is a fault."""

    to: _Node | None
    fault: bool


@cache
def automaton(max_plans: int) -> Automaton:
    """The automaton for blocks of at most so many plans.

    Of the depth it matters only whether a block may open there: three starts stand for all depths.

    Raises:
        ValueError: No plan is allowed, so no response is well-formed.
    """
    if max_plans < 1:
        raise ValueError(f"max_plans must be at least 1, got {max_plans}")
    limits = GrammarLimits(max_plans, max_depth=2)
    starts = [_Node(ROOT), _Node(step_state(1)), _Node(step_state(2))]
    moves: dict[_Node, list[_Move]] = {}
    open_nodes = list(starts)
    while open_nodes:
        node = open_nodes.pop()
        if node not in moves:
            moves[node] = [_move(node, token, limits) for token in range(len(CLASSES))]
            open_nodes += [move.to for move in moves[node] if move.to is not None]
    ending = _ending(moves)
    numbers: dict[_Node | None, int] = {node: number for number, node in enumerate(ending, start=FREE + 1)}
    free = [_Move(None, fault=False)] * len(CLASSES)
    rows = [free, *(moves[node] for node in ending)]
    allowed = {None, *ending}
    root, step, deepest = (numbers[start] for start in starts)
    return Automaton(
        moves=tuple(tuple(numbers.get(move.to, FREE) for move in its) for its in rows),
        forbidden=tuple(tuple(move.fault or move.to not in allowed for move in its) for its in rows),
        starts=(root, step, deepest),
    )


def _move(node: _Node, token: int, limits: GrammarLimits) -> _Move:
    state, action = advance(node.state, token, 0, _ALPHABET, limits)
    if isinstance(action, Malformed):
        return _Move(None, fault=True)
    if isinstance(action, Finish):
        return _Move(None, fault=node.bare or not node.blocks)
    if state.place is Place.CLOSED:
        return _Move(None, fault=False)
    tag = CLASSES[token]
    plans = min(len(state.plans), limits.max_plans + 1)  # one too many stands for all that are
    state = replace(state, plans=(Span(0, 0),) * plans, opened_at=0)  # it matters only how many there are
    outside = state == ROOT
    blocks = outside and (node.blocks or tag is Tag.END_TAKEAWAY)
    bare = tag is not None and (state.place is Place.PLAN or blocks)
    return _Move(_Node(state, bare, blocks), fault=tag is Tag.END_PLAN and node.bare)


def _ending(moves: dict[_Node, list[_Move]]) -> list[_Node]:
    """The nodes from which a branch can end without a fault, in the order of `moves`."""
    ending: set[_Node | None] = {None}
    before = 0
    while before < len(ending):
        before = len(ending)
        ending |= {node for node, its in moves.items() if any(not move.fault and move.to in ending for move in its)}
    return [node for node in moves if node in ending]


@dataclass(frozen=True, slots=True)
class Constraint:
    """An automaton over the token ids of a vocabulary, under the limits of a request.

    Attributes:
        automaton: Its tables.
        classes: Class of every token that is no text.
        max_depth: Depth at which no block may open.
        forbidden: By state, the ids that may not come.
    """

    automaton: Automaton
    classes: dict[int, int]
    max_depth: int
    forbidden: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary, limits: GrammarLimits) -> Constraint:
        """
        Raises:
            ValueError: Under these limits no response is well-formed.
        """
        if limits.max_depth < 1:
            raise ValueError(f"max_depth must be at least 1, got {limits.max_depth}")
        tables = automaton(limits.max_plans)
        classes = {token: CLASSES.index(tag) for token, tag in vocabulary.tags.items()}
        forbidden = tuple(tuple(token for token, its in classes.items() if row[its]) for row in tables.forbidden)
        return cls(tables, classes, limits.max_depth, forbidden)

    @property
    def tags(self) -> tuple[int, ...]:
        """Ids of the tags, which are the columns of :meth:`mask`."""
        return tuple(self.classes)

    def mask(self) -> list[list[bool]]:
        """(states, tags) whether a tag must not come."""
        return [[row[each] for each in self.classes.values()] for row in self.automaton.forbidden]

    def start(self, depth: int) -> int:
        """The state before the first token of a branch: of the root (0) or of a step."""
        return self.automaton.starts[0 if depth == 0 else 1 if depth < self.max_depth else 2]

    def after(self, state: int, token: int) -> int:
        """The state behind a token, forced or sampled."""
        return self.automaton.moves[state][self.classes.get(token, 0)]

    def states(self, tokens: Sequence[int], paths: Sequence[Path]) -> list[int]:
        """The state before each of n tokens of a linearised response: under which it was drawn, if it was. O(n).

        Args:
            tokens: (n,) from the first one of the response on.
            paths: (n,) the step that holds each of them.
        """
        reached: dict[Path, int] = {}
        found = []
        for token, path in zip(tokens, paths, strict=True):
            state = reached[path] if path in reached else self.start(len(path))
            found.append(state)
            reached[path] = self.after(state, token)
        return found
