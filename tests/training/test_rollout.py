from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from espalier.runtime.engine import (
    EngineInfo,
    EngineUnavailable,
    Event,
    FinishReason,
    GenerateRequest,
    Limits,
    Mode,
    RequestRefused,
    Rollout,
)
from espalier.runtime.grammar import Tag, Vocabulary
from espalier.runtime.layout import Path as BranchPath
from espalier.runtime.layout import layout, layout_of_paths
from espalier.runtime.local.engine import LocalEngine
from espalier.runtime.local.sampler import Sampler
from espalier.runtime.prompt import PromptTemplate
from espalier.training.rl.batch import example_of
from espalier.training.rl.judged import JudgedBranch, JudgedRollout, StaleRolloutError, require_version
from espalier.training.rl.reward import RolloutStatus
from espalier.training.rl.rollout import BranchJudge, Collector, answer_text, branch_answers
from espalier.training.rl.rollout_engine import served_copy
from espalier.training.rl.verifiers import RetryingVerifiers
from espalier.training.tasks import Problem
from espalier.verifiers.check import Check, Claim, ProgramCheck, ReferenceCheck, StdioCase
from espalier.verifiers.local import LocalVerifiers, load
from espalier.verifiers.open import open_verifiers
from espalier.verifiers.service import ServerSettings
from espalier.verifiers.verdict import Status, Verdict
from recipes.seedling.network import build
from recipes.seedling.settings import BaseConfig
from tests.runtime.scripted import Script, ScriptedSampler, Shape, random_script
from tests.training.conftest import TOKENIZER
from tests.verifiers.running import running

SEED = "s"


@dataclass
class FakeJudge:
    """Stands in for verifiers where the verdict is given and what is tested is what training makes of it."""

    verdict: Verdict = Verdict(Status.FAIL, 0.0, "fake")
    away: int = 0
    claims: list[str] = field(default_factory=list)

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        self.claims.append(claim.text)
        return Verdict(Status.ERROR, 0.0, "fake") if self.away else self.verdict

    async def describe(self) -> tuple[Any, ...]:
        if self.away:
            self.away -= 1
            raise ConnectionError("no server there")
        return ()

    async def __aenter__(self) -> FakeJudge:
        return self

    async def __aexit__(self, *exception: Any) -> None: ...


def problems(count: int) -> list[Problem]:
    return [Problem(str(i), f"What is {i}+{i}?", ReferenceCheck(str(2 * i))) for i in range(count)]


@pytest.fixture
def network(tiny: BaseConfig) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return build(tiny.model, AutoTokenizer.from_pretrained(TOKENIZER)).eval()


@asynccontextmanager
async def collecting(
    network: Qwen3ForCausalLM,
    mode: Mode = Mode.PARALLEL,
    limits: Limits = Limits(max_tokens=400),
    sampler: Sampler | None = None,
    judge: FakeJudge | None = None,
) -> AsyncIterator[Collector]:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    vocabulary = Vocabulary.of(tokenizer)
    async with LocalEngine.serve(served_copy(network), tokenizer, sampler=sampler) as engine:
        verifiers = RetryingVerifiers(judge or FakeJudge(), lambda text: None, pause=0.01)
        yield Collector(engine, verifiers, PromptTemplate(), vocabulary, mode, limits)


def scripted(prompts: int, samples: int, shape: Shape = Shape(blocks=(1, 2), plans=(1, 3))) -> ScriptedSampler:
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    names = [f"rollout-{SEED}/{index}/{number}" for index in range(prompts) for number in range(samples)]
    return ScriptedSampler(vocabulary, {name: random_script(Random(name), vocabulary, shape) for name in names})


async def _scripted_attempts(network: Qwen3ForCausalLM, prompts: int = 3, samples: int = 4) -> list[JudgedRollout]:
    async with collecting(network, sampler=scripted(prompts, samples)) as collector:
        groups = await collector.collect(problems(prompts), samples, SEED)
    return [attempt for group in groups for attempt in group]


