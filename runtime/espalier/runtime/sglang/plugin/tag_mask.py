"""Keeps constrained requests to the grammar: tags that must not come get no probability before SGLang samples.

The state of every row lives on the device. Every request enters a batch by an extend, which writes the state that the
host knows; a decode moves it on by the token that the row is fed, which is the one sampled last. So nothing waits for
the device. A step costs a few small kernels whatever the vocabulary, and a step without constrained requests none. All
ranks of a server do the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from espalier.runtime.constraint import CLASSES, FREE, automaton
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.sglang.plugin.state import BranchState
from espalier.runtime.sglang.protocol import MAX_PLANS


@dataclass(frozen=True, slots=True)
class _Tables:
    """The automata for all numbers of plans, one behind the other, on a device. They share the state `FREE`.

    Attributes:
        first: By number of plans, what is added to the numbers of its states.
        moves: (states, classes) the next state.
        forbidden: (states, tags) whether a tag must not come.
        tags: (tags,) their ids.
        classes: (vocabulary,) class of each token.
        rows: (rows,) the state before the next token of each row of the token table.
    """

    first: dict[int, int]
    moves: torch.Tensor
    forbidden: torch.Tensor
    tags: torch.Tensor
    classes: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def of(cls, vocabulary: Vocabulary, vocab_size: int, rows: int, device: torch.device) -> _Tables:
        every = [automaton(plans) for plans in range(1, MAX_PLANS + 1)]
        first = list(accumulate((len(one.moves) - 1 for one in every), initial=0))
        moves = torch.zeros(first[-1] + 1, len(CLASSES), dtype=torch.int64)
        forbidden = torch.zeros(moves.shape, dtype=torch.bool)
        for one, start in zip(every, first, strict=False):
            own = slice(start + 1, start + len(one.moves))
            to = torch.tensor(one.moves[1:])
            moves[own] = torch.where(to == FREE, FREE, to + start)
            forbidden[own] = torch.tensor(one.forbidden[1:])
        tags = torch.tensor(list(vocabulary.tags))
        kinds = torch.tensor([CLASSES.index(tag) for tag in vocabulary.tags.values()])
        classes = torch.zeros(vocab_size, dtype=torch.int64)
        classes[tags] = kinds
        return cls(
            dict(enumerate(first[:-1], start=1)),
            moves.to(device),
            forbidden[:, kinds].to(device),
            tags.to(device),
            classes.to(device),
            torch.full((rows,), FREE, device=device),
        )

    def number(self, state: BranchState | None) -> int:
        """The state that the next token of a request is drawn under, as the host knows it."""
        if state is None or state.branch.constrained_by == FREE:
            return FREE
        return self.first[state.tree.response.request.limits.grammar.max_plans] + state.branch.constrained_by


class TagMask:
    """What each row of the present batch must not sample."""

    def __init__(self, vocabulary: Vocabulary, vocab_size: int, rows: int) -> None:
        """
        Args:
            vocabulary: Ids of the tags.
            vocab_size: Of the model.
            rows: Size of the token table.
        """
        self._vocabulary = vocabulary
        self._vocab_size = vocab_size
        self._rows = rows
        self._tables: _Tables | None = None  # until there is a constrained request

    def extend(self, forward: Any, states: Sequence[BranchState | None]) -> None:
        """Before a pass that extends: SGLang's `ForwardBatch`, and the states of its requests."""
        indices, constrained = forward.req_pool_indices, any(map(_constrained, states))
        if self._tables is None:
            if not constrained:
                return
            self._tables = _Tables.of(self._vocabulary, self._vocab_size, self._rows, indices.device)
        tables = self._tables
        if not constrained:  # a constrained request may have had the row before
            tables.rows[indices] = FREE
            return
        known = torch.tensor([tables.number(state) for state in states], pin_memory=indices.is_cuda)
        forward.espalier_states = known.to(indices.device, non_blocking=True)
        tables.rows[indices] = forward.espalier_states

    def decode(self, forward: Any, states: Iterable[BranchState | None]) -> None:
        """Before a pass that decodes: SGLang's `ForwardBatch`, and the states of its requests."""
        tables = self._tables
        if tables is None or not any(map(_constrained, states)):
            return
        indices = forward.req_pool_indices
        forward.espalier_states = tables.moves[tables.rows[indices], tables.classes[forward.input_ids]]
        tables.rows[indices] = forward.espalier_states

    def apply(self, forward: Any, logits: torch.Tensor) -> None:
        """Before a step samples: (B, vocabulary) logits, changed in place."""
        own = getattr(forward, "espalier_states", None)
        if own is None or self._tables is None:
            return
        tags = self._tables.tags
        columns = logits.index_select(1, tags).masked_fill_(self._tables.forbidden[own], -torch.inf)
        logits.index_copy_(1, tags, columns)


def _constrained(state: BranchState | None) -> bool:
    return state is not None and state.tree.response.request.constrained
