"""Requests that do not ask for native parallel reasoning are served as without the plugin, to the bit."""

from __future__ import annotations

import random

from tests.runtime.scripted import Shape
from tests.runtime.sglang.requests import IDS, cases
from tests.runtime.sglang.scripts import follow_scripts
from tests.runtime.sglang.server import Server

VARYING = {"id", "e2e_latency", "num_retractions", "cached_tokens", "cached_tokens_details", "weight_version"}
VARYING |= {"response_sent_to_client_ts", "request_sent_to_scheduler_ts", "decode_throughput"}


def stock_requests():
    rng = random.Random(40)
    prompts = [[rng.randrange(0, 64) for _ in range(rng.randint(2, 30))] for _ in range(16)]
    choices = [
        {"temperature": 0, "ignore_eos": True},
        {"temperature": 0, "stop_token_ids": [40, 41, 42]},
        {"temperature": 0, "custom_params": {"npr": False}},
    ]
    return prompts, [{"max_new_tokens": 40, **rng.choice(choices)} for _ in prompts]


def answers(engine, beside=()):
    prompts, params = stock_requests()
    made = engine.generate(
        input_ids=[*prompts, *(case.prompt for case in beside)],
        sampling_params=[*params, *(case.params() for case in beside)],
        return_logprob=True,
    )
    return [
        (
            answer["output_ids"],
            {key: value for key, value in answer["meta_info"].items() if key not in VARYING},
        )
        for answer in made[: len(prompts)]
    ]


def test_stock_requests_among_parallel_ones_equal_those_of_a_server_without_the_plugin(model):
    beside = cases(41, 10, Shape(blocks=(1, 2), plans=(2, 4), text=(1, 6)))
    bare = Server(model, {}, {"SGLANG_PLUGINS": "none"}).run(answers)
    alone = Server(model, {}, IDS).run(answers)
    mixed = Server(model, {}, IDS, follow_scripts).run(lambda engine: answers(engine, beside))
    assert alone == bare
    assert [tokens for tokens, _ in mixed] == [tokens for tokens, _ in bare]
    for (_, meta), (_, expected) in zip(mixed, bare, strict=True):
        assert meta.keys() == expected.keys()
        close = zip(meta.pop("output_token_logprobs"), expected.pop("output_token_logprobs"), strict=True)
        assert all(abs(found[0] - wanted[0]) < 1e-5 for found, wanted in close)  # other batches, other rounding
        assert meta == expected
