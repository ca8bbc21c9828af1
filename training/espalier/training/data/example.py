"""A training example: a prompt and a linearised response as token ids, with what is trained and where it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from espalier.runtime.constraint import FREE
from espalier.runtime.grammar import Tag, Vocabulary
from espalier.runtime.layout import Layout, LayoutBuilder, layout_of
from espalier.runtime.structure import Structure, read
from espalier.training.config import Form


@dataclass(frozen=True, slots=True)
class RolloutTokens:
    """What reinforcement learning knows of n tokens.

    Attributes:
        logprobs: (n,) as the engine reported them when it sampled; 0 where it did not.
        advantages: (n,)
        kinds: (n,) the :class:`espalier.training.rl.credit.TokenKind` of each token; 0 in the prompt.
        states: (n,) under which state of its :class:`espalier.runtime.constraint.Constraint` each token was drawn;
            `FREE` in what was not constrained.
    """

    logprobs: npt.NDArray[np.float32]
    advantages: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int8]
    states: npt.NDArray[np.int16]

    @classmethod
    def none(cls, length: int) -> RolloutTokens:
        """Tokens that no engine sampled."""
        floats = np.zeros((2, length), dtype=np.float32)
        return cls(floats[0], floats[1], np.zeros(length, dtype=np.int8), np.full(length, FREE, dtype=np.int16))


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One sequence of n tokens.

    Attributes:
        tokens: (n,) ids of prompt and response.
        trained: (n,) whether the token is predicted: sampled tokens of the response, so neither the prompt nor the
            forced openings nor a step that was corrupted on purpose.
        layout: Positions and visibility.
        rollout: What reinforcement learning needs to know of each token; None in supervised training.
    """

    tokens: npt.NDArray[np.int32]
    trained: npt.NDArray[np.bool_]
    layout: Layout
    rollout: RolloutTokens | None = None


def forced_mask(structure: Structure, length: int, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """(length,) the tokens an engine forces: the openings of steps and takeaways."""
    forced = np.zeros(length, dtype=np.bool_)
    for block in structure.blocks:
        for number, step in enumerate(block.steps, start=1):
            forced[step.start : step.start + len(vocabulary.step_opening(number))] = True
        forced[block.takeaway.start : block.takeaway.start + len(vocabulary.takeaway_opening())] = True
    return forced


_FORCED = re.compile(rf"(\n{re.escape(Tag.STEP)}\n\d+:|{re.escape(Tag.TAKEAWAY)}\n)")


def response_tokens(text: str, tokenizer: Any) -> list[int]:
    """Token ids of a response, tags as tags. What an engine forces is encoded on its own, as the engine encodes it."""
    return [
        token for piece in _FORCED.split(text) if piece for token in tokenizer.encode(piece, add_special_tokens=False)
    ]


def response_example(
    prompt: Sequence[int], response: Sequence[int], form: Form, vocabulary: Vocabulary
) -> TrainingExample:
    """A prompt and a response that was decoded sequentially, or written, as a training sequence.

    In the parallel form it is laid out as fork and join decode it, and the openings of steps and takeaways are not
    trained, since an engine forces them. In the sequential form every token of the response is trained, and so it is in
    a response without blocks.
    """
    tokens = np.array((*prompt, *response), dtype=np.int32)
    trained = np.arange(len(tokens)) >= len(prompt)
    if form is Form.SEQUENTIAL:
        return TrainingExample(tokens, trained, sequential_layout(len(tokens)))
    structure = read(tokens.tolist(), len(prompt), vocabulary)
    trained &= ~forced_mask(structure, len(tokens), vocabulary)
    return TrainingExample(tokens, trained, layout_of(structure, len(tokens)))


def sequential_layout(length: int) -> Layout:
    """The layout of a sequence that was decoded one token after the other."""
    builder = LayoutBuilder()
    builder.text(length)
    return builder.layout()
