from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from espalier.runtime.engine import (
    BranchClosed,
    BranchOpened,
    EngineUnavailable,
    Finished,
    FinishReason,
    GenerateRequest,
    Joined,
    Limits,
    Mode,
    RequestRefused,
    SamplingParams,
    Tokens,
)
from espalier.runtime.grammar import GrammarLimits, Tag, Vocabulary
from espalier.runtime.local import Capacity, LocalConfig, LocalEngine, ModelError
from espalier.runtime.structure import read
from tests.budget import FULL
from tests.runtime.local.tiny import SIZES, TinyTokenizer, tiny_qwen3
from tests.runtime.scripted import Script, ScriptedSampler, Shape, random_script

TOKENIZER = TinyTokenizer()
VOCABULARY = Vocabulary.of(TOKENIZER)
CONFIG = LocalConfig(device="cpu", kv_tokens=1 << 14)
PROMPT = tuple(range(30, 50))
WARM = SamplingParams(temperature=1.0, seed=11)


def tag(which: Tag) -> int:
    return VOCABULARY.id_of(which)


def block(plans: int, takeaway: int = 3) -> list[int | None]:
    written = [item for _ in range(plans) for item in (tag(Tag.PLAN), None, None, tag(Tag.END_PLAN))]
    return [tag(Tag.GUIDELINE), *written, tag(Tag.END_GUIDELINE), *[None] * takeaway, tag(Tag.END_TAKEAWAY)]


def script(lengths: list[int], *, ends: bool = True) -> Script:
    """One block with steps of these lengths (tag included), then two tokens of answer."""
    steps: Script = {((0, i),): (*[None] * (n - 1), tag(Tag.END_STEP)) for i, n in enumerate(lengths, start=1)}
    answer = [None, None, tag(Tag.END_OF_TURN)] if ends else [None] * 10_000
    return {(): (*block(len(lengths)), *answer), **steps}


ENDLESS: Script = {(): (None,) * 100_000}


def engine(scripts: dict[str, Script], config: LocalConfig = CONFIG, context: int = 2048) -> LocalEngine:
    module = tiny_qwen3()
    module.config.max_position_embeddings = context
    return LocalEngine.serve(module, TOKENIZER, config, ScriptedSampler(VOCABULARY, scripts))


async def collect(local: LocalEngine, request: GenerateRequest) -> list:
    return [event async for event in local.generate(request)]


def free(local: LocalEngine) -> bool:
    details = local.info.details
    return details["kv_tokens_free"] == details["kv_tokens"] and not details["running"] and not details["waiting"]


async def until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the engine is another thread)
            await asyncio.sleep(0.01)


async def test_events_tell_the_whole_story_in_order():
    async with engine({"a": script([4, 9, 2])}) as local:
        events = await collect(local, GenerateRequest("a", PROMPT, WARM))
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.STOP
    told = defaultdict(list)
    for event in events:
        if isinstance(event, Tokens):
            told[event.path] += zip(event.tokens, event.logprobs, event.forced, event.positions, strict=True)
    rollout = end.rollout
    for path, items in told.items():
        own = [i for i, other in enumerate(rollout.paths) if other == path]
        columns = (rollout.tokens, rollout.logprobs, rollout.forced, rollout.positions)
        assert items == [tuple(column[i] for column in columns) for i in own]
    paths = [((0, 1),), ((0, 2),), ((0, 3),)]
    assert [event.path for event in events if isinstance(event, BranchOpened)] == paths
    assert {event.path for event in events if isinstance(event, BranchClosed)} == set(paths)
    assert [event.block for event in events if isinstance(event, Joined)] == [0]
    openings = [VOCABULARY.step_opening(i) for i in (1, 2, 3)]
    assert [tuple(item[0] for item in told[path][:5]) for path in paths] == openings
    assert all(len(event.plan) == 2 for event in events if isinstance(event, BranchOpened))


async def test_a_quiet_request_tells_its_end_alone_and_decodes_the_same():
    scripts = {"loud": script([4, 9, 2]), "final_event_only": script([4, 9, 2])}
    async with engine(scripts) as local:
        *_, loud = await collect(local, GenerateRequest("loud", PROMPT, WARM))
        (final_event_only,) = await collect(
            local, GenerateRequest("final_event_only", PROMPT, WARM, final_event_only=True)
        )
    assert final_event_only.rollout == loud.rollout
    assert final_event_only.usage == loud.usage


