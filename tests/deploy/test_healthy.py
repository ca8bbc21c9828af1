"""The probe of the images, as a process, against a real server with and without TLS."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.common.security import ServerSecurity
from tests.solver.scripted import ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import serving, until

ROOT = Path(__file__).parents[2]
TLS = ROOT / "tests" / "verifiers" / "tls"


async def asked(*arguments: str) -> int:
    command = [sys.executable, str(ROOT / "deploy" / "images" / "healthy.py"), *arguments]
    return (await asyncio.to_thread(subprocess.run, command)).returncode


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_server_is_healthy_as_it_is_asked(encrypted: bool) -> None:
    certificate, key = (TLS / "server.pem").read_bytes(), (TLS / "server.key").read_bytes()
    security = ServerSecurity(certificate=certificate, key=key) if encrypted else ServerSecurity()
    async with serving(ScriptedEngine.of("x"), ScriptedJudge(), security=security, warm=False) as served:
        await until(lambda: served.server.serving)
        address = served.address.replace("127.0.0.1", "localhost")
        authority = [str(TLS / "ca.pem")]
        assert await asked(address, *(authority if encrypted else [])) == 0
        assert await asked(address, *([] if encrypted else authority)) == 1