async def test_the_trained_ids_are_the_sampled_ids(network: Qwen3ForCausalLM) -> None:
    """No text round trip: random token ids of an untrained model would not survive one."""
    for attempt in await _scripted_attempts(network):
        rollout = attempt.rollout
        example = example_of(attempt, 1.0)
        offset = len(rollout.prompt)
        assert tuple(example.tokens) == (*rollout.prompt, *rollout.tokens)
        sampled = [token for token, forced in zip(rollout.tokens, rollout.forced, strict=True) if not forced]
        assert example.tokens[example.trained].tolist() == sampled
        assert not example.trained[:offset].any()
        assert not example.trained[offset:][np.array(rollout.forced)].any()


async def test_sampled_tags_are_trained_and_forced_ones_are_not(network: Qwen3ForCausalLM) -> None:
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    for attempt in await _scripted_attempts(network):
        example = example_of(attempt, 1.0)
        tags = [vocabulary.tags.get(int(token)) for token in example.tokens]
        for tag, trained in zip(tags, example.trained, strict=True):
            if tag in (Tag.STEP, Tag.TAKEAWAY):
                assert not trained
            elif tag in (Tag.GUIDELINE, Tag.PLAN, Tag.END_PLAN, Tag.END_GUIDELINE, Tag.END_STEP, Tag.END_TAKEAWAY):
                assert trained


async def test_the_layout_is_the_one_that_was_decoded_with(network: Qwen3ForCausalLM) -> None:
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    for attempt in await _scripted_attempts(network):
        rollout = attempt.rollout
        found = layout_of_paths(len(rollout.prompt), rollout.positions, rollout.paths)
        read = layout((*rollout.prompt, *rollout.tokens), len(rollout.prompt), vocabulary)
        assert found.branches == read.branches
        assert (found.positions == read.positions).all()
        assert (found.branch == read.branch).all()


async def test_the_same_seed_gives_the_same_bits(network: Qwen3ForCausalLM) -> None:
    async with collecting(network, limits=Limits(max_tokens=20)) as collector:
        first = await collector.collect(problems(3), 5, SEED)
        again = await collector.collect(problems(3), 5, SEED)
        other = await collector.collect(problems(3), 5, "other")
    assert [[a.rollout for a in group] for group in first] == [[a.rollout for a in group] for group in again]
    assert first[0][0].rollout.tokens != other[0][0].rollout.tokens
    assert len({attempt.rollout.tokens for attempt in first[0]}) == 5


async def test_malformed_responses_are_trained_where_that_is_asked_for(network: Qwen3ForCausalLM) -> None:
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    plan = (vocabulary.id_of(Tag.GUIDELINE), vocabulary.id_of(Tag.END_PLAN))
    sampler = ScriptedSampler(vocabulary, {f"rollout-{SEED}/0/0": {(): plan}})
    async with collecting(network, limits=Limits(max_tokens=5), sampler=sampler, judge=FakeJudge()) as collector:
        asked = replace(collector, train_malformed=True)
        ((malformed, cut),) = await asked.collect(problems(1), 2, SEED)
    assert (malformed.status, malformed.reward.value) == (RolloutStatus.MALFORMED, -1.0)
    assert malformed.reward.trained
    assert cut.reward.trained
    assert sum(map(len, malformed.segments)) == len(malformed.rollout.tokens) == 2  # the tag at fault is one of them


async def test_truncated_and_malformed_responses_are_named(network: Qwen3ForCausalLM) -> None:
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    closing_nothing = {(): (vocabulary.id_of(Tag.END_PLAN),)}
    sampler = ScriptedSampler(vocabulary, {f"rollout-{SEED}/0/0": closing_nothing})
    judge = FakeJudge()
    async with collecting(network, limits=Limits(max_tokens=5), sampler=sampler, judge=judge) as collector:
        ((malformed, cut),) = await collector.collect(problems(1), 2, SEED)
    assert (malformed.finished.reason, malformed.status) == (FinishReason.MALFORMED, RolloutStatus.MALFORMED)
    assert "unexpected_tag" in malformed.finished.detail
    assert not malformed.reward.trained
    assert (cut.finished.reason, cut.status, len(cut.rollout.tokens)) == (
        FinishReason.LENGTH,
        RolloutStatus.TRUNCATED,
        5,
    )
    assert judge.claims == []


