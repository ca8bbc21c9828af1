"""Every command that generates decodes as the model was trained to be decoded, unless it is told otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from mcp import Client
from typer.testing import CliRunner

from espalier.common.grpc_server import GrpcServer
from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import EngineInfo, GenerateRequest
from espalier.solver.batch.handler import JobHandler
from espalier.solver.cli.main import app
from espalier.solver.core.events import fan_out
from espalier.solver.core.journal import NoJournal
from espalier.solver.doctor.engine import engine as engine_check
from espalier.solver.doctor.finding import FindingState
from espalier.solver.mcp.server import mcp_server
from espalier.v1 import solver_pb2 as pb
from espalier.v1 import solver_pb2_grpc
from tests.solver.batch.server import RedisServer
from tests.solver.scripted import ScriptedEngine, boxed
from tests.solver.service.serving import asking

OWN = DecodingDefaults(constrained=True, max_plans=4, max_depth=1, max_branch_tokens=400)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """What any setting opens: its model has a directory that says how it is decoded."""
    OWN.save(tmp_path)
    scripted = ScriptedEngine.of(boxed("42"), info=EngineInfo(str(tmp_path), 1 << 20, parallel=True))

    @asynccontextmanager
    async def opened(_: str) -> AsyncIterator[ScriptedEngine]:
        yield scripted

    monkeypatch.setattr("espalier.runtime.open.open_engine", opened)
    return scripted


def decoding(request: GenerateRequest) -> DecodingDefaults:
    limits = request.limits
    return DecodingDefaults(
        request.constrained, limits.grammar.max_plans, limits.grammar.max_depth, limits.max_branch_tokens
    )


def run(*arguments: object) -> None:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code in (0, 1), (done.output, done.exception)


def solve(_: Path, *flags: str) -> None:
    run("solve", "--k", 1, *flags, "What is 6 times 7?")


def evaluate(_: Path, *flags: str) -> None:
    run("eval", "--tasks", "gcd", "--n", 1, "--k", 1, *flags)


def sample(folder: Path, *flags: str) -> None:
    problems = folder / "problems.jsonl"
    problems.write_text('{"id": "a", "text": "What is 6 times 7?", "check": {"reference": {"answer": "42"}}}\n')
    responses = ("--engine", "local", "--k", 1, "--responses", folder / f"responses{'-'.join(flags)}.jsonl")
    run("data", "sample", problems, *responses, *flags)


@pytest.mark.parametrize("command", [solve, evaluate, sample])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), OWN),
        (("--no-constrained",), replace(OWN, constrained=False)),
        (("--max-plans", "8", "--max-depth", "2"), replace(OWN, max_plans=8, max_depth=2)),
        (("--max-branch-tokens", "0"), replace(OWN, max_branch_tokens=None)),
    ],
)
def test_a_command_asks_for_what_the_model_was_trained_with(
    command: Callable[..., None],
    flags: tuple[str, ...],
    expected: DecodingDefaults,
    engine: ScriptedEngine,
    tmp_path: Path,
) -> None:
    command(tmp_path, *flags)
    assert {decoding(request) for request in engine.requests} == {expected}


def test_a_model_whose_directory_says_nothing_is_constrained_where_it_is_asked_for(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    (tmp_path / "decoding.json").unlink()
    solve(tmp_path, "--constrained")
    assert {decoding(request) for request in engine.requests} == {DecodingDefaults(constrained=True)}


SERVERS = pytest.mark.parametrize(
    ("flags", "expected"), [((), OWN), (("--no-constrained",), replace(OWN, constrained=False))]
)


@SERVERS
def test_a_server_asks_for_what_the_model_was_trained_with(
    flags: tuple[str, ...], expected: DecodingDefaults, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve_one(server: GrpcServer) -> None:
        port = await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await solver_pb2_grpc.SolverStub(channel).SolveOnce(asking(k=1))
        await server.drain()

    monkeypatch.setattr("espalier.common.grpc_server.serve", serve_one)
    run("serve", "--address", "127.0.0.1:0", "--only", "math", *flags)
    assert any(request.request_id.startswith("probe-") for request in engine.requests)
    assert len(engine.requests) >= 2
    assert {decoding(request) for request in engine.requests} == {expected}


@SERVERS
def test_a_worker_asks_for_what_the_model_was_trained_with(
    flags: tuple[str, ...],
    expected: DecodingDefaults,
    engine: ScriptedEngine,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work_once(_: str, handler: JobHandler, **__: Any) -> None:
        await handler(pb.Job(id="a", problem=asking(k=1).problem), fan_out(), NoJournal(), ())

    monkeypatch.setattr("espalier.solver.batch.run.run_worker", work_once)
    run("worker", "--redis", server.url, "--only", "math", "--k", 1, *flags)
    assert {decoding(request) for request in engine.requests} == {expected}


@SERVERS
def test_tools_for_agents_ask_for_what_the_model_was_trained_with(
    flags: tuple[str, ...], expected: DecodingDefaults, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InThisProcess:
        def __init__(self, tools: Any, **options: Any) -> None:
            self.server = mcp_server(tools, **options)

        def run(self, _: str) -> None:
            asyncio.run(self.ask())

        async def ask(self) -> None:
            async with Client(self.server) as client:
                await client.call_tool("solve", {"problem": "What is 6 · 7?", "k": 1})

    monkeypatch.setattr("espalier.solver.mcp.server.mcp_server", InThisProcess)
    run("mcp", "--only", "math", *flags)
    assert {decoding(request) for request in engine.requests} == {expected}


def test_files_of_responses_and_results_name_how_they_were_decoded(engine: ScriptedEngine, tmp_path: Path) -> None:
    responses, output = tmp_path / "responses.jsonl", tmp_path / "out.jsonl"
    evaluate(tmp_path, "--responses", str(responses), "--output", str(output), "--seed", "1")
    assert asdict(OWN).items() <= json.loads(responses.read_text().splitlines()[0])["sampling"].items()
    assert asdict(OWN).items() <= json.loads(output.read_text().splitlines()[0])["plan"].items()
    command = ["eval", "--tasks", "gcd", "--n", "1", "--k", "1", "--seed", "1", "--max-plans", "8"]
    for file, said in ((("--responses", responses), "max_plans 4, not 8"), (("-o", output), "max_plans is 4 there")):
        refused = CliRunner().invoke(app, [*command, *map(str, file)])
        assert refused.exit_code == 2
        assert said in refused.output


def test_a_file_of_limits_that_makes_no_sense_is_named(engine: ScriptedEngine, tmp_path: Path) -> None:
    (tmp_path / "decoding.json").write_text('{"max_plans": "four"}')
    said = "decoding.json: max_plans must be a whole number above 0, got 'four'"
    done = CliRunner().invoke(app, ["solve", "1 + 1"])
    assert (done.exit_code, said in done.stderr) == (2, True)
    found = engine_check("local")
    assert (found.state, said in found.detail) == (FindingState.PROBLEM, True)
    assert engine.requests == []


def test_doctor_tells_how_the_model_was_trained_to_be_decoded(engine: ScriptedEngine) -> None:
    assert "constrained True, max_plans 4, max_depth 1, max_branch_tokens 400" in engine_check("local").detail
    assert {decoding(request) for request in engine.requests} == {OWN}
