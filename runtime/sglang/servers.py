"""Several servers with the same model: which one a prompt goes to, and who rests after a failure."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from espalier.runtime.sglang.server import Server

REST = 5.0
"""Seconds for which a server that could not be reached is asked last."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of an engine.

    A prompt has a fixed order of preference among them (rendezvous hashing), so that all candidates of a problem share
    one server's keys and values of the prompt, and a server that leaves or comes moves no other prompts.
    """

    all: tuple[Server, ...]

    def preferred(self, prompt: Sequence[int]) -> list[Server]:
        """All servers, best first; those that rest come last."""
        key = blake2b(array("q", prompt).tobytes(), digest_size=16).digest()
        now = asyncio.get_running_loop().time()

        def rank(server: Server) -> tuple[bool, bytes]:
            return server.resting_until > now, blake2b(server.url.encode(), key=key, digest_size=8).digest()

        return sorted(self.all, key=rank)

    def rest(self, server: Server) -> None:
        """Ask others first for a while, and then ask again who it is."""
        server.stale = True
        server.resting_until = asyncio.get_running_loop().time() + REST