async def test_usage_counts_sampled_forced_and_critical_path_tokens():
    async with engine({"a": script([4, 9, 2])}) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM)))[-1]
    guideline, opening, takeaway, answer = 14, 5, 2 + 4, 3
    assert end.usage.prompt_tokens == len(PROMPT)
    assert end.usage.forced_tokens == 3 * opening + 2
    assert end.usage.sampled_tokens == guideline + 15 + 4 + answer
    assert end.usage.critical_path_tokens == guideline + opening + 9 + takeaway + answer


async def test_a_fork_and_a_join_cost_no_pass_of_their_own():
    passes = []
    sampler = ScriptedSampler(VOCABULARY, {"a": script([4, 9, 2])})
    original = sampler.sample
    sampler.sample = lambda draws, logits: (passes.append(len(draws)), original(draws, logits))[1]
    async with LocalEngine.serve(tiny_qwen3(), TOKENIZER, CONFIG, sampler) as local:
        await collect(local, GenerateRequest("a", PROMPT, WARM))
    assert len(passes) == 14 + 9 + 4 + 3
    assert max(passes) == 3


async def test_a_seeded_request_does_not_depend_on_its_neighbours():
    scripts = {name: script([5, 7, 3]) for name in ("a", "b", "c", "d")}
    async with engine(scripts) as local:
        alone = (await collect(local, GenerateRequest("a", PROMPT, WARM)))[-1].rollout
        requests = [GenerateRequest(n, PROMPT, SamplingParams(seed=s)) for n, s in (("b", 1), ("c", 11), ("d", 2))]
        crowd = [events[-1].rollout for events in await asyncio.gather(*(collect(local, r) for r in requests))]
    assert crowd[1].tokens == alone.tokens
    assert len({crowd[0].tokens, crowd[1].tokens, crowd[2].tokens}) == 3


async def test_siblings_sample_differently_from_equal_logits():
    same: Script = {
        (): (*block(2), None, tag(Tag.END_OF_TURN)),
        ((0, 1),): (*[None] * 20, tag(Tag.END_STEP)),
        ((0, 2),): (*[None] * 20, tag(Tag.END_STEP)),
    }
    async with engine({"a": same}) as local:
        rollout = (await collect(local, GenerateRequest("a", PROMPT, SamplingParams(temperature=50.0, seed=1))))[
            -1
        ].rollout
    first, second = ([t for t, p in zip(rollout.tokens, rollout.paths, strict=True) if p == ((0, i),)] for i in (1, 2))
    assert first[5:] != second[5:]


async def test_candidates_share_their_prompt():
    scripts = {f"{i}": ENDLESS for i in range(8)}
    long = tuple(30 + i % 30 for i in range(640))
    async with engine(scripts, LocalConfig(device="cpu", kv_tokens=1 << 13)) as local:
        tasks = [asyncio.create_task(collect(local, GenerateRequest(name, long, WARM))) for name in scripts]
        await until(lambda: local.info.details["running"] == 8)
        used = local.info.details["kv_tokens"] - local.info.details["kv_tokens_free"]
        for name in scripts:
            await local.abort(name)
        ends = [(await task)[-1] for task in tasks]
    assert used < 2 * len(long) < 8 * len(long)
    assert {end.reason for end in ends} == {FinishReason.ABORTED}


@pytest.mark.parametrize("stage", ["prompt", "steps", "queue"])
async def test_abort_frees_everything_at_any_stage(stage):
    scripts = {"a": {**script([5000, 5000, 5000]), (): (*block(3), *[None] * 10)}, "b": ENDLESS}
    config = LocalConfig(device="cpu", kv_tokens=1 << 14, capacity=Capacity(requests=1))
    async with engine(scripts, config) as local:
        first = asyncio.create_task(collect(local, GenerateRequest("a", PROMPT, WARM, limits=Limits(10**6))))
        second = asyncio.create_task(collect(local, GenerateRequest("b", PROMPT, WARM, limits=Limits(10**6))))
        await asyncio.sleep(0)
        if stage != "prompt":
            await until(lambda: local.info.details["kv_tokens_free"] < local.info.details["kv_tokens"] - 200)
        if stage == "queue":
            await local.abort("b")
            assert (await second)[-1].reason is FinishReason.ABORTED
        for name in ("a", "b"):
            await local.abort(name)
        end = (await first)[-1]
        await second
        assert end.reason is FinishReason.ABORTED
        assert end.usage.new_tokens == len(end.rollout.tokens)
        await until(lambda: free(local))


