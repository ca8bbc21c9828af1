"""`espalier batch` and `espalier worker` as people and scripts use them, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from typer.testing import CliRunner

from espalier.solver.batch.connection import connect
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import JobQueue
from espalier.solver.cli.batch import app, worker_app
from espalier.solver.session.spans import ENDPOINTS
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import NoWork, working

if TYPE_CHECKING:
    from click.testing import Result
    from redis.asyncio import Redis

PROBLEMS = '{"text": "What is 6 times 7?", "id": "a", "check": "reference:42"}\n{"text": "What is 1 + 1?", "id": "b"}\n'


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text(PROBLEMS)
    return path


@pytest.fixture(autouse=True)
def loud_again() -> Iterator[None]:
    """Commands set logging for their process, which here is that of other tests, too."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def espalier(server: RedisServer, redis: Redis) -> Any:
    def call(*args: object) -> Result:
        return CliRunner().invoke(app, [*map(str, args), "--redis", server.url])

    return call


async def _done(server: RedisServer, espalier: Any) -> None:
    async with working(server, NoWork()):
        watched = await asyncio.to_thread(espalier, "watch", "monday")
    assert watched.exit_code == 0, watched.output


async def test_submit_watch_and_results_give_every_problem_its_line(
    server: RedisServer, espalier: Any, problems: Path, tmp_path: Path
) -> None:
    submitted = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--k", 2)
    assert (submitted.exit_code, submitted.stdout) == (0, "monday\n")
    await _done(server, espalier)
    out = tmp_path / "out.jsonl"
    assert (await asyncio.to_thread(espalier, "results", "monday", "-o", out)).exit_code == 0
    lines = _lines(out)
    assert [(line["id"], line["state"], line["result"]["answer"]) for line in lines] == [
        ("a", "done", "What is 6 times 7?"),
        ("b", "done", "What is 1 + 1?"),
    ]
    assert os.listdir(tmp_path).count("out.jsonl.part") == 0  # noqa: PTH208


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("reference:\\frac{", "check.reference.answer: cannot be read as mathematics"),
        (
            {"program": {"language": "cobol", "cases": [{"stdio": {"stdin": "", "expected": ""}}]}},
            "check.program.language: 'cobol' is not one of",
        ),
    ],
)
async def test_a_check_that_can_never_work_is_refused_before_anything_is_queued(
    espalier: Any, redis: Redis, tmp_path: Path, check: Any, said: str
) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps({"text": "a", "id": "seven", "check": check}))
    submitted = await asyncio.to_thread(espalier, "submit", file)
    assert submitted.exit_code == 2
    assert f"problem 'seven': {said}" in " ".join(submitted.output.split())
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--key", "k" * 257], "key: has 257 characters"),
        (["--priority", "101"], "--priority is 101; give -100 to 100"),
        (["--webhook", "nowhere"], "--webhook 'nowhere' is no address"),
    ],
)
async def test_what_a_submission_may_not_say_is_named(
    espalier: Any, redis: Redis, problems: Path, options: list[str], said: str
) -> None:
    submitted = await asyncio.to_thread(espalier, "submit", problems, *options)
    assert submitted.exit_code == 2
    assert said in " ".join(submitted.output.split())
    assert await redis.dbsize() == 0


async def test_the_same_key_submits_nothing_twice(espalier: Any, problems: Path) -> None:
    first = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--json")
    again = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--json")
    assert json.loads(first.stdout)["jobs"] == json.loads(again.stdout)["jobs"]
    assert (json.loads(first.stdout)["repeated"], json.loads(again.stdout)["repeated"]) == (False, True)
    other = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--k", 3)
    assert other.exit_code == 2
    assert "monday" in other.stderr


async def test_status_tells_of_queue_batch_and_job(espalier: Any, problems: Path) -> None:
    submitted = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--json")
    job = json.loads(submitted.stdout)["jobs"][0]
    depth = await asyncio.to_thread(espalier, "status", "--json")
    assert json.loads(depth.stdout) == {"depth": 2, "lag": 2, "pending": 0, "dead": 0, "workers": []}
    batch = await asyncio.to_thread(espalier, "status", "monday", "--json")
    assert json.loads(batch.stdout)["queued"] == 2
    assert "queued" in (await asyncio.to_thread(espalier, "status", job)).stdout


