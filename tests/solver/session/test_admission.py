"""A line that callers share fairly, each within its limits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from espalier.common.callers import ANYONE, Caller, Callers
from espalier.common.security import ServerSecurity
from espalier.solver.session.admission import Admission, AdmissionFullError

ALICE, BOB = Caller("alice"), Caller("bob")
TOKEN = "a-token-of-some-length"  # noqa: S105


class Solves:
    """Solves that hold their slot until they are told to end, in the order in which they got it."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.started: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def add(self, name: str, caller: Caller) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, caller))
        await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)

    async def _hold(self, name: str, caller: Caller) -> None:
        async with self._admission.enter(caller):
            self.started.append(name)
            await self.ends[name].wait()


async def test_a_long_line_of_one_caller_does_not_keep_another_waiting() -> None:
    solves = Solves(Admission(1, 100))
    for number in range(5):
        await solves.add(f"a{number}", ALICE)
    for number in range(2):
        await solves.add(f"b{number}", BOB)
    for name in ("a0", "b0", "a1", "b1", "a2", "a3", "a4"):
        assert solves.started[-1] == name
        await solves.end(name)


async def test_slots_are_shared_evenly_between_callers_that_wait() -> None:
    solves = Solves(Admission(4, 100))
    for number in range(8):
        await solves.add(f"a{number}", ALICE)
    for number in range(8):
        await solves.add(f"b{number}", BOB)
    for name in ("a0", "a1"):
        await solves.end(name)
    assert solves.started == ["a0", "a1", "a2", "a3", "b0", "b1"]
    for name in list(solves.ends):
        solves.ends[name].set()
    await asyncio.gather(*solves.tasks.values())


async def test_a_caller_above_its_limit_waits_while_slots_are_free_for_others() -> None:
    admission = Admission(3, 100)
    solves = Solves(admission)
    few = Caller("few", solves=1)
    await solves.add("f0", few)
    await solves.add("f1", few)
    await solves.add("b0", BOB)
    assert solves.started == ["f0", "b0"]
    assert (admission.running, admission.waiting) == (2, 1)
    await solves.end("f0")
    assert solves.started[-1] == "f1"
    for name in ("f1", "b0"):
        await solves.end(name)
    assert await admission.drain(1)


async def test_a_solve_that_is_cancelled_in_line_leaves_it_and_one_with_a_slot_frees_it() -> None:
    admission = Admission(1, 100)
    solves = Solves(admission)
    for name in ("a0", "a1", "a2"):
        await solves.add(name, ALICE)
    solves.tasks["a1"].cancel()
    await asyncio.wait([solves.tasks["a1"]])
    assert (admission.running, admission.waiting) == (1, 1)
    solves.tasks["a0"].cancel()
    await asyncio.wait([solves.tasks["a0"]])
    await asyncio.sleep(0)
    assert solves.started == ["a0", "a2"]
    await solves.end("a2")
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_turn_that_comes_together_with_a_cancel_is_passed_on() -> None:
    admission = Admission(1, 100)
    solves = Solves(admission)
    for name in ("a0", "a1", "a2"):
        await solves.add(name, ALICE)
    solves.ends["a0"].set()
    await solves.tasks["a0"]  # a1 has its turn, and has not run yet
    solves.tasks["a1"].cancel()
    await asyncio.wait([solves.tasks["a1"]])
    await asyncio.sleep(0)
    assert solves.started[-1] == "a2"
    await solves.end("a2")
    assert admission.running == 0


async def test_used_up_tokens_turn_a_caller_away_and_say_for_how_long() -> None:
    admission = Admission(4, 4)
    metered = Caller("metered", tokens_per_minute=600)
    admission.charge(metered, 700)
    with pytest.raises(AdmissionFullError, match="600 tokens a minute are used up") as caught:
        async with admission.enter(metered):
            pass
    assert 9 < caught.value.delay <= 10
    async with admission.enter(BOB):
        pass


def test_callers_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(f'[alice]\ntoken = "{TOKEN}"\nsolves = 2\n')
    security = ServerSecurity(callers=Callers(path))
    assert security.identify(f"Bearer {TOKEN}") == Caller("alice", solves=2)
    assert security.identify("Bearer wrong") is None
    path.write_text(f'[alice]\ntoken = "{TOKEN}-2"\n[bob]\ntoken = "{TOKEN}-3"\ntokens_per_minute = 5\n')
    assert security.identify(f"Bearer {TOKEN}") is None
    assert security.identify(f"Bearer {TOKEN}-3") == Caller("bob", tokens_per_minute=5)
    path.write_text("nonsense")
    assert security.identify(f"Bearer {TOKEN}-2") == Caller("alice")
    assert ServerSecurity().identify("") == ANYONE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no caller"),
        ("x = 1", "is no table"),
        (f'[""]\ntoken = "{TOKEN}"', "a caller needs a name"),
        (f'["a\\u001b"]\ntoken = "{TOKEN}"', "a caller needs a name"),
        ('[a]\ntoken = "short"', "at least 16"),
        (f'[a]\ntoken = "{TOKEN}"\nsolves = 0', "solves must be"),
        (f'[a]\ntoken = "{TOKEN}"\nstored_mib = -1', "stored_mib must be a whole number above 0, or 0 for any"),
        (f'[a]\ntoken = "{TOKEN}"\nslots = 1', "unknown field slots"),
        (f'[a]\ntoken = "{TOKEN}"\n[b]\ntoken = "{TOKEN}"', "also that of a"),
    ],
)
def test_a_file_of_callers_that_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        Callers(path)
