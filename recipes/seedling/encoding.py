"""From traces to text, and to training examples."""

from __future__ import annotations

import re
from random import Random

import numpy as np
from tokenizers import Tokenizer

from espalier.runtime.grammar import EIGHT_TAGS, Tag, Vocabulary
from espalier.runtime.layout import layout_of
from espalier.runtime.structure import read
from espalier.training.data.example import TrainingExample, forced_mask, sequential_layout
from recipes.seedling.tokenizer import END, prompt_text
from recipes.seedling.traces.trace import Demonstration, TraceBlock

_TAG = re.compile("|".join(map(re.escape, EIGHT_TAGS)))


def _block_text(block: TraceBlock) -> str:
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


def encode(question: str, trace: Demonstration, tokenizer: Tokenizer, vocabulary: Vocabulary) -> TrainingExample:
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
    return TrainingExample(np.array(tokens, dtype=np.int32), trained, layout_of(response, len(tokens)))


def encode_plain(question: str, text: str, tokenizer: Tokenizer) -> TrainingExample:
    """A question and a response that is decoded one token after the other: causal, every token of it trained."""
    prompt: list[int] = tokenizer.encode(prompt_text(question), add_special_tokens=False).ids
    tokens: list[int] = prompt + tokenizer.encode(text, add_special_tokens=False).ids
    trained = np.arange(len(tokens)) >= len(prompt)
    return TrainingExample(np.array(tokens, dtype=np.int32), trained, sequential_layout(len(tokens)))
