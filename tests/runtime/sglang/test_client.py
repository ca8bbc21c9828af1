"""The client against the real SGLang: the bundled model answers there as it does in the embedded engine."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from sglang.srt.utils.common import init_custom_process_group

from espalier.common.ports import free_port
from espalier.runtime.engine import (
    EngineUnavailable,
    Finished,
    FinishReason,
    GenerateRequest,
    Limits,
    Mode,
    RequestRefused,
    SamplingParams,
    Tokens,
    until_last_join,
)
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.local import SEEDLING, LocalConfig, LocalEngine
from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.sglang.client.engine import ClientConfig, SglangEngine
from espalier.runtime.sglang.client.weights import TensorSpec, WeightGroup
from espalier.solver.core.generation import Generation
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Greedy
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import Templates
from espalier.training.rl.reward import RolloutStatus
from espalier.training.rl.rollout import Collector
from espalier.training.rl.verifiers import RetryingVerifiers
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.verdict import Status, Verdict
from tests.runtime.sglang.server import Server

pytestmark = pytest.mark.xdist_group("client")  # its servers serve many of its tests
QUESTIONS = (
    "Using the numbers 19, 36, 55 and 7, each once, make 65",
    "Using the numbers 3, 8, 11 and 25, each once, make 47",
    "What is 17 times 23?",
)
GREEDY = SamplingParams(temperature=0)
FLAGS = {"skip_tokenizer_init": False, "incremental_streaming_output": True}
ENVIRONMENT = {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The seedling under a path of its own, whose weights may be replaced."""
    path = tmp_path_factory.mktemp("seedling") / "model"
    shutil.copytree(SEEDLING, path)
    return path


@pytest.fixture(scope="module")
def address(model):
    with Server(model, FLAGS, ENVIRONMENT).serve() as url:
        yield url


@pytest.fixture(scope="module")
def stock(model):
    """A server that loads no plugin."""
    with Server(model, FLAGS, ENVIRONMENT | {"SGLANG_PLUGINS": "none"}).serve() as url:
        yield url


@pytest.fixture(scope="module")
def expendable(model):
    """A server that is changed and then killed; its chunks repeat all that came before."""
    with Server(model, FLAGS | {"incremental_streaming_output": False}, ENVIRONMENT).serve() as url:
        yield url


def request_for(engine, number: int, sampling: SamplingParams = GREEDY, **more) -> GenerateRequest:
    prompt = PromptTemplate.load(SEEDLING).encode(engine.tokenizer, QUESTIONS[number])
    return GenerateRequest(f"request-{number}", prompt, sampling, limits=Limits(max_tokens=250), **more)


async def collect(engine, request):
    return [event async for event in engine.generate(request)]


def told(events):
    """Per branch what its events told: tokens, marks and positions; log-probabilities apart."""
    branches = {}
    for event in events:
        if isinstance(event, Tokens):
            branches.setdefault(event.path, []).extend(zip(event.tokens, event.forced, event.positions, strict=True))
    return branches


def alike(one: Finished, other: Finished) -> None:
    """The same response; log-probabilities within rounding."""
    plain = [dataclasses.replace(end.rollout, logprobs=(), weight_version=0) for end in (one, other)]
    assert plain[0] == plain[1]
    assert (one.reason, one.usage, one.detail) == (other.reason, other.usage, other.detail)
    assert max(abs(a - b) for a, b in zip(one.rollout.logprobs, other.rollout.logprobs, strict=True)) < 1e-4


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_greedy_request_is_answered_as_by_the_embedded_engine(address, mode):
    async with LocalEngine.load(SEEDLING, LocalConfig(device="cpu")) as local, SglangEngine(address) as remote:
        assert remote.info.parallel
        assert remote.info.context_length == local.info.context_length
        requests = [request_for(local, number, mode=mode) for number in range(len(QUESTIONS))]
        here = await asyncio.gather(*(collect(local, request) for request in requests))
        there = await asyncio.gather(*(collect(remote, request) for request in requests))
    for mine, theirs in zip(here, there, strict=True):
        alike(mine[-1], theirs[-1])
        assert told(mine) == told(theirs)
    paths = {path for events in here for path in told(events)}
    assert (len(paths) > 1) == (mode is Mode.PARALLEL)


@pytest.mark.parametrize("final_event_only", [False, True])
async def test_branches_are_joined_again_as_by_the_embedded_engine(address, final_event_only):
    async with LocalEngine.load(SEEDLING, LocalConfig(device="cpu")) as local, SglangEngine(address) as remote:
        assert remote.info.rejoins
        requests = [request_for(local, number) for number in range(len(QUESTIONS))]
        firsts = await asyncio.gather(*(collect(remote, request) for request in requests))
        given = [until_last_join(events[-1].rollout) for events in firsts]
        firsts = [events for events, beginning in zip(firsts, given, strict=True) if beginning]
        again = [
            dataclasses.replace(request, given=beginning, final_event_only=final_event_only)
            for request, beginning in zip(requests, given, strict=True)
            if beginning  # the others have not come to a join in so many tokens
        ]
        assert again
        here = await asyncio.gather(*(collect(local, request) for request in again))
        there = await asyncio.gather(*(collect(remote, request) for request in again))
    for first, mine, theirs in zip(firsts, here, there, strict=True):
        alike(mine[-1], theirs[-1])
        assert theirs[-1].rollout.tokens == first[-1].rollout.tokens, "a greedy conclusion is drawn as before"
        assert theirs[-1].usage.new_tokens < first[-1].usage.new_tokens
        if not final_event_only:
            assert told(mine) == told(theirs)


