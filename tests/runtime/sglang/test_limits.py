"""Where a response ends at the latest, what a limit forces, and how steps are sampled."""

from __future__ import annotations

import pytest
import torch
from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor

from espalier.runtime.engine import FinishReason
from espalier.runtime.grammar import Tag
from espalier.runtime.layout import layout
from espalier.runtime.sglang.protocol import Summary
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Shape
from tests.runtime.sglang.memory import memory_when_idle, watch_memory
from tests.runtime.sglang.requests import CHECKED, IDS, VOCABULARY, Case, cases, check
from tests.runtime.sglang.scripts import follow_scripts
from tests.runtime.sglang.server import Server

TAG = VOCABULARY.id_of
PROMPT = [40, 41, 42, 43]


def plan(*content):
    return [TAG(Tag.PLAN), *content, TAG(Tag.END_PLAN)]


def block(plans):
    return [TAG(Tag.GUIDELINE), *(token for _ in range(plans) for token in plan(None)), TAG(Tag.END_GUIDELINE)]


def after(text=1):
    return [None, TAG(Tag.END_TAKEAWAY), *[None] * text]


CLOSE, END = TAG(Tag.END_STEP), TAG(Tag.END_OF_TURN)
CUT = Case(
    PROMPT,
    {
        (): (None, *block(3), *after(), END),
        ((0, 1),): tuple([None] * 7 + [CLOSE]),  # 12 tokens with its opening, then the limit closes it
        ((0, 2),): (None, CLOSE),
        ((0, 3),): tuple([None] * 7 + [CLOSE]),
    },
)
CUT_TAKEAWAY = Case(
    PROMPT,
    {
        (): (*block(2), *after(), END),
        ((0, 1),): (*block(2), None, TAG(Tag.END_TAKEAWAY), CLOSE),  # both forced: the block inside is too long
        ((0, 1), (0, 1)): tuple([None] * 9 + [CLOSE]),
        ((0, 1), (0, 2)): tuple([None] * 3 + [CLOSE]),
        ((0, 2),): (None, CLOSE),
    },
)
LONG = cases(50, 1, Shape(blocks=(1, 1), plans=(4, 4), text=(6, 6), nesting=0))[0]


def hash_32(seed, positions, columns):
    """(n, m) 32-bit hashes of n seeds and positions and m columns: multiplications and shifts, twice."""
    value = (seed.to(torch.int64) * 1_000_003 + positions.to(torch.int64))[:, None] * 8191 + columns[None, :]
    for factor in (0x45D9F3B, 0x119DE1F3):
        value = ((value ^ (value >> 16)) * factor) & 0xFFFFFFFF
    return value ^ (value >> 16)


def follow_scripts_deterministically() -> None:
    """Let SGLang sample by seed on the CPU: its list leaves this attention out, its kernels that give the same bits in
    any batch are for GPUs, and so is the hash behind its noise, for which another one stands in."""
    from sglang.srt.layers import sampler
    from sglang.srt.model_executor.model_runner import ModelRunner
    from sglang.srt.server_args import DETERMINISTIC_ATTENTION_BACKEND_CHOICES

    follow_scripts()
    ModelRunner.maybe_enable_batch_invariant_mode = lambda _: None
    sampler.murmur_hash32 = hash_32
    DETERMINISTIC_ATTENTION_BACKEND_CHOICES.append("torch_native")


def answers_of(model, tmp_path, requests, prepare=follow_scripts, **flags):
    """Answers to (case, parameters); nothing may be left afterwards."""
    path = tmp_path / "memory"

    def job(engine):
        made = engine.generate(
            input_ids=[case.prompt for case, _ in requests],
            sampling_params=[case.params(**more) for case, more in requests],
            return_logprob=True,
        )
        engine.flush_cache()
        return made, memory_when_idle(path)

    made, memory = Server(model, flags, IDS | CHECKED, watch_memory(path, prepare)).run(job)
    assert memory.clean, memory
    return made


@pytest.mark.parametrize("flags", [{}, {"disable_overlap_schedule": True}], ids=["overlap", "no overlap"])
def test_a_step_at_its_limit_is_closed_and_the_rest_stays_exact(model, tmp_path, flags):
    requests = [(CUT, {"npr": {"max_branch_tokens": 12}}), (CUT_TAKEAWAY, {"npr": {"max_branch_tokens": 25}})] * 3
    module = tiny_qwen3(0)
    for (case, _), answer in zip(requests, answers_of(model, tmp_path, requests, **flags), strict=True):
        check(module, case, answer)
        forced = [
            token
            for token, mark in zip(answer["output_ids"], answer["meta_info"]["npr_forced"], strict=True)
            if mark and token in (CLOSE, TAG(Tag.END_TAKEAWAY))
        ]
        assert forced == ([CLOSE, CLOSE] if case is CUT else [TAG(Tag.END_TAKEAWAY), CLOSE])


