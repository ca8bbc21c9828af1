"""The same verdict in this process, over gRPC and from the shell; what no request may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.common.errors import FieldError
from espalier.common.security import ServerSecurity
from espalier.verifiers.check import Claim, PatchCheck
from espalier.verifiers.check_text import CheckError, check_from_json, check_to_json, parse_check
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.patch.verifier import PatchVerifier
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.service import ServerSettings, VerifierServer
from espalier.verifiers.verdict import Status
from tests.verifiers.patch.shops import EXAMPLE, FIX, with_hidden
from tests.verifiers.process import PROGRAM

in_module_loop = pytest.mark.asyncio(loop_scope="module")


@in_module_loop
async def test_over_grpc(verifier: PatchVerifier, check: PatchCheck) -> None:
    local = LocalVerifiers([verifier])
    server = VerifierServer(local, ServerSettings(address="127.0.0.1:0"), ServerSecurity())
    port = await server.start()
    async with RemoteVerifiers([f"127.0.0.1:{port}"]) as remote:
        passed = await remote.verify(Claim(FIX, bare=True), with_hidden(check), timeout=120)
        failed = await remote.verify(Claim("```diff\nnone\n```"), check, timeout=120)
        with pytest.raises(FieldError, match="has no archive"):
            await remote.verify(Claim(FIX, bare=True), PatchCheck("0" * 64, ("tests/a.py::b",)), timeout=120)
    await server.drain()
    assert (passed.status, failed.status) == (Status.PASS, Status.FAIL)
    assert json.loads(passed.evidence[0].detail)["must_not_break"] == [6, 6]


@pytest.mark.bwrap
@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("patch", "status"), [(FIX, 0), (FIX.replace("had + quantity", "had + 1"), 1), ("nothing", 1)])
def test_from_the_shell(tmp_path: Path, patch: str, status: int) -> None:
    report = tmp_path / "report.md"
    command = [sys.executable, "-c", PROGRAM, "verify", "patch", "-", "--check", str(EXAMPLE / "check.json"), "--json"]
    environment = {"ESPALIER_PATCH_REPOSITORIES": str(tmp_path / "store"), "ESPALIER_SANDBOX_KIND": "bwrap"}
    done = subprocess.run(
        [*command, "--report", str(report)],
        input=patch,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == status, done.stderr
    verdict = json.loads(done.stdout)
    assert report.read_text("utf-8").startswith(f"# Patch: {verdict['status'].upper()}\n")


def test_no_request_names_a_file_of_the_server() -> None:
    with pytest.raises(CheckError, match="unknown kind 'patch'"):
        parse_check(f"patch:{EXAMPLE / 'check.json'}")
    with pytest.raises(CheckError, match="is no SHA-256"):
        check_from_json(
            {"patch": {"repository": str(EXAMPLE / "shop"), "must_pass": ["tests/test_cart.py::test_total"]}}
        )


def test_a_check_in_json_comes_back_as_it_was(check: PatchCheck) -> None:
    assert check_from_json(json.loads(json.dumps(check_to_json(with_hidden(check))))) == with_hidden(check)
