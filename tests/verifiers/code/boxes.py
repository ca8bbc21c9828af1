"""Sandboxes for tests: the real ones of this machine, or a skip that says why."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from espalier.verifiers.code import bwrap, docker
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import BoxSpec, Command, Job, Sandbox, SandboxError
from espalier.verifiers.code.seccomp import bpf_program, docker_profile
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox

KINDS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bwrap", marks=pytest.mark.bwrap)]


def unavailable(reason: str) -> None:
    """Skip, or fail where continuous integration promises a sandbox."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have this sandbox: {reason}", pytrace=False)
    pytest.skip(reason)


def refuse_zygotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel refuse what a zygote needs: it gets the system calls of a box."""
    monkeypatch.setattr(docker, "docker_profile", lambda zygote: docker_profile())
    monkeypatch.setattr(bwrap, "bpf_program", lambda zygote: bpf_program())


@asynccontextmanager
async def opened(kind: str, *, warm: int = 2, image: str = "python") -> AsyncGenerator[PooledSandbox, None]:
    """A sandbox of that kind in which `image` is known to run."""
    try:
        sandbox = await open_sandbox(SandboxSettings.model_validate({"kind": kind, "warm": warm, "concurrency": 2}))
    except SandboxError as error:
        unavailable(str(error))
        raise AssertionError from error
    assert isinstance(sandbox, PooledSandbox)
    try:
        try:
            await once(sandbox, Command(("/usr/bin/python3", "-c", "")), image=image)
        except SandboxError as error:
            unavailable(str(error))
        yield sandbox
    finally:
        await sandbox.close()


async def once(sandbox: Sandbox, *commands: Command, image: str = "python", files: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    """The outcomes of the commands in one box."""
    return [outcome async for outcome in sandbox.run(Job(BoxSpec(image), commands, files or {}))]