async def test_a_prompt_that_is_too_long_ends_no_run(network: Qwen3ForCausalLM) -> None:
    endless = Problem("long", "1+" * 5000, ReferenceCheck("1"))
    async with collecting(network, limits=Limits(max_tokens=5)) as collector:
        (refused,), (served,) = await collector.collect([endless, *problems(1)], 1, SEED)
    assert refused.status is RolloutStatus.ENGINE_ERROR
    assert "context holds" in refused.finished.detail
    assert served.status is RolloutStatus.TRUNCATED


async def test_the_claim_is_the_text_behind_the_last_block(network: Qwen3ForCausalLM) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    for attempt in await _scripted_attempts(network, prompts=1, samples=2):
        text = tokenizer.decode(attempt.rollout.tokens, skip_special_tokens=False)
        claim = answer_text(attempt.rollout, Vocabulary.of(tokenizer), tokenizer)
        assert text == f"{text.rpartition('</takeaway>')[0]}</takeaway>{claim}<|im_end|>"


async def test_answers_are_verified_while_others_are_generated(network: Qwen3ForCausalLM) -> None:
    generating: list[int] = []

    class Watching(FakeJudge):
        async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
            generating.append(collector.engine.info.details["running"])
            return await super().verify(claim, check, timeout=timeout)

    async with collecting(network, sampler=scripted(2, 4), judge=Watching()) as collector:
        await collector.collect(problems(2), 4, SEED)
    assert len(generating) == 8
    assert generating[0] > 0


async def test_the_weight_version_is_recorded_and_asserted(network: Qwen3ForCausalLM) -> None:
    async with collecting(network, limits=Limits(max_tokens=3)) as collector:
        before = [one for group in await collector.collect(problems(1), 2, SEED) for one in group]
        await collector.engine.update_weights(dict(network.named_parameters()))  # type: ignore[attr-defined]
        after = [one for group in await collector.collect(problems(1), 2, SEED) for one in group]
    assert {one.rollout.weight_version for one in before} == {0}
    assert {one.rollout.weight_version for one in after} == {1}
    with pytest.raises(StaleRolloutError, match="made by weights 0; the weights being trained are 1"):
        require_version(before, 1)


async def test_training_pauses_while_no_verifier_can_be_reached_and_says_so(network: Qwen3ForCausalLM) -> None:
    said: list[str] = []
    judge = FakeJudge(Verdict(Status.PASS, 1.0, "fake"), away=3)
    verifiers = RetryingVerifiers(judge, said.append, pause=0.01)
    verdict = await verifiers.verify(Claim("4"), ReferenceCheck("4"))
    assert verdict.passed
    assert [text.partition("(")[0] for text in said] == [
        "the verifier cannot be reached ",
        "the verifier is back; training goes on",
    ]


async def test_a_verifier_server_that_goes_away_and_comes_back_only_costs_time(tmp_path: Path) -> None:
    """The real client and server of the contract, with the real verifier of answers."""
    settings = ServerSettings(address=f"unix:{tmp_path / 'verifier'}", grace_seconds=1)
    said: list[str] = []
    gone = asyncio.Event()

    def tell(text: str) -> None:
        said.append(text.partition(" (")[0])
        gone.set()

    judge = open_verifiers((settings.address,))
    async with judge:
        verifiers = RetryingVerifiers(judge, tell, seconds=5, pause=0.05)
        async with running(LocalVerifiers(load(["math"])), settings):
            assert (await verifiers.verify(Claim("so \\boxed{4}"), ReferenceCheck("4"))).passed
        waiting = asyncio.create_task(verifiers.verify(Claim("so \\boxed{5}"), ReferenceCheck("4")))
        async with asyncio.timeout(60):
            await gone.wait()
        assert not waiting.done()
        async with running(LocalVerifiers(load(["math"])), settings), asyncio.timeout(60):
            assert (await waiting).status is Status.FAIL
    assert said == ["the verifier cannot be reached", "the verifier is back; training goes on"]


