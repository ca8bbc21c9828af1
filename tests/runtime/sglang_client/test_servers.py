from __future__ import annotations

from collections import Counter
from typing import Any

from espalier.runtime.sglang.client.server import Server
from espalier.runtime.sglang.client.servers import Servers

PROMPTS = [(number, 7, number * number) for number in range(300)]


def servers(*names: str) -> Servers:
    no_session: Any = None
    return Servers(tuple(Server(f"http://{name}:30000", no_session) for name in names))


def first(known: Servers) -> list[str]:
    return [known.preferred(prompt)[0].url for prompt in PROMPTS]


async def test_prompts_spread_over_all_servers() -> None:
    counts = Counter(first(servers("a", "b", "c")))
    assert len(counts) == 3
    assert min(counts.values()) > 60


async def test_a_prompt_has_one_order_whatever_the_order_of_the_list() -> None:
    assert first(servers("a", "b", "c")) == first(servers("c", "a", "b"))


async def test_a_server_that_leaves_moves_its_own_prompts_only() -> None:
    before, after = first(servers("a", "b", "c")), first(servers("a", "b"))
    assert all(now == was for was, now in zip(before, after, strict=True) if "//c:" not in was)


async def test_a_server_that_rests_is_asked_last() -> None:
    known = servers("a", "b", "c")
    tired = known.all[0]
    known.back_off(tired)
    assert all(known.preferred(prompt)[-1] is tired for prompt in PROMPTS)