async def test_a_solve_draws_further_conclusions_from_branches_on_a_server(address):
    """The answer is refused each time: the candidate's own, then those of its re-joins."""

    class Refusing:
        async def verify(self, claim, check, *, timeout=None):
            return Verdict(Status.FAIL, 0.0, "refusing")

    problem = Problem("p", QUESTIONS[2], ReferenceCheck("0"))
    async with SglangEngine(address) as engine:
        templates = Templates(PromptTemplate.load(SEEDLING))
        solver = Solver(engine, Refusing(), templates, Generation(limits=Limits(max_tokens=400)))
        result = await solver.solve(problem, Greedy(), Budget(rejoins=2))
    first, *again = (entry.candidate for entry in result.judged)
    assert [candidate.spec.rejoin for candidate in again] == [0, 0]
    beginning = first.text[: first.text.rindex("<takeaway>")]
    assert all(candidate.text.startswith(beginning) and candidate.well_formed for candidate in again)
    assert 0 < result.spent.rejoin_tokens < first.usage.new_tokens


async def test_rollouts_of_a_server_carry_re_joins(address):
    class Passing:
        async def verify(self, claim, check, *, timeout=None):
            return Verdict(Status.PASS, 1.0, "passing")

    problem = Problem("p", QUESTIONS[2], ReferenceCheck("391"))
    async with SglangEngine(address) as engine:
        verifiers, template = RetryingVerifiers(Passing(), print), PromptTemplate.load(SEEDLING)
        vocabulary, limits = Vocabulary.of(engine.tokenizer), Limits(max_tokens=400)
        collector = Collector(engine, verifiers, template, vocabulary, Mode.PARALLEL, limits, rejoins=2)
        (group,) = await collector.collect([problem], 2, "seed")
    concluded = [one for one in group if until_last_join(one.rollout)]
    assert concluded
    for one in concluded:
        assert [again.status for again in one.rejoins] == [RolloutStatus.PASSED] * 2
        assert all(0 < again.usage.new_tokens < one.finished.usage.new_tokens for again in one.rejoins)


@pytest.mark.parametrize(
    "limits", [Limits(max_tokens=60), Limits(max_critical_path=70), Limits(max_tokens=200, max_branch_tokens=20)]
)
async def test_limits_end_a_response_as_in_the_embedded_engine(address, limits):
    async with LocalEngine.load(SEEDLING, LocalConfig(device="cpu")) as local, SglangEngine(address) as remote:
        request = dataclasses.replace(request_for(local, 0), limits=limits)
        alike((await collect(local, request))[-1], (await collect(remote, request))[-1])


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_request_for_the_last_event_is_one_reply_with_the_streamed_rollout(address, mode):
    async with SglangEngine(address) as engine:
        requests = [request_for(engine, number, mode=mode) for number in range(len(QUESTIONS))]
        streamed = await asyncio.gather(*(collect(engine, request) for request in requests))
        requests = [dataclasses.replace(request, final_event_only=True) for request in requests]
        whole = await asyncio.gather(*(collect(engine, request) for request in requests))
    for events, (end,) in zip(streamed, whole, strict=True):
        alike(events[-1], end)


@pytest.mark.parametrize("mode", list(Mode))
async def test_an_aborted_reply_is_the_tokens_so_far(address, mode):
    async with SglangEngine(address) as engine:
        request = dataclasses.replace(request_for(engine, 0, mode=mode), final_event_only=True)
        (whole,) = await collect(engine, request)
        lengths = []
        for seconds in (0.0, 0.1, 0.3, 0.6):
            running = asyncio.create_task(collect(engine, request))
            await asyncio.sleep(seconds)
            await engine.abort(request.request_id)
            (end,) = await running
            if end.reason is FinishReason.ABORTED:
                lengths.append(end.usage.new_tokens)
                assert lengths[-1] == len(end.rollout.tokens) < len(whole.rollout.tokens)
        assert lengths


async def test_an_aborted_request_ends_with_its_tokens_counted_and_the_server_goes_on(address):
    async with SglangEngine(address) as engine:
        request = request_for(engine, 0)
        events = []
        async for event in engine.generate(request):
            events.append(event)
            if len(events) == 4:
                await engine.abort(request.request_id)
        end = events[-1]
        assert end.reason is FinishReason.ABORTED
        assert end.usage.new_tokens == len(end.rollout.tokens) == sum(len(branch) for branch in told(events).values())
        assert (await collect(engine, request))[-1].usage.new_tokens >= 250


