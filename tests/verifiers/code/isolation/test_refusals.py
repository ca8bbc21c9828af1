"""What holds where the host, or a list of system calls, refuses more or less than usual; each test opens sandboxes.

Not beside the tests of `test_isolation.py`, where a whole module's zygotes are refused.
"""

from __future__ import annotations

import json

import pytest

from espalier.verifiers.code import maker
from espalier.verifiers.code.sandbox import BoxSpec, Job
from espalier.verifiers.code.seccomp import bpf_program
from tests.verifiers.code.boxes import KINDS, once, opened, refuse_zygotes
from tests.verifiers.code.isolation.test_isolation import GIVEN, PROBE, plain_python


@pytest.mark.parametrize("kind", KINDS)
async def test_files_in_tmp_are_executed_where_the_language_needs_it(kind: str) -> None:
    source = (
        "import os, shutil; shutil.copy('/usr/bin/python3', '/tmp/copy'); os.execv('/tmp/copy', ['copy', '-c', ''])"
    )
    async with opened(kind, warm=0) as sandbox:
        job = Job(BoxSpec("python", executable_tmp=True), (plain_python(source),))
        assert [outcome.exit_code async for outcome in sandbox.run(job)] == [0]


@pytest.mark.parametrize("kind", KINDS)
async def test_namespaces_hold_without_the_list_of_system_calls(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that may call whatever its zygote may: it has not the privileges, and no way to get them."""
    monkeypatch.setattr(maker, "bpf_program", lambda: bpf_program(zygote=True))
    async with opened(kind, warm=0) as sandbox:
        [outcome] = await once(sandbox, plain_python(PROBE, json.dumps(GIVEN)))
    found = json.loads(outcome.stdout)["system calls"]
    assert found["unshare user"] == "ENOSPC"
    tried = ("mount tmpfs", "mount proc", "remount writable", "sethostname")
    assert {label: found[label] for label in tried} == dict.fromkeys(tried, "EPERM")
    assert found["mount_setattr"] != "done"


@pytest.mark.parametrize("kind", KINDS)
async def test_where_the_host_refuses_zygotes_programs_are_judged_all_the_same_and_health_says_so(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(kind, warm=1) as sandbox:
        assert (await sandbox.health()).remark == ""
    refuse_zygotes(monkeypatch)
    async with opened(kind, warm=1) as sandbox:
        [outcome] = await once(sandbox, plain_python("print('hi')"))
        assert outcome.stdout == b"hi\n"
        health = await sandbox.health()
        assert health.ok
        assert "every job pays" in health.remark
        assert "Operation not permitted" in health.remark
