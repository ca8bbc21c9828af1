"""Draw the next token of every branch in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import torch

from espalier.runtime.engine import SamplingParams
from espalier.runtime.layout import Path


@dataclass(slots=True)
class SamplingInput:
    """One branch that needs a token.

    Attributes:
        request_id, path, index: Whose token it is; `index` counts the tokens of the branch.
        params: How to draw it.
        own: The branch's tokens so far, for the repetition penalty.
        noise: The branch's own source of randomness, so that a seeded request does not depend on the rest of its batch.
    """

    request_id: str
    path: Path
    index: int
    params: SamplingParams
    own: Sequence[int]
    noise: np.random.Generator


class Sampler(Protocol):
    """Chooses tokens from logits."""

    def sample(self, inputs: Sequence[SamplingInput], logits: torch.Tensor) -> tuple[list[int], list[float]]:
        """Choose one token per branch.

        Args:
            inputs: B branches.
            logits: (B, vocabulary), without what is forbidden.

        Returns:
            Tokens, and the log-probability of each under the unmodified logits.
        """
        ...


@torch.inference_mode()
def forbid(forbidden: Sequence[Sequence[int]], logits: torch.Tensor) -> None:
    """Leave these tokens no probability, by row of (B, vocabulary) logits, which are changed in place."""
    tokens = np.fromiter(chain.from_iterable(forbidden), np.int64)
    if len(tokens):
        rows = np.repeat(np.arange(len(forbidden)), [len(each) for each in forbidden])
        places = torch.from_numpy(np.stack([rows, tokens])).to(logits.device)
        logits[places[0], places[1]] = -torch.inf


class DefaultSampler:
    """Temperature, top-k, top-p, min-p and repetition penalty, by inverting the cumulative distribution."""

    def sample(self, inputs: Sequence[SamplingInput], logits: torch.Tensor) -> tuple[list[int], list[float]]:
        logits = logits.float()
        logprobs = torch.log_softmax(logits, dim=-1)
        if any(one.params.repetition_penalty != 1 for one in inputs):
            logits = _penalise(inputs, logits)
        warm = [row for row, one in enumerate(inputs) if one.params.temperature > 0]
        if len(warm) == len(inputs):
            chosen = _draw(inputs, logits)
        else:
            chosen = logits.argmax(dim=-1)
            if warm:
                rows = torch.tensor(warm, device=logits.device)
                chosen[rows] = _draw([inputs[row] for row in warm], logits[rows])
        likely = logprobs.gather(1, chosen[:, None])[:, 0]
        # Both numbers are exact in float64, so that one transfer brings them home.
        tokens, values = torch.stack((chosen.double(), likely.double())).tolist()
        return list(map(int, tokens)), values


def _penalise(inputs: Sequence[SamplingInput], logits: torch.Tensor) -> torch.Tensor:
    logits = logits.clone()
    for row, one in enumerate(inputs):
        penalty = one.params.repetition_penalty
        if penalty != 1 and one.own:
            seen = torch.tensor(sorted(set(one.own)), device=logits.device)
            old = logits[row, seen]
            logits[row, seen] = torch.where(old > 0, old / penalty, old * penalty)
    return logits


def _draw(inputs: Sequence[SamplingInput], logits: torch.Tensor) -> torch.Tensor:
    """(B,) tokens; B branches with a temperature above 0."""
    params = [one.params for one in inputs]
    settings = [
        [each.temperature for each in params],
        [each.top_k or logits.shape[-1] for each in params],
        [each.top_p for each in params],
        [each.min_p for each in params],
        [one.noise.random() for one in inputs],
    ]
    columns = torch.tensor(settings, dtype=torch.float64).to(logits.device)[:, :, None]
    temperature, top_k, top_p, min_p, noise = columns
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if any(each.top_k or each.top_p < 1 for each in params):
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        keep = torch.arange(logits.shape[-1], device=logits.device) < top_k
        kept_mass = (ordered * keep).sum(-1, keepdim=True)
        keep &= before < top_p * kept_mass
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered * keep)
    if any(each.min_p for each in params):
        floor = min_p * probabilities.amax(-1, keepdim=True)
        probabilities = torch.where(probabilities >= floor, probabilities, 0.0)
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    # The first token whose cumulative mass exceeds the point, which stays below the total: never a token of mass 0.
    point = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, point, right=True)[:, 0]
