"""On SGLang, too, a constrained request cannot become malformed; its log-probabilities are those under the mask."""

from __future__ import annotations

import random

import pytest
import torch

from espalier.runtime.constraint import Constraint
from espalier.runtime.grammar import GrammarLimits
from espalier.runtime.layout import layout_of_paths
from espalier.runtime.sglang.protocol import KEY, Summary, parse_path
from espalier.runtime.structure import read
from tests.budget import FULL
from tests.runtime.dense import dense_logprobs
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.sglang.memory import memory_when_idle, watch_memory
from tests.runtime.sglang.requests import CHECKED, IDS, TWO_RANKS, VOCABULARY
from tests.runtime.sglang.server import Server

COUNT = 300 if FULL else 100
OPTIONS = {"max_plans": 3, "max_depth": 2, "max_branch_tokens": 40}
GRAMMAR = GrammarLimits(max_plans=3, max_depth=2)

Asked = list[tuple[list[int], dict[str, object]]]


def asked(count: int, temperature: float, **options: object) -> Asked:
    rng = random.Random(5)
    npr = {**OPTIONS, "constrained": True, **options}
    params = {"temperature": temperature, "max_new_tokens": 220, "custom_params": {KEY: npr}}
    return [([rng.randrange(30, 64) for _ in range(rng.randint(1, 9))], params) for _ in range(count)]


def answers(engine, requests: Asked):
    prompts, params = zip(*requests, strict=True)
    return engine.generate(input_ids=list(prompts), sampling_params=list(params), return_logprob=True)


def reasons(requests: Asked, found) -> dict[str, int]:
    """How the responses ended; those that have ended by themselves are well-formed."""
    counts: dict[str, int] = {}
    for (prompt, params), answer in zip(requests, found, strict=True):
        (summary,) = [Summary.from_json(record) for record in answer["meta_info"][KEY]]
        counts[summary.reason.value] = counts.get(summary.reason.value, 0) + 1
        if summary.reason.value == "stop" and params["custom_params"][KEY]["constrained"]:
            structure = read([*prompt, *answer["output_ids"]], len(prompt), VOCABULARY, GRAMMAR)
            assert structure.well_formed, structure.faults
    return counts


def check(module, prompt: list[int], answer, temperature: float) -> int:
    """Compare with a dense pass under the mask; how many tokens were sampled where it changes their probability.

    SGLang reports the distribution at the temperature unless a server is told otherwise before it starts.
    """
    meta, tokens, changed = answer["meta_info"], answer["output_ids"], 0
    paths = [parse_path(path) for path in meta["npr_paths"]]
    free = dense_logprobs(
        module, [*prompt, *tokens], layout_of_paths(len(prompt), tuple(meta["npr_positions"]), tuple(paths))
    )
    constraint = Constraint.of(VOCABULARY, GRAMMAR)
    for index, state in enumerate(constraint.states(tokens, paths)):
        if meta["npr_forced"][index]:
            continue
        logprobs = (free[len(prompt) + index - 1] / temperature).log_softmax(-1)
        before = float(logprobs[tokens[index]])
        logprobs[list(constraint.forbidden[state])] = -torch.inf
        own = float(logprobs.log_softmax(-1)[tokens[index]])
        assert abs(own - meta["output_token_logprobs"][index][0]) < 1e-4, index
        changed += abs(own - before) > 1e-2
    return changed


@pytest.mark.parametrize(
    ("flags", "temperature"),
    [({}, 1.0), ({"disable_overlap_schedule": True}, 2.0), ({"chunked_prefill_size": 16}, 2.0)],
    ids=["overlap", "no overlap", "chunked prefill"],
)
def test_no_response_is_malformed(model, flags, temperature):
    requests = asked(COUNT, temperature)
    found = Server(model, flags, IDS | CHECKED).run(lambda engine: answers(engine, requests))
    assert reasons(requests, found).keys() == {"stop", "length"}
    module = tiny_qwen3(0)
    pairs = list(zip(requests, found, strict=True))[:12]
    assert sum(check(module, prompt, answer, temperature) for (prompt, _), answer in pairs) > 200


def retract_often() -> None:
    import sglang.srt.managers.scheduler as scheduler

    scheduler.TEST_RETRACT = True
    scheduler.TEST_RETRACT_INTERVAL = 4


def test_branches_that_were_retracted_and_rows_that_change_hands_are_constrained_as_before(model, tmp_path):
    """Constrained and free requests side by side in few rows, with retraction."""
    bound, free = asked(40, 1.5), asked(40, 1.5, constrained=False)
    mixed = [request for pair in zip(bound, free, strict=True) for request in pair]
    path = tmp_path / "memory"

    def job(engine):
        found = answers(engine, mixed)
        engine.flush_cache()
        return found, memory_when_idle(path)

    server = Server(model, {"max_running_requests": 12}, IDS | CHECKED, watch_memory(path, retract_often))
    found, memory = server.run(job)
    assert memory.retracted > 10, memory
    assert memory.clean, memory
    assert reasons(bound, found[::2]).keys() <= {"stop", "length"}
    assert reasons(free, found[1::2])["malformed"] > 20
    module = tiny_qwen3(0)
    pairs = list(zip(bound, found[::2], strict=True))[:10]
    assert sum(check(module, prompt, answer, 1.5) for (prompt, _), answer in pairs) > 100


@pytest.mark.slow
def test_two_ranks_of_tensor_parallelism_mask_alike(model):
    """They would sample different tokens otherwise, and hang."""
    requests = asked(20, 0.0)
    flags, environment = TWO_RANKS
    found = Server(model, flags, IDS | CHECKED | environment).run(lambda engine: answers(engine, requests))
    assert reasons(requests, found).keys() <= {"stop", "length"}