async def test_status_shows_workers_and_the_name_that_was_given(
    server: RedisServer, redis: Redis, espalier: Any, problems: Path
) -> None:
    submitted = await asyncio.to_thread(espalier, "submit", problems, "--json")
    batch = json.loads(submitted.stdout)["batch"]
    assert (await asyncio.to_thread(espalier, "status", batch)).stdout.startswith(f"{batch}: 2 queued")
    async with working(server, NoWork()) as worker:
        while not await JobQueue(redis).workers():  # noqa: ASYNC110 (Redis tells no one)
            await asyncio.sleep(0.02)
        said = (await asyncio.to_thread(espalier, "status")).stdout
        assert "1 workers" in said
        assert worker.name in said


def test_standard_input_that_is_not_utf8_is_refused_as_a_file_is(espalier: Any, problems: Path) -> None:
    latin = '{"text": "Wie groß?"}'.encode("latin-1")
    problems.write_bytes(latin)
    told = [
        CliRunner().invoke(app, ["submit", "-"], input=latin),
        CliRunner().invoke(app, ["submit", str(problems)]),
    ]
    assert [(one.exit_code, "is not UTF-8: invalid continuation byte at byte" in one.output) for one in told] == [
        (2, True)
    ] * 2


async def test_results_of_an_unfinished_batch_say_what_is_missing(espalier: Any, problems: Path) -> None:
    await asyncio.to_thread(espalier, "submit", problems, "--key", "monday")
    result = await asyncio.to_thread(espalier, "results", "monday")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 of 2 jobs have no result: 2 queued" in result.stderr


async def test_cancel_ends_a_batch(espalier: Any, problems: Path) -> None:
    await asyncio.to_thread(espalier, "submit", problems, "--key", "monday")
    assert "2 cancelled" in (await asyncio.to_thread(espalier, "cancel", "monday")).stderr
    assert (await asyncio.to_thread(espalier, "watch", "monday")).exit_code == 1


async def test_results_name_the_jobs_that_are_gone(
    server: RedisServer, redis: Redis, espalier: Any, problems: Path
) -> None:
    submitted = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--json")
    await _done(server, espalier)
    gone = json.loads(submitted.stdout)["jobs"][1]
    await redis.delete(Keys().job(gone))
    result = await asyncio.to_thread(espalier, "results", "monday")
    assert result.exit_code == 1
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a"]
    assert f"1 of 2 jobs have no result: 2 done\n  {gone} is gone from Redis" in result.stderr


async def test_cancel_goes_on_past_a_job_that_is_gone(redis: Redis, espalier: Any, problems: Path) -> None:
    submitted = await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", "--json")
    gone, other = json.loads(submitted.stdout)["jobs"]
    await redis.delete(Keys().job(gone))
    cancelled = await asyncio.to_thread(espalier, "cancel", "monday")
    assert cancelled.exit_code == 0
    assert "1 are gone from the queue" in cancelled.stderr
    assert "cancelled" in (await asyncio.to_thread(espalier, "status", other)).stdout


async def test_list_and_repair_show_and_mend_batches(redis: Redis, espalier: Any, problems: Path) -> None:
    await asyncio.to_thread(espalier, "submit", problems, "--key", "mon\x1b[31mday")
    listed = await asyncio.to_thread(espalier, "list")
    assert "mon\ufffd[31mday: 2 queued" in listed.stdout
    assert json.loads((await asyncio.to_thread(espalier, "list", "--json")).stdout)["queued"] == 2
    await redis.delete(Keys().jobs, Keys().waiting)
    repaired = await asyncio.to_thread(espalier, "repair")
    assert (repaired.exit_code, repaired.stderr[:29]) == (0, "2 jobs are queued again, 0 ar")


