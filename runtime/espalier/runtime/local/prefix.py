"""A prompt's keys and values, shared by all requests that begin with it."""

from __future__ import annotations

from dataclasses import dataclass

from espalier.runtime.local.kv_pages import BlockTable


@dataclass(eq=False, slots=True)
class Prefix:
    """Prompt tokens without the last one.

    Attributes:
        tokens: What is shared.
        row: Their pages.
        computed: Keys and values of `tokens[:computed]` exist.
        users: Requests that refer to it; the pages go when the last one leaves.
    """

    tokens: tuple[int, ...]
    row: BlockTable
    computed: int = 0
    users: int = 0

    @property
    def ready(self) -> bool:
        return self.computed == len(self.tokens)
