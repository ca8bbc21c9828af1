"""Verifiers that do as they are told, in place of those of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from espalier.verifiers.integrations.blocking import BlockingVerifiers
from espalier.verifiers.local import LocalVerifiers
from tests.verifiers.doubles import ScriptedVerifier


@contextmanager
def scripted_unless(real: bool) -> Iterator[None]:
    """The process's own verifiers, or scripted ones."""
    if real:
        yield
        return
    with (
        BlockingVerifiers(lambda: LocalVerifiers([ScriptedVerifier()])) as scripted,
        patch("espalier.verifiers.integrations.blocking._of_process", lambda _: scripted),
    ):
        yield