async def test_dead_jobs_show_their_reason_and_can_be_retried(
    server: RedisServer, espalier: Any, problems: Path
) -> None:
    from espalier.solver.batch.handler import JobRefusedError

    async def refuse(_: Any) -> None:
        raise JobRefusedError("too hard")

    await asyncio.to_thread(espalier, "submit", problems, "--key", "monday")
    async with working(server, NoWork(refuse)):
        assert (await asyncio.to_thread(espalier, "watch", "monday")).exit_code == 1
    assert "too hard" in (await asyncio.to_thread(espalier, "status", "monday")).stdout
    assert "2 jobs" in (await asyncio.to_thread(espalier, "retry-dead", "monday")).stderr
    await _done(server, espalier)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("submit", "nowhere.jsonl"), "nowhere.jsonl"),
        (("submit", "-", "--k", "0"), "--k is 0; give more than 0 and at most 1024"),
        (("submit", "-", "--certainty", "0.5"), "--certainty is 0.5; give more than 0.5 and less than 1"),
        (("submit", "-", "--tokens", "1"), "--tokens must be between 64 and"),
        (("submit", "-", "--candidate-tokens", "0"), "--candidate-tokens is 0"),
        (("submit", "-", "--seconds", "-1"), "--seconds is -1.0; give more than 0\n"),
        (("submit", "-", "--policy", "guess"), "--policy 'guess' is none; there are: greedy"),
        (("status", "tuesday"), "tuesday"),
        (("watch", "tuesday"), "tuesday"),
        (("results", "tuesday"), "tuesday"),
        (("cancel", "0123456789abcdef0123-4"), "0123456789abcdef0123-4"),
    ],
)
async def test_what_makes_no_sense_is_named(espalier: Any, args: tuple[str, ...], said: str) -> None:
    result = await asyncio.to_thread(espalier, *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_queue_that_cannot_be_reached_is_said_so() -> None:
    result = CliRunner().invoke(app, ["status", "--redis", "redis://127.0.0.1:1/0"])
    assert result.exit_code == 3
    assert "--redis" in result.stderr


def test_a_worker_exports_spans_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINTS[0], "http://127.0.0.1:4318")
    monkeypatch.setattr("espalier.solver.session.spans.find_spec", lambda _: None)
    result = CliRunner().invoke(worker_app, [])
    assert result.exit_code == 2
    assert "[otel]" in result.output


def test_help_teaches() -> None:
    for command in ("submit", "status", "watch", "results", "cancel", "retry-dead", "list", "repair"):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    assert "SIGTERM" in CliRunner().invoke(worker_app, ["--help"]).output


async def test_a_worker_refuses_a_redis_that_evicts(own_server: RedisServer) -> None:
    async with connect(own_server.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
    refused = await asyncio.to_thread(CliRunner().invoke, worker_app, ["--redis", own_server.url])
    assert refused.exit_code == 2
    assert "allkeys-lru" in refused.output


async def test_worker_processes_solve_with_the_bundled_model_and_drain(
    server: RedisServer, espalier: Any, problems: Path, tmp_path: Path
) -> None:
    await _solve_in_a_process(server, espalier, problems, tmp_path, "local")
    lines = _lines(tmp_path / "out.jsonl")
    assert all(line["result"]["candidates"] for line in lines)


async def test_worker_processes_solve_with_a_real_engine_and_drain(
    server: RedisServer, espalier: Any, problems: Path, tmp_path: Path, random_model: Path
) -> None:
    """Weights are random, so no answer is right: the way there is what counts."""
    await _solve_in_a_process(server, espalier, problems, tmp_path, f"local:{random_model}")
    lines = _lines(tmp_path / "out.jsonl")
    assert [len(line["result"]["candidates"]) for line in lines] == [2, 2]
    assert len(list((tmp_path / "traces").glob("*.jsonl"))) == 2


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def _solve_in_a_process(server: RedisServer, espalier: Any, problems: Path, tmp_path: Path, engine: str) -> None:
    settings = ("--policy", "best_of_k", "--k", 2, "--candidate-tokens", 64)
    assert (await asyncio.to_thread(espalier, "submit", problems, "--key", "monday", *settings)).exit_code == 0
    code = "from espalier.solver.cli.batch import worker_app; worker_app()"
    options = ["--redis", server.url, "--engine", engine, "--traces", str(tmp_path / "traces")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *options, env=environment)
    try:
        watched = await asyncio.to_thread(espalier, "watch", "monday")
        assert watched.exit_code == 0, watched.output
    finally:
        process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(process.wait(), 90)
    assert status == 0
    assert (await asyncio.to_thread(espalier, "results", "monday", "-o", tmp_path / "out.jsonl")).exit_code == 0
