"""How the sandbox of this machine is set up, and the choice of one."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from espalier.verifiers.code.bwrap import BwrapLauncher
from espalier.verifiers.code.docker import DockerLauncher
from espalier.verifiers.code.maker import Launcher, OuterSandboxMaker
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import BoxSpec, SandboxError


class SandboxSettings(BaseSettings):
    """Read from the environment (`ESPALIER_SANDBOX_KIND=bwrap`, …)."""

    model_config = SettingsConfigDict(env_prefix="ESPALIER_SANDBOX_", extra="forbid")

    kind: Literal["auto", "docker", "bwrap"] = "auto"
    """`auto`: Docker where a daemon answers, else bubblewrap, else an error that says what to install."""
    runtime: str | None = None
    """OCI runtime of the containers, for example "runsc"; the daemon's default when unset."""
    warm: int = Field(default=4, ge=0, le=256)
    """Python boxes of the default memory kept ready. The first check that asks for another box waits until it is made;
    as many of those are kept as there are jobs at a time."""
    concurrency: int = Field(default=max(2, os.cpu_count() or 1), ge=1, le=1024)
    """Jobs at the same time; more than processors makes programs miss their time limits."""
    cpus: float = Field(default=1.0, gt=0)
    """Processors of one box."""
    pids: int = Field(default=64, ge=8, le=4096)
    """Processes and threads of one box."""
    max_memory_mib: int = Field(default=1024, ge=32)
    """The most that a check may ask for."""


async def open_sandbox(settings: SandboxSettings) -> PooledSandbox:
    """Start the sandbox that the settings choose.

    Raises:
        SandboxError: None is to be had; says what to install or start.
    """
    faults = []
    for launcher in _launchers(settings):
        maker = OuterSandboxMaker(launcher)
        sandbox = PooledSandbox(maker, {BoxSpec("python"): settings.warm}, concurrency=settings.concurrency)
        try:
            await sandbox.start()
        except SandboxError as error:
            await sandbox.close()
            faults.append(f"{maker.name}: {error}")
        else:
            return sandbox
    raise SandboxError("no sandbox can be had, and programs run in a sandbox or not at all. " + "; ".join(faults))


def _launchers(settings: SandboxSettings) -> list[Launcher]:
    docker = DockerLauncher(runtime=settings.runtime, cpus=settings.cpus, pids=settings.pids)
    bwrap = BwrapLauncher(cpus=settings.cpus, pids=settings.pids)
    choices: dict[str, list[Launcher]] = {"auto": [docker, bwrap], "docker": [docker], "bwrap": [bwrap]}
    return choices[settings.kind]