async def test_what_the_server_cannot_serve_is_refused_with_the_name_of_the_field(address):
    async with SglangEngine(address) as engine:
        for changes, said in (
            ({"prompt": (1,) * engine.info.context_length}, "prompt has"),
            ({"prompt": (10**6,)}, "prompt holds token id 1000000"),
            ({"sampling": SamplingParams(repetition_penalty=9.0)}, "repetition_penalty"),
        ):
            with pytest.raises(RequestRefused, match=said):
                await collect(engine, dataclasses.replace(request_for(engine, 0), **changes))


async def test_a_stock_server_decodes_sequentially_and_refuses_to_fork(stock):
    async with LocalEngine.load(SEEDLING, LocalConfig(device="cpu")) as local, SglangEngine(stock) as remote:
        request = request_for(local, 0, mode=Mode.SEQUENTIAL)
        alike((await collect(local, request))[-1], (await collect(remote, request))[-1])
        with pytest.raises(RequestRefused, match=r"without Espalier's plugin.*espalier engine serve"):
            await collect(remote, request_for(local, 0))


async def test_new_weights_from_files_and_from_memory_are_those_that_answer(expendable, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(SEEDLING, other)
    generator = torch.Generator().manual_seed(1)
    changed = {}
    for file in sorted(other.glob("*.safetensors")):
        own = {name: tensor.float() for name, tensor in load_file(file).items()}
        own = {name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator) for name, tensor in own.items()}
        save_file(own, file, metadata={"format": "pt"})
        changed |= own
    async with SglangEngine(expendable) as remote:
        request = dataclasses.replace(request_for(remote, 2), limits=Limits(max_tokens=120))
        before = (await collect(remote, request))[-1].rollout
        assert await remote.update_weights(other) == 1
        from_files = (await collect(remote, request))[-1]
        assert await remote.update_weights(SEEDLING) == 2
        restored = (await collect(remote, request))[-1].rollout
        assert await remote.update_weights(changed) == 3
        from_memory = (await collect(remote, request))[-1]
    assert (before.weight_version, restored.weight_version, from_memory.rollout.weight_version) == (0, 2, 3)
    assert restored.tokens == before.tokens
    alike(from_files, from_memory)
    assert from_files.rollout.logprobs != before.logprobs
    async with LocalEngine.load(other, LocalConfig(device="cpu")) as local:
        alike((await collect(local, request))[-1], from_files)


async def test_weights_that_a_trainer_broadcasts_are_those_that_answer(expendable):
    group = WeightGroup("127.0.0.1", free_port(), size=2, backend="gloo")
    meeting = {"backend": group.backend, "init_method": f"tcp://{group.address}:{group.port}", "group_name": group.name}
    files = sorted(SEEDLING.glob("*.safetensors"))
    weights = {name: tensor.float() for file in files for name, tensor in load_file(file).items()}
    specs = [TensorSpec(name, "float32", tuple(tensor.shape)) for name, tensor in weights.items()]
    async with SglangEngine(expendable) as remote:
        joining = asyncio.to_thread(init_custom_process_group, world_size=group.size, rank=0, **meeting)
        own, _ = await asyncio.gather(joining, remote.join_weight_group(group))

        def broadcast() -> None:
            for tensor in weights.values():
                torch.distributed.broadcast(tensor, 0, group=own)

        version = remote.info.weight_version + 1
        _, told_version = await asyncio.gather(asyncio.to_thread(broadcast), remote.receive_weights(specs, group))
        await remote.leave_weight_group(group)
        request = dataclasses.replace(request_for(remote, 2), limits=Limits(max_tokens=120))
        end = (await collect(remote, request))[-1]
    assert told_version == end.rollout.weight_version == version
    async with LocalEngine.load(SEEDLING, LocalConfig(device="cpu")) as local:
        alike((await collect(local, request))[-1], end)


async def test_a_server_that_is_killed_is_unavailable_not_an_empty_answer(expendable):
    async with SglangEngine(expendable, config=ClientConfig(retries=(0.0, 0.1))) as engine:
        events = engine.generate(request_for(engine, 0))
        await anext(events)
        await asyncio.to_thread(_kill_all_at, expendable)
        with pytest.raises(EngineUnavailable):
            async for _ in events:
                pass
        with pytest.raises(EngineUnavailable):
            await collect(engine, request_for(engine, 1))


def _kill_all_at(address: str) -> None:
    """Kill the group of the process that listens there."""
    port = int(address.rpartition(":")[2])
    held = [each for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == port]
    owner = next(each.pid for each in held if each.pid and each.status == psutil.CONN_LISTEN)
    os.killpg(os.getpgid(owner), signal.SIGKILL)


def test_a_problem_is_solved_from_the_command_line(address):
    setting = address.replace("http", "sglang")
    solve = [sys.executable, "-m", "espalier.solver.cli.main", "solve", "--engine", setting, "--seed", "1", "--json"]
    done = subprocess.run([*solve, QUESTIONS[0]], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["outcome"] == "OUTCOME_VERIFIED"