async def test_leaving_the_stream_aborts_the_request():
    async with engine({"a": ENDLESS}) as local:
        async for event in local.generate(GenerateRequest("a", PROMPT, WARM, limits=Limits(10**6))):
            if isinstance(event, Tokens):
                break
        await until(lambda: free(local))


async def test_cancelling_the_task_aborts_the_request():
    async with engine({"a": ENDLESS}) as local:
        task = asyncio.create_task(collect(local, GenerateRequest("a", PROMPT, WARM, limits=Limits(10**6))))
        await until(lambda: local.info.details["running"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: free(local))


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        (Limits(max_tokens=20), "max_tokens 20"),
        (Limits(max_critical_path=21), "max_critical_path 21"),
        (Limits(max_tokens=10**6), "context length 300"),
    ],
)
async def test_limits_end_a_response_by_name(limits, detail):
    scripts = {"a": {**script([4000, 4000]), (): (*block(2), *[None] * 10)}}
    async with engine(scripts, context=300) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM, limits=limits)))[-1]
    assert end.reason is FinishReason.LENGTH
    assert detail in end.detail
    assert end.usage.critical_path_tokens == max(end.rollout.positions) + 1 - len(PROMPT)
    if limits.max_critical_path:
        assert end.usage.critical_path_tokens == limits.max_critical_path


async def test_a_step_at_its_limit_is_closed_and_the_response_goes_on():
    scripts = {"a": {**script([4, 500]), (): (*block(2), None, tag(Tag.END_OF_TURN))}}
    async with engine(scripts) as local:
        events = await collect(local, GenerateRequest("a", PROMPT, WARM, limits=Limits(max_branch_tokens=30)))
    end = events[-1]
    assert end.reason is FinishReason.STOP
    cut = {event.path: event.cut for event in events if isinstance(event, BranchClosed)}
    assert cut == {((0, 1),): False, ((0, 2),): True}
    own = [i for i, path in enumerate(end.rollout.paths) if path == ((0, 2),)]
    assert len(own) == 31
    assert end.rollout.forced[own[-1]]
    assert end.rollout.tokens[own[-1]] == tag(Tag.END_STEP)


async def test_a_nested_step_at_its_limit_closes_its_holder_too():
    nested: Script = {
        (): (*block(1), None, tag(Tag.END_OF_TURN)),
        ((0, 1),): (*block(1), *[None] * 500),
        ((0, 1), (0, 1)): (None,) * 500,
    }
    async with engine({"a": nested}) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM, limits=Limits(max_branch_tokens=30))))[-1]
    assert end.reason is FinishReason.STOP


async def test_a_broken_structure_ends_the_response_with_the_fault_named():
    scripts = {"a": {(): (None, tag(Tag.END_PLAN), None)}}
    async with engine(scripts) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM)))[-1]
    assert end.reason is FinishReason.MALFORMED
    assert "unexpected_tag" in end.detail


async def test_stop_tokens_end_a_response_outside_of_blocks():
    async with engine({}) as local:
        stop = frozenset(range(9, 64))
        request = GenerateRequest("a", PROMPT, WARM, mode=Mode.SEQUENTIAL, stop=stop)
        end = (await collect(local, request))[-1]
    assert (end.reason, len(end.rollout.tokens)) == (FinishReason.STOP, 1)


class Untagged(TinyTokenizer):
    """A tokenizer without the tags, whose own end of turn the model never writes."""

    eos_token_id = 63

    def encode(self, text, *, add_special_tokens=False):
        return [30] * len(text)


async def test_a_model_without_tags_stops_at_any_end_of_its_generation_config():
    module = tiny_qwen3()
    module.generation_config.eos_token_id = list(range(9, 64))
    sampler = ScriptedSampler(VOCABULARY, {"a": {(): (30,) * 50}})
    async with LocalEngine.serve(module, Untagged(), CONFIG, sampler) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM, mode=Mode.SEQUENTIAL)))[-1]
        assert local.info.end_of_turn == (63, *range(9, 63))
    assert (end.reason, len(end.rollout.tokens)) == (FinishReason.STOP, 1)