async def test_the_verifiers_of_this_process_judge_what_was_answered(network: Qwen3ForCausalLM) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    vocabulary = Vocabulary.of(tokenizer)
    answers = ["\\boxed{0}", "\\boxed{1}", "so it is \\boxed{0}"]
    scripts: dict[str, Script] = {
        f"rollout-{SEED}/0/{number}": {(): (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)}
        for number, text in enumerate(answers)
    }
    async with (
        open_verifiers() as judge,
        collecting(network, sampler=ScriptedSampler(vocabulary, scripts)) as one,
    ):
        collector = replace(one, judge=RetryingVerifiers(judge, lambda text: None))
        (group,) = await collector.collect(problems(1), 3, SEED)
    assert [attempt.status for attempt in group] == [RolloutStatus.PASSED, RolloutStatus.FAILED, RolloutStatus.PASSED]
    assert not any(attempt.well_formed for attempt in group)


async def test_an_engine_that_fails_is_one_plain_error(network: Qwen3ForCausalLM) -> None:
    async with collecting(network) as collector:
        await collector.engine.close()
        with pytest.raises(EngineUnavailable, match="the engine is closed"):
            await collector.collect(problems(2), 2, SEED)


async def test_a_burst_of_claims_waits_where_no_limit_runs() -> None:
    @dataclass
    class Counting(FakeJudge):
        now: int = 0
        most: int = 0

        async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return await super().verify(claim, check, timeout=timeout)

    judge = Counting(Verdict(Status.PASS, 1.0, "fake"))
    verifiers = RetryingVerifiers(judge, lambda text: None, at_once=3)
    verdicts = await asyncio.gather(*(verifiers.verify(Claim(str(n)), ReferenceCheck("4")) for n in range(20)))
    assert len(verdicts) == 20
    assert all(verdict.passed for verdict in verdicts)
    assert judge.most == 3


async def test_an_error_of_a_verifier_that_can_be_reached_stays_an_error() -> None:
    said: list[str] = []
    verifiers = RetryingVerifiers(FakeJudge(Verdict(Status.ERROR, 0.0, "fake")), said.append)
    assert (await verifiers.verify(Claim("4"), ReferenceCheck("4"))).status is Status.ERROR
    assert said == []


GOOD_STEP = " 2+2=4 so \\boxed{4}"
BAD_STEP = " 2+2=5 so \\boxed{5}"


