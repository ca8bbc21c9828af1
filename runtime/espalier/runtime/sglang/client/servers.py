"""Several servers with the same model: what they are, and which one a prompt goes to."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from espalier.runtime.engine import EngineError, EngineUnavailable
from espalier.runtime.sglang.client.server import Profile, Server


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of an engine.

    A prompt has a fixed order of preference among them (rendezvous hashing), so that all candidates of a problem share
    one server's keys and values of the prompt, and a server that leaves or comes moves no other prompts.
    """

    all: tuple[Server, ...]

    async def meet(self) -> None:
        """Ask all who they are.

        Raises:
            EngineUnavailable: None of them can be reached. Some may be away.
            EngineError: One is no SGLang server, refuses our key, or serves another model than the rest.
        """
        met = await asyncio.gather(*(server.meet() for server in self.all), return_exceptions=True)
        errors = [result for result in met if isinstance(result, BaseException)]
        grave = [error for error in errors if not isinstance(error, EngineUnavailable)]
        if grave or len(errors) == len(met):
            raise (grave or errors)[0]
        for server, result in zip(self.all, met, strict=True):
            if isinstance(result, BaseException):
                self.back_off(server)
            else:
                self._require_same_model(server, result)

    @property
    def profiles(self) -> list[Profile]:
        """Of those that were met.

        Raises:
            EngineUnavailable: None was.
        """
        profiles = [server.profile for server in self.all if server.profile is not None]
        if not profiles:
            raise EngineUnavailable("the engine is not connected; use it as `async with SglangEngine(url) as engine`")
        return profiles

    async def profile(self, server: Server) -> Profile:
        """What a server is, asked anew if it was away. Raises as :meth:`meet`."""
        profile = await server.meet() if server.stale or server.profile is None else server.profile
        self._require_same_model(server, profile)
        return profile

    def preferred(self, prompt: Sequence[int]) -> list[Server]:
        """All servers, best first; those that failed lately come last."""
        key = blake2b(array("q", prompt).tobytes(), digest_size=16).digest()

        def rank(server: Server) -> tuple[bool, bytes]:
            return server.cooldown.active, blake2b(server.url.encode(), key=key, digest_size=8).digest()

        return sorted(self.all, key=rank)

    def back_off(self, server: Server) -> None:
        """Ask others first for a while, and then ask again who it is."""
        server.stale = True
        server.cooldown.back_off()

    def _require_same_model(self, server: Server, profile: Profile) -> None:
        first = self.profiles[0].model
        if profile.model != first:
            raise EngineError(f"{server.url} serves {profile.model}, the other servers {first}")
