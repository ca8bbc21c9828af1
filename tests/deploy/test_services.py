"""The services of compose.yaml as processes: a job goes through every part, and everything ends in order."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import docker
import grpc.aio
import httpx2 as httpx
import psutil
import pytest
from deploy.images.docker_proxy import LABEL
from deploy.stack import Stack, running
from prometheus_client.parser import text_string_to_metric_families

from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import encode_problem
from espalier.v1 import solver_pb2, solver_pb2_grpc
from espalier.verifiers.check_text import parse_check

GCD = "Find the Greatest Common Divisor (GCD) of these numbers: 84, 126. Give only the GCD as your final answer."
WORKERS = ("worker-1", "worker-2")
END_SECONDS = 240
DONE = solver_pb2.JOB_STATE_DONE
ENDED = (DONE, solver_pb2.JOB_STATE_CANCELLED, solver_pb2.JOB_STATE_DEAD)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running({**os.environ, "SANDBOX_WARM": "1", "THREADS": "1"}) as stack:
        yield stack


def espalier(stack: Stack, *arguments: str, cwd: Path) -> str:
    """A command of a user of these services."""
    environment = {**os.environ, "ESPALIER_REDIS": f"redis://{stack.address('redis', 6379)}/0"}
    command = [sys.executable, "-m", "espalier.solver.cli.main", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=END_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def call(stack: Stack, name: str, request: Any) -> Any:
    """A call of the solving service, with the token."""
    async with grpc.aio.insecure_channel(stack.address("solver", 50051)) as channel:
        metadata = (("authorization", f"Bearer {stack.token.read_text()}"),)
        return await getattr(solver_pb2_grpc.SolverStub(channel), name)(request, metadata=metadata, timeout=60)


async def reached(stack: Stack, job: str, *states: int) -> Any:
    """The job, once it is in one of the states."""
    async with asyncio.timeout(END_SECONDS):
        while True:
            found = await call(stack, "GetJob", solver_pb2.GetJobRequest(job_id=job))
            if found.status.state in states:
                return found
            await asyncio.sleep(0.2)


def scraped(stack: Stack, service: str, number: int = 1) -> dict[str, float]:
    """Sums of all series of a metric."""
    with urlopen(f"http://{stack.address(service, 9090, number)}/metrics", timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        sums: dict[str, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            for name in (sample.name, *(f"{sample.name}/{value}" for value in sample.labels.values())):
                sums[name] = sums.get(name, 0.0) + sample.value
        return sums


async def test_a_job_submitted_over_grpc_is_solved_by_a_worker_and_judged_by_the_verifier(stack: Stack) -> None:
    problem = encode_problem(Problem("gcd", GCD, parse_check("reference:42")))
    settings = solver_pb2.Settings(k=4, candidate_tokens=768)
    submitted = await call(stack, "SubmitJob", solver_pb2.SubmitJobRequest(problems=[problem], settings=settings))
    found = await reached(stack, submitted.job_ids[0], *ENDED)
    assert found.status.state == DONE, found
    assert (found.result.answer, found.result.outcome) == ("42", solver_pb2.SolveResponse.OUTCOME_VERIFIED)


def test_a_batch_of_the_command_line_is_solved(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text(json.dumps({"id": "gcd", "text": GCD, "check": "reference:42"}))
    submitted = espalier(stack, "batch", "submit", "problems.jsonl", "--key", "monday", "--k", "4", cwd=tmp_path)
    assert submitted.strip() == "monday"
    espalier(stack, "batch", "watch", "monday", cwd=tmp_path)
    (result,) = map(json.loads, espalier(stack, "batch", "results", "monday", cwd=tmp_path).splitlines())
    assert (result["state"], result["result"]["answer"], result["result"]["outcome"]) == (
        "done",
        "42",
        "OUTCOME_VERIFIED",
    )


def test_a_program_goes_from_the_verifier_through_the_proxy_into_a_box(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text("def square(x): return x * x\n")
    (tmp_path / "cases.json").write_text('[{"call": {"function": "square", "arguments": [12], "expected": 144}}]')
    reach = ("--address", stack.address("verifier", 50061), "--token-file", str(stack.token))
    judged = espalier(stack, "verify", "code", "solution.py", "--cases", "cases.json", *reach, cwd=tmp_path)
    assert judged.startswith("PASS")
    assert scraped(stack, "verifier")["espalier_verdicts_total/program"] == 1


def test_metrics_show_what_has_happened(stack: Stack) -> None:
    workers = [scraped(stack, "worker", number) for number in (1, 2)]
    assert sum(worker.get("espalier_solves_total", 0) for worker in workers) == 2
    assert sum(worker.get("espalier_tokens_total", 0) for worker in workers) > 0
    verifier = scraped(stack, "verifier")
    assert verifier["espalier_verdicts_total/pass"] >= 1
    assert verifier["espalier_verifier_healthy"] == 3
    assert "espalier_queue_depth" in scraped(stack, "solver")


def test_the_live_pages_show_the_queue_to_those_with_the_token(stack: Stack) -> None:
    pages = f"http://{stack.address('solver', 8000)}/ui"
    assert "<title>Espalier" in httpx.get(f"{pages}/").text
    assert httpx.get(f"{pages}/api/queue/events").status_code == 401
    token = {"Authorization": f"Bearer {stack.token.read_text()}"}
    with httpx.stream("GET", f"{pages}/api/queue/events", headers=token, timeout=END_SECONDS) as stream:
        for line in stream.iter_lines():
            told = json.loads(line[6:]) if line.startswith("data: ") else {"workers": []}
            if len(told["workers"]) == len(WORKERS):  # one that has not had a job yet shows up after a while
                break
    assert {job["state"] for job in told["jobs"]} == {"done"}


async def test_without_the_token_nobody_is_served(stack: Stack) -> None:
    async with grpc.aio.insecure_channel(stack.address("solver", 50051)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await solver_pb2_grpc.SolverStub(channel).ListJobs(solver_pb2.ListJobsRequest(), timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_sigterm_drains_a_worker_and_its_job_comes_to_an_end(stack: Stack) -> None:
    problem = encode_problem(Problem("long", "Using the numbers 19, 36, 55 and 7, each once, make 65", None))
    settings = solver_pb2.Settings(k=4, policy="best_of_k", candidate_tokens=256)
    submitted = await call(stack, "SubmitJob", solver_pb2.SubmitJobRequest(problems=[problem] * 2, settings=settings))
    await reached(stack, submitted.job_ids[0], solver_pb2.JOB_STATE_RUNNING, DONE)
    assert await asyncio.to_thread(stack.stop, WORKERS[0]) == 0
    for job in submitted.job_ids:
        assert (await reached(stack, job, *ENDED)).status.state == DONE


def test_everything_ends_with_status_0_and_leaves_nothing(stack: Stack) -> None:
    processes = [psutil.Process(one.process.pid) for one in stack.processes.values() if one.process.poll() is None]
    family = [*processes, *(child for process in processes for child in process.children(recursive=True))]
    assert set(stack.stop_all().values()) == {0}
    assert not psutil.wait_procs(family, timeout=60)[1]
    verifier = f".{stack.processes['verifier-1'].process.pid}."
    boxes = docker.DockerClient.from_env().api.containers(all=True, filters={"label": LABEL})
    assert not [box for box in boxes if verifier in box["Labels"][LABEL]]
    for service, port in (("redis", 6379), ("verifier", 50061), ("solver", 50051), ("docker-proxy", 2375)):
        host, _, number = stack.address(service, port).partition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(number)), timeout=5)
