"""A constrained request cannot become malformed, and its log-probabilities are those of the masked distribution."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import torch

from espalier.runtime.constraint import Constraint
from espalier.runtime.engine import (
    Finished,
    FinishReason,
    GenerateRequest,
    Limits,
    Mode,
    SamplingParams,
    until_last_join,
)
from espalier.runtime.grammar import GrammarLimits, Vocabulary
from espalier.runtime.layout import layout_of_paths
from espalier.runtime.local import Capacity, LocalConfig, LocalEngine
from tests.budget import FULL
from tests.runtime.dense import dense_logprobs
from tests.runtime.local.test_exactness import ROOMY, finish
from tests.runtime.local.tiny import TinyTokenizer, tiny_qwen3

TOKENIZER = TinyTokenizer()
VOCABULARY = Vocabulary.of(TOKENIZER)
LIMITS = Limits(max_tokens=250, max_branch_tokens=40, grammar=GrammarLimits(max_plans=3, max_depth=2))
COUNT = 1000 if FULL else 120


def requests(count: int, sampling: SamplingParams, *, constrained: bool = True) -> list[GenerateRequest]:
    return [
        GenerateRequest(
            str(seed), (40 + seed % 8, 50), replace(sampling, seed=seed), limits=LIMITS, constrained=constrained
        )
        for seed in range(count)
    ]


async def responses(asked: list[GenerateRequest], config: LocalConfig = ROOMY) -> list[Finished]:
    async with LocalEngine.serve(tiny_qwen3(0), TOKENIZER, config) as engine:
        return list(await asyncio.gather(*(finish(engine, request) for request in asked)))


@pytest.mark.parametrize(
    ("sampling", "count"),
    [
        (SamplingParams(), COUNT),
        (SamplingParams(temperature=2.0), COUNT),
        (SamplingParams(temperature=3.0, top_p=0.9, top_k=40, min_p=0.001, repetition_penalty=1.2), COUNT // 4),
    ],
    ids=["temperature 1", "temperature 2", "filters and penalty"],
)
async def test_no_response_is_malformed(sampling, count):
    ends = await responses(requests(count, sampling))
    assert {end.reason for end in ends} == {FinishReason.STOP, FinishReason.LENGTH}
    assert all(end.structure.well_formed for end in ends if end.reason is FinishReason.STOP)


async def test_without_the_constraint_most_of_them_are():
    ends = await responses(requests(40, SamplingParams(), constrained=False))
    assert sum(end.reason is FinishReason.MALFORMED for end in ends) > 20


async def test_the_greedy_choice_is_constrained_too():
    ends = await responses(requests(8, SamplingParams(temperature=0)))
    assert {end.reason for end in ends} <= {FinishReason.STOP, FinishReason.LENGTH}


def check(module, end: Finished) -> int:
    """Compare with a dense pass under the mask; how many tokens were sampled where it changes their probability."""
    rollout, changed = end.rollout, 0
    tokens, start = [*rollout.prompt, *rollout.tokens], len(rollout.prompt)
    free = dense_logprobs(module, tokens, layout_of_paths(start, rollout.positions, rollout.paths))
    constraint = Constraint.of(VOCABULARY, LIMITS.grammar)
    for index, state in enumerate(constraint.states(rollout.tokens, rollout.paths)):
        if rollout.forced[index]:
            continue
        token, logprobs = rollout.tokens[index], free[start + index - 1].clone()
        before = float(logprobs[token])
        logprobs[list(constraint.forbidden[state])] = -torch.inf
        own = float(logprobs.log_softmax(-1)[token])
        assert abs(own - rollout.logprobs[index]) < 1e-4, index
        changed += abs(own - before) > 1e-2
    return changed


@pytest.mark.parametrize(
    "config",
    [
        ROOMY,
        replace(ROOMY, fixed_shapes=True),
        replace(ROOMY, kv_tokens=1200, page_size=4, capacity=Capacity(rows=12, tokens=48)),
    ],
    ids=["roomy", "fixed shapes", "evictions"],
)
async def test_log_probabilities_are_those_of_a_dense_pass_under_the_mask(config):
    ends = await responses(requests(12, SamplingParams(temperature=1.3)), config)
    assert sum(check(tiny_qwen3(0), end) for end in ends) > 200


async def test_a_request_that_rejoins_branches_is_constrained_behind_them():
    async with LocalEngine.serve(tiny_qwen3(0), TOKENIZER, ROOMY) as engine:
        asked = requests(30, SamplingParams())
        ends = await asyncio.gather(*(finish(engine, request) for request in asked))
        again = [
            replace(request, request_id=f"again {request.request_id}", given=given)
            for request, end in zip(asked, ends, strict=True)
            if (given := until_last_join(end.rollout)) is not None
        ]
        more = await asyncio.gather(*(finish(engine, request) for request in again))
    assert more
    assert {end.reason for end in more} <= {FinishReason.STOP, FinishReason.LENGTH}


async def test_sequential_requests_are_served_beside_constrained_ones():
    plain = GenerateRequest("plain", (50,), SamplingParams(seed=1), limits=Limits(20), mode=Mode.SEQUENTIAL)
    async with LocalEngine.serve(tiny_qwen3(0), TOKENIZER, ROOMY) as engine:
        alone = await finish(engine, plain)
        asked = [*requests(4, SamplingParams()), plain]
        ends = await asyncio.gather(*(finish(engine, request) for request in asked))
    assert ends[-1].rollout.tokens == alone.rollout.tokens