@pytest.mark.parametrize(
    ("ends", "reason", "length"),
    [([1, 0], FinishReason.STOP, 1), ([1], FinishReason.LENGTH, 12), (None, FinishReason.LENGTH, 12)],
)
async def test_a_pretrained_model_without_tags_stops_at_each_end_that_its_files_name(tmp_path, ends, reason, length):
    """A directory like those of Qwen2.5: the tokenizer ends with `<|im_end|>`, the model with `<|endoftext|>`, too."""
    vocabulary = {"<|endoftext|>": 0, "<|im_end|>": 1} | {f"w{i}": i for i in range(2, SIZES["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(vocabulary)))
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.save_pretrained(tmp_path)
    sizes = {name: size for name, size in SIZES.items() if name != "head_dim"}
    module = Qwen2ForCausalLM(Qwen2Config(**sizes, eos_token_id=1))
    with torch.no_grad():
        module.model.norm.weight.zero_()  # all logits are 0, and the greedy choice is token 0
    module.generation_config.eos_token_id = ends
    module.save_pretrained(tmp_path)
    async with LocalEngine.load(tmp_path, CONFIG) as local:
        request = GenerateRequest("a", PROMPT, SamplingParams(temperature=0), limits=Limits(12), mode=Mode.SEQUENTIAL)
        end = (await collect(local, request))[-1]
        assert local.info.end_of_turn == tuple(ends or [1])
        assert not local.info.parallel
    assert (end.reason, end.rollout.tokens) == (reason, (0,) * length)


async def test_a_second_end_of_turn_ends_a_response_well():
    module = tiny_qwen3()
    module.generation_config.eos_token_id = [TOKENIZER.eos_token_id, 40, tag(Tag.END_STEP)]
    steps = script([4, 5], ends=False)
    root = (*steps[()][:-10_000], None, 40)
    sampler = ScriptedSampler(Vocabulary.of(TOKENIZER, end_of_turn=[40]), {"a": {**steps, (): root}})
    async with LocalEngine.serve(module, TOKENIZER, CONFIG, sampler) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM)))[-1]
        vocabulary = Vocabulary.of(TOKENIZER, end_of_turn=local.info.end_of_turn)
    assert end.reason is FinishReason.STOP
    assert end.structure == read((*PROMPT, *end.rollout.tokens), len(PROMPT), vocabulary)
    assert end.structure.well_formed


async def test_sequential_mode_never_forks():
    root = script([4, 9])[()]
    async with engine({"a": {(): root}}) as local:
        events = await collect(local, GenerateRequest("a", PROMPT, WARM, mode=Mode.SEQUENTIAL))
    assert not any(isinstance(event, BranchOpened) for event in events)
    assert events[-1].rollout.positions == tuple(range(20, 20 + len(root)))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GenerateRequest("a", ()), "prompt is empty"),
        (GenerateRequest("a", (30,) * 2048), "prompt has 2048 tokens; the model's context holds 2048"),
        (GenerateRequest("a", (30, 64)), "prompt holds token id 64"),
        (GenerateRequest("a", (30,) * 600), "key-value memory holds 512"),
        (GenerateRequest("a", (30,), limits=Limits(grammar=GrammarLimits(max_plans=99))), "max_plans"),
    ],
)
async def test_impossible_requests_are_refused_with_the_reason(request_, message):
    async with engine({}, LocalConfig(device="cpu", kv_tokens=512)) as local:
        with pytest.raises(RequestRefused, match=message):
            await collect(local, request_)
        assert free(local)


async def test_a_second_request_of_the_same_id_is_refused_and_the_first_lives_on():
    async with engine({"a": script([400, 300])}) as local:
        first = asyncio.create_task(collect(local, GenerateRequest("a", PROMPT, WARM)))
        await until(lambda: local.info.details["running"] == 1)
        with pytest.raises(RequestRefused, match="already running"):
            await collect(local, GenerateRequest("a", PROMPT, WARM))
        assert (await first)[-1].reason is FinishReason.STOP


async def test_a_response_larger_than_memory_ends_by_name():
    async with engine({"a": ENDLESS}, LocalConfig(device="cpu", kv_tokens=128)) as local:
        end = (await collect(local, GenerateRequest("a", PROMPT, WARM, limits=Limits(10**6))))[-1]
        assert end.reason is FinishReason.LENGTH
        assert "memory of 128 tokens exhausted" in end.detail
        assert free(local)


