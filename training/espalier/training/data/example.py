"""A training example: a prompt and a linearised response as token ids, with what is trained and where it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from espalier.runtime.grammar import EIGHT_TAGS, Tag, Vocabulary
from espalier.runtime.layout import Layout, LayoutBuilder, layout_of
from espalier.runtime.structure import Response, read
from espalier.training.config import Form
from espalier.training.data.tokenizer import END, prompt_text
from espalier.training.traces import Block, Demonstration

_TAG = re.compile("|".join(map(re.escape, EIGHT_TAGS)))


@dataclass(frozen=True, slots=True)
class RolloutTokens:
    """What reinforcement learning knows of n tokens.

    Attributes:
        logprobs: (n,) as the engine reported them when it sampled; 0 where it did not.
        advantages: (n,)
        kinds: (n,) the :class:`espalier.training.rl.credit.TokenKind` of each token; 0 in the prompt.
    """

    logprobs: npt.NDArray[np.float32]
    advantages: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int8]

    @classmethod
    def none(cls, length: int) -> RolloutTokens:
        """Tokens that no engine sampled."""
        floats = np.zeros((2, length), dtype=np.float32)
        return cls(floats[0], floats[1], np.zeros(length, dtype=np.int8))


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence of n tokens.

    Attributes:
        tokens: (n,) ids of prompt and response.
        trained: (n,) whether the token is predicted: sampled tokens of the response, so neither the prompt nor the
            forced openings nor a step that was spoilt on purpose.
        layout: Positions and visibility.
        rollout: What reinforcement learning needs to know of each token; None in supervised training.
    """

    tokens: npt.NDArray[np.int32]
    trained: npt.NDArray[np.bool_]
    layout: Layout
    rollout: RolloutTokens | None = None


def _block_text(block: Block) -> str:
    plans = "".join(f"{Tag.PLAN}{i}:{b.plan}{Tag.END_PLAN}\n" for i, b in enumerate(block.branches, start=1))
    steps = "".join(f"\n{Tag.STEP}\n{i}:{b.work}{Tag.END_STEP}" for i, b in enumerate(block.branches, start=1))
    guideline = f"{Tag.GUIDELINE}\n{plans}{Tag.END_GUIDELINE}"
    return f"{guideline}{steps}{Tag.TAKEAWAY}\n{block.takeaway}{Tag.END_TAKEAWAY}"


def response_text(trace: Demonstration) -> str:
    """The linearised response of a trace."""
    return "\n".join([*map(_block_text, trace.blocks), f"{trace.closing}{END}"])


def plain_text(trace: Demonstration) -> str:
    """The trace as an ordinary chain of thought, without tags: what fails is tried first, then what works.

    Of several branches that come to the same end only the first is written, and none that is at odds with it.
    """
    lines: list[str] = []
    for block in trace.blocks:
        results = [branch.result for branch in block.branches if branch.result is not None]
        best = max(results, key=results.count, default=None)
        for branch in block.branches:
            if branch.trained and branch.result in (None, best):
                lines.append(f"{branch.plan.strip()}:{branch.work}")
                if branch.result is not None:
                    break
    return "\n".join([*lines, f"{trace.closing}{END}"])


def without_a_tag(text: str, rng: Random) -> str:
    """A tagged response with one of its tags missing: how a model writes that has seen tags, but not often."""
    tags = [match.span() for match in _TAG.finditer(text)]
    start, end = rng.choice(tags)
    return text[:start] + text[end:]


def forced_mask(response: Response, length: int, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """(length,) the tokens an engine forces: the openings of steps and takeaways."""
    forced = np.zeros(length, dtype=np.bool_)
    for block in response.blocks:
        for number, step in enumerate(block.steps, start=1):
            forced[step.start : step.start + len(vocabulary.step_opening(number))] = True
        forced[block.takeaway.start : block.takeaway.start + len(vocabulary.takeaway_opening())] = True
    return forced


def encode(question: str, trace: Demonstration, tokenizer: Tokenizer, vocabulary: Vocabulary) -> Example:
    """Turn a question and its trace into an example.

    Raises:
        ValueError: the response is not well-formed; the message names the fault and its place.
    """
    prompt: list[int] = tokenizer.encode(prompt_text(question), add_special_tokens=False).ids
    tokens: list[int] = prompt + tokenizer.encode(response_text(trace), add_special_tokens=False).ids
    response = read(tokens, len(prompt), vocabulary)
    if response.faults:
        raise ValueError(f"malformed trace: {response.faults[0]}")
    trained = ~forced_mask(response, len(tokens), vocabulary)
    trained[: len(prompt)] = False
    for block, spans in zip(trace.blocks, response.blocks, strict=True):
        for branch, step in zip(block.branches, spans.steps, strict=True):
            if not branch.trained:
                trained[step.start : step.end] = False
    return Example(np.array(tokens, dtype=np.int32), trained, layout_of(response, len(tokens)))


def encode_plain(question: str, text: str, tokenizer: Tokenizer) -> Example:
    """A question and a response that is decoded one token after the other: causal, every token of it trained."""
    prompt: list[int] = tokenizer.encode(prompt_text(question), add_special_tokens=False).ids
    tokens: list[int] = prompt + tokenizer.encode(text, add_special_tokens=False).ids
    trained = np.arange(len(tokens)) >= len(prompt)
    return Example(np.array(tokens, dtype=np.int32), trained, sequential_layout(len(tokens)))


_FORCED = re.compile(rf"(\n{re.escape(Tag.STEP)}\n\d+:|{re.escape(Tag.TAKEAWAY)}\n)")


def response_tokens(text: str, tokenizer: Any) -> list[int]:
    """Token ids of a response, tags as tags. What an engine forces is encoded on its own, as the engine encodes it."""
    return [
        token for piece in _FORCED.split(text) if piece for token in tokenizer.encode(piece, add_special_tokens=False)
    ]


def response_example(prompt: Sequence[int], response: Sequence[int], form: Form, vocabulary: Vocabulary) -> Example:
    """A prompt and a response that was decoded sequentially, or written, as a training sequence.

    In the parallel form it is laid out as fork and join decode it, and the openings of steps and takeaways are not
    trained, since an engine forces them. In the sequential form every token of the response is trained, and so it is in
    a response without blocks.
    """
    tokens = np.array((*prompt, *response), dtype=np.int32)
    trained = np.arange(len(tokens)) >= len(prompt)
    if form is Form.SEQUENTIAL:
        return Example(tokens, trained, sequential_layout(len(tokens)))
    structure = read(tokens.tolist(), len(prompt), vocabulary)
    trained &= ~forced_mask(structure, len(tokens), vocabulary)
    return Example(tokens, trained, layout_of(structure, len(tokens)))


def sequential_layout(length: int) -> Layout:
    """The layout of a sequence that was decoded one token after the other."""
    builder = LayoutBuilder()
    builder.text(length)
    return builder.layout()