def test_a_response_ends_at_its_limits_wherever_it_is(model, tmp_path):
    whole = sum(map(len, LONG.script.values())) + 4 * 5 + 2
    limits = [{"max_new_tokens": count} for count in (1, 9, 30, 34, 47, whole - 1)]
    limits += [{"npr": {"max_critical_path": count}} for count in (5, 30, 37)]
    limits += [{"npr": {"min_fork_tokens": 1000}}, {"npr": {"max_plans": 3}}]
    requests = [(LONG, more) for more in limits]
    summaries = []
    for (case, more), answer in zip(requests, answers_of(model, tmp_path, requests), strict=True):
        summary = Summary.from_json(answer["meta_info"]["npr"][0])
        summaries.append(summary)
        tokens, start = list(answer["output_ids"]), len(case.prompt)
        found = layout(case.prompt + tokens, start, VOCABULARY)
        if summary.forks == summary.joins:  # text alone does not tell where a step that was cut off ends
            assert answer["meta_info"]["npr_positions"] == found.positions[start:].tolist()
        assert len(answer["meta_info"]["output_token_logprobs"]) == len(tokens)
        assert summary.sampled_tokens + summary.forced_tokens == len(tokens)
        if "max_new_tokens" in more:
            assert more["max_new_tokens"] <= len(tokens) < more["max_new_tokens"] + 4 * 5
        elif "max_critical_path" in more["npr"]:
            assert summary.critical_path_tokens >= more["npr"]["max_critical_path"]
    assert [summary.reason for summary in summaries] == [FinishReason.LENGTH] * 10 + [FinishReason.MALFORMED]
    assert "max_new_tokens" not in summaries[0].detail
    assert "min_fork_tokens 1000" in summaries[9].detail
    assert "4 plans, at most 3 allowed" in summaries[10].detail


def test_a_malformed_step_ends_the_response(model, tmp_path):
    script = {**CUT.script, ((0, 2),): (None, TAG(Tag.END_PLAN), CLOSE)}
    (answer,) = answers_of(model, tmp_path, [(Case(PROMPT, script), {})])
    summary = Summary.from_json(answer["meta_info"]["npr"][0])
    assert summary.reason is FinishReason.MALFORMED
    assert "step 2 of block 1" in summary.detail
    assert answer["meta_info"]["finish_reason"]["type"] == "stop"


def test_a_stop_token_ends_a_response_outside_of_blocks_only(model, tmp_path):
    free = Case(PROMPT, {(): (*[None] * 30, END)})
    (plain,) = answers_of(model, tmp_path, [(free, {})])
    stop = plain["output_ids"][4]
    in_step = next(token for token in range(31, 64))
    (stopped, not_stopped) = answers_of(
        model, tmp_path, [(free, {"stop_token_ids": [stop]}), (CUT, {"stop_token_ids": list(range(31, 64))})]
    )
    assert stopped["output_ids"] == plain["output_ids"][: plain["output_ids"].index(stop) + 1]
    assert in_step and len(not_stopped["output_ids"]) == 1  # the very first token already ends this one


def test_siblings_draw_different_noise_and_a_seed_repeats_a_request(model, tmp_path):
    twins = Case(
        PROMPT,
        {
            (): (*block(3), *after(), END),
            **{((0, number),): tuple([None] * 12 + [CLOSE]) for number in (1, 2, 3)},
        },
    )
    seeded = {"temperature": 1.0, "sampling_seed": 5}
    requests = [(twins, seeded), (twins, seeded), (twins, {**seeded, "sampling_seed": 6}), (twins, {"temperature": 1})]
    flags = {"enable_deterministic_inference": True, "random_seed": 7}
    made = answers_of(model, tmp_path, requests, follow_scripts_deterministically, **flags)
    first, again, other, unseeded = (list(answer["output_ids"]) for answer in made)
    assert first == again != other
    opening = VOCABULARY.step_opening(1)
    for output in (first, other, unseeded):
        starts = [index for index, token in enumerate(output) if token == opening[1]]
        assert len({tuple(output[start + 4 : start + 16]) for start in starts}) == 3


def test_steps_are_sampled_as_their_options_say(model, tmp_path):
    hot = {"temperature": 1.5, "npr": {"step_temperature": 0}}
    requests = [(CUT, {"npr": {"step_temperature": 0}}), (CUT, hot)]
    module = tiny_qwen3(0)
    greedy, mixed = answers_of(model, tmp_path, requests)
    check(module, CUT, greedy)
    with pytest.raises(AssertionError):
        check(module, CUT, mixed)


class Ban(CustomLogitProcessor):
    """Forbids the tokens that a request names."""

    def __call__(self, logits, custom_param_list=None):
        for row, params in enumerate(custom_param_list):
            logits[row, params["ban"]] = -torch.inf
        return logits


def test_a_logit_processor_works_inside_of_steps_too(model):
    free = [token for token in range(30, 64) if token % 2]

    def job(engine):
        params = LONG.params()
        params["custom_params"]["ban"] = free
        return engine.generate(
            input_ids=[LONG.prompt],
            sampling_params=[params],
            return_logprob=True,
            custom_logit_processor=[Ban.to_str()],
        )

    (answer,) = Server(model, {"enable_custom_logit_processor": True}, IDS | CHECKED, follow_scripts).run(job)
    assert answer["meta_info"]["npr"][0]["reason"] == "stop"
    marks = zip(answer["output_ids"], answer["meta_info"]["npr_paths"], answer["meta_info"]["npr_forced"], strict=True)
    inside = [token for token, path, forced in marks if path and not forced]
    assert len(inside) >= 4 * 6
    assert not set(answer["output_ids"]) & set(free)
