"""An ERROR is asked again once, however many layers lie between the caller and what is broken."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from espalier.training.rl.verifiers import RetryingVerifiers
from espalier.verifiers.check import Claim, ProgramCheck, ReferenceCheck, StdioCase
from espalier.verifiers.code.sandbox import CommandOutcome, Job, Sandbox, SandboxError
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.retry import with_retry
from espalier.verifiers.verdict import Status, Verdict
from tests.verifiers.doubles import ScriptedVerifier
from tests.verifiers.running import running

PROGRAM = Claim("print(1)", bare=True)
PRINTS_1 = ProgramCheck((StdioCase("", "1"),))


class DeadSandbox(Sandbox):
    """Counts the jobs that it cannot run."""

    def __init__(self) -> None:
        self.jobs = 0

    async def run(self, job: Job) -> AsyncGenerator[CommandOutcome, None]:  # type: ignore[override]
        self.jobs += 1
        raise SandboxError("the daemon is gone")
        yield


async def test_a_dead_sandbox_is_run_twice_through_the_verifiers_of_this_process() -> None:
    sandbox = DeadSandbox()
    async with LocalVerifiers([CodeVerifier(sandbox=sandbox)]) as verifiers:
        assert (await verifiers.verify(PROGRAM, PRINTS_1)).status is Status.ERROR
    assert sandbox.jobs == 2


async def test_a_dead_sandbox_is_run_twice_through_the_verifiers_of_a_training_run() -> None:
    sandbox = DeadSandbox()
    async with LocalVerifiers([CodeVerifier(sandbox=sandbox)]) as verifiers:
        training = RetryingVerifiers(verifiers, lambda text: None)
        assert (await training.verify(PROGRAM, PRINTS_1)).status is Status.ERROR
    assert sandbox.jobs == 2


@pytest.mark.parametrize("servers", [1, 2])
async def test_dead_sandboxes_of_servers_are_run_twice_in_all(servers: int) -> None:
    boxes = [DeadSandbox() for _ in range(2)]
    async with (
        running(LocalVerifiers([CodeVerifier(sandbox=boxes[0])])) as one,
        running(LocalVerifiers([CodeVerifier(sandbox=boxes[1])])) as two,
        RemoteVerifiers([one, two][:servers]) as verifiers,
    ):
        assert (await verifiers.verify(PROGRAM, PRINTS_1)).status is Status.ERROR
    assert [box.jobs for box in boxes] == ([2, 0] if servers == 1 else [1, 1])


async def test_a_server_makes_one_attempt_a_call_and_its_client_asks_again() -> None:
    verifier = ScriptedVerifier()
    async with running(LocalVerifiers([verifier])) as address, RemoteVerifiers([address]) as verifiers:
        assert (await verifiers.verify(Claim("error-once"), ReferenceCheck("42"))).passed
    assert verifier.calls == ["error-once"] * 2


async def test_no_second_attempt_begins_when_the_time_is_up() -> None:
    attempts: list[float | None] = []

    async def judge(left: float | None) -> Verdict:
        attempts.append(left)
        return Verdict(Status.ERROR, 0.0, "test")

    await with_retry(judge, 0.01)
    assert attempts == [0.01]
    await with_retry(judge, None)
    assert attempts == [0.01, None, None]