def _branched(*steps: str, reason: str = "</step>") -> tuple[Rollout, Vocabulary, Any]:
    """A response of one block with these steps, as an engine reports it."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    parts: list[tuple[str, BranchPath]] = [("<guideline><plan>1: a</plan></guideline>", ())]
    parts += [(f"\n<step>\n{i}:{text}{reason}", ((0, i),)) for i, text in enumerate(steps, start=1)]
    parts += [("<takeaway>\n</takeaway>\nThe answer is \\boxed{4}.", ())]
    encoded = [(tokenizer.encode(text, add_special_tokens=False), path) for text, path in parts]
    tokens = tuple(token for ids, _ in encoded for token in ids)
    paths = tuple(path for ids, path in encoded for _ in ids)
    n = len(tokens)
    return Rollout((5,), tokens, (0.0,) * n, (False,) * n, tuple(range(n)), paths), Vocabulary.of(tokenizer), tokenizer


def test_the_steps_that_state_an_answer_are_found_by_their_paths() -> None:
    rollout, vocabulary, tokenizer = _branched(GOOD_STEP, " 2+2 is more than 3", BAD_STEP)
    found = branch_answers(rollout, ReferenceCheck("4"), vocabulary, tokenizer)
    assert found == {((0, 1),): "4", ((0, 3),): "5"}


def test_a_step_that_is_not_finished_states_nothing() -> None:
    rollout, vocabulary, tokenizer = _branched(GOOD_STEP, reason="")
    assert branch_answers(rollout, ReferenceCheck("4"), vocabulary, tokenizer) == {}


async def test_each_answer_of_a_prompts_steps_is_judged_once() -> None:
    fake = FakeJudge(Verdict(Status.PASS, 1.0, "fake"))
    judge = BranchJudge(problems(1)[0], RetryingVerifiers(fake, lambda text: None), programs=0)
    first, second = await asyncio.gather(
        judge.judged({((0, 1),): "4", ((0, 2),): "5"}), judge.judged({((0, 1),): "5", ((0, 2),): "5"})
    )
    assert sorted(fake.claims) == ["4", "5"]
    assert [branch.answer for branch in (*first, *second)] == ["4", "5", "5", "5"]
    assert all(branch.right for branch in (*first, *second))


async def test_programs_beyond_the_limit_have_no_verdict_and_are_not_run() -> None:
    fake = FakeJudge()
    problem = replace(problems(1)[0], check=ProgramCheck((StdioCase("", "4"),)))
    judge = BranchJudge(problem, RetryingVerifiers(fake, lambda text: None), programs=2)
    found = await judge.judged({((0, i),): f"print({i})" for i in range(1, 5)})
    again = await judge.judged({((0, 1),): "print(1)"})
    assert fake.claims == ["print(1)", "print(2)"]
    assert [branch.right for branch in (*found, *again)] == [False, False, None, None, False]


async def test_which_programs_are_run_does_not_depend_on_how_fast_a_verdict_is(network: Qwen3ForCausalLM) -> None:
    """A resumed run repeats its batches, also where there are more programs than are run."""

    @dataclass
    class Slow(FakeJudge):
        """Takes its time for the answer of the response that ends first."""

        first: bool = False
        programs: list[str] = field(default_factory=list)

        async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
            if claim.bare:
                self.programs.append(claim.text)
            elif self.first:
                self.first = False
                await asyncio.sleep(0.3)
            return self.verdict

    asked = [replace(problems(1)[0], check=ProgramCheck((StdioCase("", "4"),)))]
    stating = mock.patch(
        "espalier.training.rl.rollout.branch_answers", lambda rollout, *_: {((0, 1),): str(rollout.tokens)}
    )
    run: list[list[str]] = []
    for judge in (Slow(), Slow(first=True)):
        async with collecting(network, sampler=scripted(1, 4), judge=judge) as collector:
            with stating:
                await replace(collector, judge_branches=True, branch_programs=2).collect(asked, 4, SEED)
        run.append(judge.programs)
    assert run[0] == run[1]
    assert len(run[0]) == 2


@pytest.mark.parametrize(("status", "right"), [("pass", True), ("fail", False), ("unknown", None), ("error", None)])
def test_only_pass_and_fail_say_whether_a_branch_is_right(status: str, right: bool | None) -> None:
    assert JudgedBranch(((0, 1),), "4", Verdict(Status(status), 0.0, "fake")).right is right


@pytest.mark.parametrize("asked", [True, False])
async def test_branches_are_judged_where_they_are_asked_for(network: Qwen3ForCausalLM, asked: bool) -> None:
    """Random text states no answer, so every finished step is given one."""
    judge = FakeJudge(Verdict(Status.ERROR, 0.0, "fake"))
    async with collecting(network, sampler=scripted(1, 3), judge=judge) as collector:
        with mock.patch("espalier.training.rl.rollout.branch_answer", return_value="4"):
            (group,) = await replace(collector, judge_branches=asked).collect(problems(1), 3, SEED)
    for attempt in group:
        steps = {path for path in attempt.rollout.paths if path}
        assert {branch.path for branch in attempt.branches} == (steps if asked else set())
        assert all(branch.right is None for branch in attempt.branches), "an ERROR masks the branch alone"
    assert judge.claims.count("4") == asked


async def test_re_joins_are_judged_conclusions_of_the_same_branches(network: Qwen3ForCausalLM) -> None:
    """Two for each response with a block; what the engine is asked for is a beginning, and it costs the rest alone."""
    sampler = scripted(1, 3, Shape(blocks=(1, 1), plans=(2, 3)))
    closing: Script = {
        (): (None, sampler.vocabulary.id_of(Tag.END_TAKEAWAY), None, sampler.vocabulary.id_of(Tag.END_OF_TURN))
    }
    names = [f"rollout-{SEED}/0/{number}" for number in range(3)]
    sampler.scripts |= {f"{name}/rejoin-{time}": closing for name in names for time in range(2)}
    judge = FakeJudge(Verdict(Status.PASS, 1.0, "fake"))
    async with collecting(network, sampler=sampler, judge=judge) as collector:
        (group,) = await replace(collector, rejoins=2).collect(problems(1), 3, SEED)
    for attempt in group:
        assert [one.status for one in attempt.rejoins] == [RolloutStatus.PASSED] * 2
        assert all(one.usage.sampled_tokens == 4 for one in attempt.rejoins)
        assert attempt.rejoin_rewards == (1.0, 1.0)
    assert len(judge.claims) == 3 + 6


async def test_a_re_join_that_does_not_fit_the_engine_has_no_outcome(network: Qwen3ForCausalLM) -> None:
    generate = LocalEngine.generate

    async def cramped(engine: LocalEngine, request: GenerateRequest) -> AsyncIterator[Event]:
        if request.given is not None:
            raise RequestRefused("prompt with the given branches has 90 tokens; the server's context holds 80")
        async for event in generate(engine, request):
            yield event

    sampler = scripted(1, 2, Shape(blocks=(1, 1), plans=(2, 3)))
    async with collecting(network, sampler=sampler) as collector:
        with mock.patch.object(LocalEngine, "generate", cramped):
            (group,) = await replace(collector, rejoins=2).collect(problems(1), 2, SEED)
    for one in group:
        assert [(again.status, again.refused) for again in one.rejoins] == [(RolloutStatus.ENGINE_ERROR, True)] * 2
        assert one.rejoin_rewards == ()


async def test_an_engine_that_cannot_join_again_is_refused_before_anything_is_generated() -> None:
    class OlderEngine:
        info = EngineInfo("an-older-server", 1024, parallel=True)

    verifiers = RetryingVerifiers(FakeJudge(), lambda text: None, pause=0.01)
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    collector = Collector(OlderEngine(), verifiers, PromptTemplate(), vocabulary, Mode.PARALLEL, Limits())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rollout\.rejoins: the engine of an-older-server cannot"):
        replace(collector, rejoins=2)


async def test_a_prompt_that_leaves_no_room_is_refused_before_anything_is_generated(network: Qwen3ForCausalLM) -> None:
    """And a response to a long prompt is shorter, so that both fit into a sequence of the trainer."""
    long, short = problems(2)
    long = replace(long, text="word " * 40)
    async with collecting(network, limits=Limits(max_tokens=50), sampler=endless()) as collector:
        size = len(collector._request(short, "0").prompt)
        fitting = replace(collector, max_length=size + 20)
        (refused,), (served,) = await fitting.collect([long, short], 1, SEED)
    assert refused.refused
    assert refused.status is RolloutStatus.ENGINE_ERROR
    assert "a sequence" in refused.finished.detail
    assert served.status is RolloutStatus.TRUNCATED
    assert len(served.rollout.prompt) + len(served.rollout.tokens) == size + 20


def endless() -> Sampler:
    vocabulary = Vocabulary.of(AutoTokenizer.from_pretrained(TOKENIZER))
    return ScriptedSampler(vocabulary, {f"rollout-{SEED}/{i}/0": {(): (None,) * 10_000} for i in range(2)})
