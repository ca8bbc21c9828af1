"""Seeds are the same everywhere and differ wherever a part does."""

from __future__ import annotations

from espalier.common.seeds import derive_seed


def test_a_seed_depends_on_its_parts_and_their_order_alone() -> None:
    assert derive_seed(1, 2) == derive_seed("1", "2") == 2026911395
    assert len({derive_seed(1, 2), derive_seed(2, 1), derive_seed(1, 3), derive_seed(1)}) == 4
    assert all(0 <= derive_seed("rollout", number) < 1 << 31 for number in range(1000))
