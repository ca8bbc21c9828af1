"""The one derivation of seeds: of candidates, samples, rollouts and problems."""

from __future__ import annotations

from hashlib import blake2b


def derive_seed(*parts: int | str) -> int:
    """A seed that depends on the parts and their order alone: the same on every machine and in every process.

    Returns:
        0 to 2^31 - 1: what every engine takes.
    """
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 33
