"""What a box is made with reaches its programs: room in /tmp, and a directory of packages that they cannot change."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import PACKAGES, BoxSpec, Command, CommandOutcome, Job

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def run(sandbox: PooledSandbox, spec: BoxSpec, source: str) -> CommandOutcome:
    job = Job(spec, [Command(("/usr/bin/python3", "-c", source))])
    (outcome,) = [outcome async for outcome in sandbox.run(job)]
    return outcome


@pytest.mark.parametrize(("tmp_mib", "left"), [(64, False), (128, True)])
async def test_tmp_has_the_size_that_was_asked_for(sandbox: PooledSandbox, tmp_mib: int, left: bool) -> None:
    source = "for n in range(2): open(f'/tmp/{n}x', 'wb').write(bytes(40 << 20))"
    outcome = await run(sandbox, BoxSpec("python", tmp_mib=tmp_mib), source)
    assert (outcome.exit_code == 0) is left, outcome.stderr
    assert left or b"No space left" in outcome.stderr


async def test_packages_can_be_imported_and_not_changed(sandbox: PooledSandbox, shared_directory: Path) -> None:
    module = shared_directory / "borrowed.py"
    module.write_text("WORD = 'read'\n")
    module.chmod(0o666)
    source = f"""
import sys
sys.path.insert(0, {PACKAGES!r})
import borrowed
try:
    open(borrowed.__file__, "a")
except OSError as error:
    print(borrowed.WORD, error.strerror)
"""
    outcome = await run(sandbox, BoxSpec("python", packages=str(shared_directory)), source)
    assert outcome.stdout == b"read Read-only file system\n", outcome.stderr