async def test_a_failing_pass_ends_its_requests_and_the_engine_lives_on():
    class Failing(ScriptedSampler):
        def sample(self, draws, logits):
            if any(draw.request_id == "bad" and draw.index > 3 for draw in draws):
                raise MemoryError("no room for logits")
            return super().sample(draws, logits)

    sampler = Failing(VOCABULARY, {"bad": ENDLESS, "good": script([3, 4])})
    async with LocalEngine.serve(tiny_qwen3(), TOKENIZER, CONFIG, sampler) as local:
        end = (await collect(local, GenerateRequest("bad", PROMPT, WARM)))[-1]
        assert end.reason is FinishReason.ERROR
        assert "no room for logits" in end.detail
        assert (await collect(local, GenerateRequest("good", PROMPT, WARM)))[-1].reason is FinishReason.STOP
        assert free(local)


async def test_a_closed_engine_says_so():
    local = engine({"a": ENDLESS})
    task = asyncio.create_task(collect(local, GenerateRequest("a", PROMPT, WARM, limits=Limits(10**6))))
    await until(lambda: local.info.details["running"] == 1)
    await local.close()
    with pytest.raises(EngineUnavailable):
        await task
    with pytest.raises(EngineUnavailable):
        await collect(local, GenerateRequest("b", PROMPT, WARM))
    await local.abort("a")


async def test_new_weights_wait_for_running_requests_and_serve_the_next(tmp_path):
    other = {name: tensor.clone() for name, tensor in tiny_qwen3(9).named_parameters()}
    save_file(other, tmp_path / "model.safetensors")
    request = GenerateRequest("a", PROMPT, SamplingParams(temperature=0), limits=Limits(60))
    scripts = {"a": ENDLESS}
    async with LocalEngine.serve(tiny_qwen3(9), TOKENIZER, CONFIG, ScriptedSampler(VOCABULARY, scripts)) as local:
        expected = (await collect(local, request))[-1].rollout
    for weights in (other, tmp_path):
        async with engine(scripts) as local:
            task = asyncio.create_task(collect(local, request))
            await until(lambda local=local: local.info.details["running"] == 1)
            update = asyncio.create_task(local.update_weights(weights))
            before = (await task)[-1].rollout
            assert await update == 1
            local._sampler._done.clear()
            after = (await collect(local, request))[-1].rollout
            assert (before.weight_version, after.weight_version) == (0, 1)
            assert before.tokens != expected.tokens
            assert after.tokens == expected.tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"strange": torch.zeros(1)}, "'strange', which the model does not have"),
        (lambda w: w | {"model.norm.weight": torch.zeros(3)}, "shape of 'model.norm.weight'"),
        (lambda w: {name: w[name] for name in list(w)[1:]}, "weights lack"),
    ],
)
async def test_weights_that_do_not_fit_change_nothing(change, message):
    weights = {name: torch.zeros_like(tensor) for name, tensor in tiny_qwen3().named_parameters()}
    module = tiny_qwen3()
    before = {name: tensor.clone() for name, tensor in module.named_parameters()}
    async with LocalEngine.serve(module, TOKENIZER, CONFIG) as local:
        with pytest.raises(ModelError, match=message):
            await local.update_weights(change(weights))
        assert local.info.weight_version == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in module.named_parameters())


async def test_random_schedules_with_aborts_end_and_leak_nothing():
    rng = random.Random(4)
    for round_ in range(4 if FULL else 2):
        scripts = {f"{round_}-{i}": random_script(rng, VOCABULARY, Shape(text=(0, 30))) for i in range(12)}
        config = LocalConfig(device="cpu", kv_tokens=rng.choice([800, 1600, 4000]), page_size=rng.choice([1, 4, 16]))
        async with engine(scripts, config) as local:
            tasks = [
                asyncio.create_task(collect(local, GenerateRequest(name, PROMPT, WARM, limits=Limits(10**6))))
                for name in scripts
            ]
            for name in rng.sample(list(scripts), 4):
                await asyncio.sleep(rng.random() * 0.1)
                await local.abort(name)
            ends = [(await asyncio.wait_for(task, 60))[-1] for task in tasks]
            allowed = {FinishReason.STOP, FinishReason.ABORTED, FinishReason.LENGTH}
            assert {end.reason for end in ends} <= allowed
            assert all("exhausted" in end.detail for end in ends if end.reason is FinishReason.LENGTH)
            await until(lambda local=local: free(local))
