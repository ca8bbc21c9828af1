"""On SGLang, too, fork/join decoding equals one dense forward pass over the linearised sequence."""

from __future__ import annotations

import pytest
import torch

from espalier.runtime.layout import layout
from tests.budget import FULL
from tests.runtime.dense import dense_logprobs
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.sglang.requests import CHECKED, IDS, VOCABULARY, cases, check, generate
from tests.runtime.sglang.scripts import follow_scripts
from tests.runtime.sglang.server import Server


@pytest.mark.parametrize(
    ("seed", "flags"),
    [(1, {}), (2, {"disable_overlap_schedule": True}), (3, {"chunked_prefill_size": 16})],
    ids=["overlap", "no overlap", "chunked prefill"],
)
def test_every_greedy_token_equals_the_dense_pass(model, seed, flags):
    requests = cases(seed, 70 if FULL else 15)
    answers = Server(model, flags, IDS | CHECKED, follow_scripts).run(lambda engine: generate(engine, requests))
    module = tiny_qwen3(0)
    chosen = sum(check(module, case, answer) for case, answer in zip(requests, answers, strict=True))
    assert chosen > 70 * len(requests)


def test_a_plain_causal_pass_would_be_wrong(model):
    """The comparison can fail: without the block mask the same answers disagree with the dense pass."""
    requests = cases(4, 6)
    answers = Server(model, {}, IDS, follow_scripts).run(lambda engine: generate(engine, requests))
    module, wrong = tiny_qwen3(0), 0
    for case, answer in zip(requests, answers, strict=True):
        whole = case.prompt + list(answer["output_ids"])
        logprobs = dense_logprobs(module, whole, layout(whole, len(whole), VOCABULARY))
        logprobs[:, list(VOCABULARY.tags)] = -torch.inf
        chosen = logprobs.argmax(-1)
        for index, (token, forced) in enumerate(
            zip(answer["output_ids"], answer["meta_info"]["npr_forced"], strict=True)
        ):
            if not forced and token not in VOCABULARY.tags:
                wrong += int(chosen[len(case.prompt) + index - 1]) != token
    assert wrong > 100
