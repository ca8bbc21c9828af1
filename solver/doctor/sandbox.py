"""Docker, bubblewrap, and whether programs really run under limits."""

from __future__ import annotations

import asyncio
import shutil

from espalier.solver.doctor.finding import Finding, note, ok, problem
from espalier.verifiers.check import CallCase, Claim, ProgramCheck, ProgramLimits
from espalier.verifiers.code.sandbox import SandboxError
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status, Verdict

SQUARE = "def square(x):\n    return x * x\n"
ENDLESS = "def square(x):\n    while True:\n        pass\n"
GREEDY = "def square(x):\n    return len(bytearray(1 << 30))\n"


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
        kind, verdicts = asyncio.run(_judge((SQUARE, ENDLESS, GREEDY)))
    except SandboxError as error:
        return note(f"programs cannot be run: {error}", "see docs/verifiers.md; math is judged without a sandbox")
    statuses = tuple(verdict.status for verdict in verdicts)
    if Status.ERROR in statuses:
        return problem(f"{kind}: the sandbox fails: {verdicts[statuses.index(Status.ERROR)].feedback}", "see its log")
    if statuses != (Status.PASS, Status.FAIL, Status.FAIL):
        return problem(
            f"{kind}: a right program {statuses[0]}, an endless one {statuses[1]}, a greedy one {statuses[2]}",
            "do not use this sandbox: its limits do not hold on this machine",
        )
    return ok(f"{kind}: a program runs; an endless one and one that takes 1 GiB are stopped")


async def _judge(programs: tuple[str, ...]) -> tuple[str, tuple[Verdict, ...]]:
    """Name of the sandbox, and the verdicts on the programs."""
    opened = await open_sandbox(SandboxSettings(warm=len(programs)))
    try:
        limits = ProgramLimits(case_seconds=1.0, memory_mib=64)
        check = ProgramCheck((CallCase("square", "[3]", "9"),), limits=limits)
        verifier = CodeVerifier(sandbox=opened)
        judging = (verifier.verify(Claim(program, bare=True), check, timeout=30) for program in programs)
        verdicts = tuple(await asyncio.gather(*judging))
        return (await opened.health()).detail.partition(":")[0], verdicts
    finally:
        await opened.close()
