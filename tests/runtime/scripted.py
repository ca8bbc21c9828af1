"""Scripted structure: tags stand where a script puts them, every other token is the model's own choice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from espalier.runtime.grammar import Tag, Vocabulary
from espalier.runtime.layout import Path
from espalier.runtime.local.sampler import DefaultSampler, SamplingInput

Script = dict[Path, tuple[int | None, ...]]
"""Per branch what it samples, in order: a tag's id, or None for a free token."""


@dataclass(frozen=True)
class Shape:
    """How large random trees get."""

    blocks: tuple[int, int] = (1, 3)
    plans: tuple[int, int] = (1, 8)
    text: tuple[int, int] = (0, 12)
    depth: int = 2
    nesting: float = 0.15


def random_script(rng: random.Random, vocabulary: Vocabulary, shape: Shape = Shape()) -> Script:
    script: Script = {}

    def text(least: int = 0) -> list[int | None]:
        return [None] * max(least, rng.randint(*shape.text))

    def tag(which: Tag) -> int:
        return vocabulary.id_of(which)

    def block(path: Path, number: int, depth: int, small: bool) -> list[int | None]:
        plans = rng.randint(shape.plans[0], min(3, shape.plans[1]) if small else shape.plans[1])
        for index in range(1, plans + 1):
            step: Path = (*path, (number, index))
            own = text()
            if depth < shape.depth and rng.random() < shape.nesting:
                own += block(step, 0, depth + 1, small=True) + text()
            script[step] = (*own, tag(Tag.END_STEP))
        written = [item for _ in range(plans) for item in (tag(Tag.PLAN), *text(1), tag(Tag.END_PLAN))]
        guideline = [tag(Tag.GUIDELINE), *written, tag(Tag.END_GUIDELINE)]
        return [*guideline, *text(), tag(Tag.END_TAKEAWAY)]

    root = text()
    for number in range(rng.randint(*shape.blocks)):
        root += [*block((), number, 1, small=False), *text(1)]
    script[()] = (*root, tag(Tag.END_OF_TURN))
    return script


@dataclass
class ScriptedSampler:
    """Follows scripts by request id; free tokens are drawn by the default sampler, tags excluded."""

    vocabulary: Vocabulary
    scripts: dict[str, Script]
    _done: dict[tuple[str, Path], int] = field(default_factory=dict)

    def sample(self, inputs: Sequence[SamplingInput], logits: torch.Tensor) -> tuple[list[int], list[float]]:
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        masked = logits.clone()
        masked[:, list(self.vocabulary.tags)] = -torch.inf
        tokens, _ = DefaultSampler().sample(inputs, masked)
        for row, draw in enumerate(inputs):
            script = self.scripts.get(draw.request_id)
            if script is None:
                continue
            done = self._done.get((draw.request_id, draw.path), 0)
            wish = script[draw.path][done]
            self._done[draw.request_id, draw.path] = done + 1
            tokens[row] = tokens[row] if wish is None else wish
        return tokens, [float(logprobs[row, token]) for row, token in enumerate(tokens)]
