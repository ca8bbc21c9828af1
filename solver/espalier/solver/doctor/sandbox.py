"""Docker, bubblewrap, and whether programs really run under limits."""

from __future__ import annotations

import asyncio
import shutil

from pydantic import ValidationError

from espalier.solver.doctor.finding import Finding, note, ok, problem
from espalier.verifiers.check import CallCase, Claim, ProgramCheck, ProgramLimits
from espalier.verifiers.code.sandbox import SandboxError
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status, Verdict

SQUARE = "def square(x):\n    return x * x\n"
ENDLESS = "def square(x):\n    while True:\n        pass\n"
GREEDY = "def square(x):\n    return x * x + 0 * len(b'x' * (1 << 30))\n"
"""Right, if it gets the memory."""

PATIENT_SECONDS = 15.0
"""For a right program: whether it is fast is not the question, and the other checks run beside it."""

SHORT_SECONDS = 1.0
"""For one that has to be stopped."""


def docker() -> Finding:
    """A Docker daemon answers and has the sandbox's images."""
    import docker as sdk
    from docker.errors import DockerException
    from requests import RequestException

    try:
        client = sdk.DockerClient.from_env(timeout=5).api
        daemon = client.version()["Version"]
    except (DockerException, RequestException, OSError) as error:
        return note(
            f"no daemon answers: {error}",
            "programs can run in bubblewrap as well; otherwise start Docker (scripts/dockerd.sh) and join its group",
        )
    try:
        client.inspect_image("espalier-sandbox:python")  # type: ignore[no-untyped-call]
    except DockerException:  # not there, or a proxy in between that shows no images
        return note(
            f"Docker {daemon}; no image espalier-sandbox:python can be seen", "run scripts/sandbox-image.sh python"
        )
    return ok(f"Docker {daemon} with the sandbox's image")


def bubblewrap() -> Finding:
    """bubblewrap is installed."""
    found = shutil.which("bwrap")
    if found is None:
        return note("bwrap is not installed", "only needed where there is no Docker: apt-get install bubblewrap")
    return ok(found)


def sandbox() -> Finding:
    """A program runs, and one that never ends or takes all memory is stopped."""
    try:
        return finding(*asyncio.run(_judge()))
    except ValidationError as error:
        wrong = [f"ESPALIER_SANDBOX_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        return problem("; ".join(wrong), "set it right in the environment, or leave it out")
    except SandboxError as error:
        return note(f"programs cannot be run: {error}", "see docs/verifiers.md; math is judged without a sandbox")


def finding(kind: str, right: Verdict, endless: Verdict, greedy: Verdict, remark: str = "") -> Finding:
    """What the verdicts on three programs say of a sandbox.

    Args:
        kind: Name of the sandbox.
        right: On a right program.
        endless: On one that never ends.
        greedy: On one that is right, but takes 1 GiB where 64 MiB are allowed.
        remark: What makes it slower than it could be, if anything.
    """
    for verdict in (right, endless, greedy):
        if verdict.status is Status.ERROR:
            return problem(f"{kind}: the sandbox fails: {verdict.feedback}", "see its log")
    if right.status is not Status.PASS:
        return problem(f"{kind}: a right program does not pass: {right.feedback}", "if it was slow, look again later")
    for name, verdict in (("never ends", endless), ("takes 1 GiB", greedy)):
        if verdict.status is not Status.FAIL:
            advice = "do not use this sandbox: its limits do not hold on this machine"
            return problem(f"{kind}: a program that {name} is not stopped", advice)
    held = f"{kind}: a program runs; an endless one and one that takes 1 GiB are stopped"
    if remark:
        return note(f"{held}; {remark}", "allow unprivileged user namespaces and mounts inside it (docs/verifiers.md)")
    return ok(held)


async def _judge() -> tuple[str, Verdict, Verdict, Verdict, str]:
    """Name of the sandbox, verdicts on the programs (one after the other, so that none is slow for another), remark."""
    opened = await open_sandbox(SandboxSettings(warm=3))
    try:
        verifier = CodeVerifier(sandbox=opened)

        async def judge(program: str, seconds: float) -> Verdict:
            limits = ProgramLimits(case_seconds=seconds, memory_mib=64)
            check = ProgramCheck((CallCase("square", "[3]", "9"),), limits=limits)
            return await verifier.verify(Claim(program, bare=True), check, timeout=30)

        right = await judge(SQUARE, PATIENT_SECONDS)
        endless, greedy = await judge(ENDLESS, SHORT_SECONDS), await judge(GREEDY, PATIENT_SECONDS)
        health = await opened.health()
        return health.detail.partition(":")[0], right, endless, greedy, health.remark
    finally:
        await opened.close()
