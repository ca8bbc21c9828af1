"""Servers that failed are asked last: for longer with every failure in a row, and never for long."""

from __future__ import annotations

from espalier.common.cooldown import FIRST_SECONDS, LONGEST_SECONDS, Cooldown


async def test_every_failure_in_a_row_doubles_the_pause_up_to_a_limit() -> None:
    cooldown = Cooldown()
    assert not cooldown.active
    pauses = [cooldown.back_off() for _ in range(20)]
    assert pauses[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert pauses[-1] == LONGEST_SECONDS
    assert cooldown.active


async def test_a_success_makes_the_next_failure_the_first() -> None:
    cooldown = Cooldown()
    cooldown.back_off()
    cooldown.back_off()
    cooldown.reset()
    assert cooldown.back_off() == FIRST_SECONDS


async def test_a_server_that_says_how_long_is_taken_at_its_word() -> None:
    cooldown = Cooldown()
    assert cooldown.back_off(30.0) == 30.0
    assert cooldown.back_off() == FIRST_SECONDS
