"""The small shop of examples/patch, its check, and what its tests hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from espalier.verifiers.check import PatchCheck, PatchLimits
from espalier.verifiers.patch.repository import pack, store
from espalier.verifiers.patch.settings import PatchSettings
from espalier.verifiers.patch.verifier import PatchVerifier
from tests.verifiers.code.boxes import opened

EXAMPLE = Path(__file__).parents[3] / "examples/patch"
CART = (EXAMPLE / "shop/src/shop/cart.py").read_text("utf-8")
FIX = (EXAMPLE / "fix.diff").read_text("utf-8")
HIDDEN = (("tests/test_hidden.py", (EXAMPLE / "hidden/tests/test_hidden.py").read_text("utf-8")),)
AGAIN = "tests/test_cart.py::test_the_same_item_again"


def check_in(repositories: Path) -> PatchCheck:
    """The check of the example without its hidden tests, whose repository is put into a store."""
    name = store(pack(EXAMPLE / "shop"), repositories)
    return PatchCheck(name, (AGAIN,), limits=PatchLimits(seconds=20, memory_mib=128))


def with_hidden(check: PatchCheck) -> PatchCheck:
    return replace(check, must_pass=(AGAIN, "tests/test_hidden.py"), hidden_files=HIDDEN)


@asynccontextmanager
async def verifier_of(kind: str, directory: Path) -> AsyncIterator[PatchVerifier]:
    """A verifier on a real sandbox, with stores in a directory."""
    settings = PatchSettings(repositories=directory / "repositories", environments=directory / "environments")
    async with opened(kind, warm=0) as sandbox:
        verifier = PatchVerifier(settings, sandbox=sandbox)
        yield verifier
        await verifier.close()
