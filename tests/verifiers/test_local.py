"""The verifiers of this process are routed to, started, checked and guarded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from google.protobuf import json_format

from espalier.common.errors import FieldError, UnansweredError
from espalier.v1 import common_pb2
from espalier.verifiers import local as local_module
from espalier.verifiers.check import Claim, CustomCheck, ProgramCheck, ReferenceCheck, StdioCase, StepCheck
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.local import LocalVerifiers, load
from espalier.verifiers.math.verifier import MathVerifier
from espalier.verifiers.proto import decode_check
from espalier.verifiers.verdict import Status
from espalier.verifiers.verifier import Verifier
from tests.verifiers.doubles import BareVerifier, ScriptedVerifier
from tests.verifiers.running import until

if TYPE_CHECKING:
    from espalier.verifiers.code.sandbox import Sandbox

CHECK = ReferenceCheck("42")


async def test_each_check_goes_to_the_verifier_of_its_kind() -> None:
    math, steps = ScriptedVerifier("math"), ScriptedVerifier("steps", frozenset({StepCheck}))
    async with LocalVerifiers([math, steps]) as verifiers:
        await verifiers.verify(Claim("42"), CHECK)
        await verifiers.verify(Claim("pass"), StepCheck())
    assert (math.calls, steps.calls) == (["42"], ["pass"])
    assert isinstance(verifiers, Verifier)
    assert verifiers.kinds == {ReferenceCheck, StepCheck}


async def test_a_custom_check_goes_to_the_verifier_that_it_names() -> None:
    one, two = (ScriptedVerifier(name, frozenset({CustomCheck})) for name in ("one", "two"))
    async with LocalVerifiers([one, two]) as verifiers:
        verdict = await verifiers.verify(Claim("x"), CustomCheck("two"))
    assert verdict.decided_by == "two"
    assert one.calls == []


@pytest.mark.parametrize(
    ("check", "field"),
    [(ProgramCheck((StdioCase("", ""),)), "check.kind"), (CustomCheck("absent"), "check.custom.verifier")],
)
async def test_a_check_that_nobody_judges_is_the_callers_mistake(check: object, field: str) -> None:
    async with LocalVerifiers([ScriptedVerifier(), BareVerifier()]) as verifiers:
        with pytest.raises(FieldError) as caught:
            await verifiers.verify(Claim("x"), check)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_two_verifiers_of_one_kind_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'a' and 'b' both judge reference checks"):
        LocalVerifiers([ScriptedVerifier("a"), ScriptedVerifier("b")])


def test_two_verifiers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two verifiers are called 'a'"):
        LocalVerifiers([ScriptedVerifier("a"), ScriptedVerifier("a", frozenset({StepCheck}))])


async def test_an_error_is_tried_once_more() -> None:
    verifier = ScriptedVerifier()
    async with LocalVerifiers([verifier]) as verifiers:
        assert (await verifiers.verify(Claim("error-once"), CHECK)).passed
        assert (await verifiers.verify(Claim("error"), CHECK)).status is Status.ERROR
    assert verifier.calls == ["error-once"] * 2 + ["error"] * 2


@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL, Status.UNKNOWN])
async def test_no_other_verdict_is_tried_again(status: Status) -> None:
    verifier = ScriptedVerifier()
    async with LocalVerifiers([verifier]) as verifiers:
        assert (await verifiers.verify(Claim(status.value), CHECK)).status is status
    assert len(verifier.calls) == 1


@pytest.mark.parametrize("text", ["raise", "nonsense"])
async def test_a_defect_of_a_verifier_is_an_error_and_not_a_crash(text: str) -> None:
    async with LocalVerifiers([ScriptedVerifier()]) as verifiers:
        verdict = await verifiers.verify(Claim(text), CHECK)
    assert verdict.status is Status.ERROR
    assert verdict.evidence[0].rule in {"exception", "protocol"}


async def test_a_verifier_that_ignores_its_time_limit_is_cut_off() -> None:
    verifier = ScriptedVerifier()
    async with LocalVerifiers([verifier]) as verifiers:
        verdict = await verifiers.verify(Claim("hang"), CHECK, timeout=0.01)
    assert verdict.status is Status.ERROR
    assert verdict.evidence[0].rule == "timeout"
    assert verifier.running == 0


async def test_cancelling_a_call_cancels_the_verifier() -> None:
    verifier = ScriptedVerifier()
    async with LocalVerifiers([verifier]) as verifiers:
        call = asyncio.create_task(verifiers.verify(Claim("hang"), CHECK))
        await until(lambda: verifier.running == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert verifier.cancelled == 1


async def test_a_closed_verifier_is_not_started_again() -> None:
    verifier = ScriptedVerifier()
    async with LocalVerifiers([verifier]) as verifiers:
        await verifiers.verify(Claim("42"), CHECK)
    verdict = await verifiers.verify(Claim("42"), CHECK)
    assert verdict.status is Status.ERROR
    assert "the verifier is closed" in verdict.evidence[0].detail
    assert (verifier.started, verifier.closed) == (1, 1)


async def test_only_what_is_needed_starts_and_only_what_started_is_closed() -> None:
    used, unused = ScriptedVerifier("used"), ScriptedVerifier("unused", frozenset({StepCheck}))
    async with LocalVerifiers([used, unused]) as verifiers:
        await asyncio.gather(*(verifiers.verify(Claim("42"), CHECK) for _ in range(5)))
    assert (used.started, used.closed) == (1, 1)
    assert (unused.started, unused.closed) == (0, 0)


async def test_a_start_outlives_the_caller_that_gave_up_on_it() -> None:
    class SlowStart(ScriptedVerifier):
        async def start(self) -> None:
            await self.release.wait()
            self.started += 1

    verifier = SlowStart()
    async with LocalVerifiers([verifier]) as verifiers:
        assert (await verifiers.verify(Claim("42"), CHECK, timeout=0.01)).status is Status.ERROR
        verifier.release.set()
        assert (await verifiers.verify(Claim("42"), CHECK)).passed
    assert verifier.started == 1


async def test_a_start_that_failed_is_tried_again() -> None:
    class FlakyStart(ScriptedVerifier):
        async def start(self) -> None:
            self.started += 1
            if self.started < 2:
                raise OSError("no daemon")

    async with LocalVerifiers([FlakyStart()]) as verifiers:
        assert (await verifiers.verify(Claim("42"), CHECK)).passed


async def test_health_follows_the_self_check() -> None:
    verifier = ScriptedVerifier()
    async with LocalVerifiers([verifier, BareVerifier()]) as verifiers:
        assert [info.healthy for info in await verifiers.describe()] == [False, False]
        assert [info.healthy for info in await verifiers.check()] == [True, True]
        verifier.fault = "accepted 2 = 3"
        sick = (await verifiers.check())[0]
        assert not sick.healthy
        assert "accepted 2 = 3" in sick.reason
        verifier.fault = None
        assert (await verifiers.check())[0].healthy


async def test_a_self_check_that_raises_is_a_failed_one() -> None:
    class Raising(ScriptedVerifier):
        async def self_check(self) -> tuple[str, ...]:
            raise OSError("no daemon")

    async with LocalVerifiers([Raising()]) as verifiers:
        (info,) = await verifiers.check()
    assert not info.healthy
    assert "no daemon" in info.reason


async def test_a_verifier_that_cannot_close_does_not_keep_the_others_open() -> None:
    class Stuck(ScriptedVerifier):
        async def close(self) -> None:
            raise OSError("stuck")

    good, stuck = ScriptedVerifier("good", frozenset({StepCheck})), Stuck("stuck")
    verifiers = LocalVerifiers([good, stuck])
    await verifiers.check()
    await verifiers.close()
    assert good.closed == 1


def test_verifiers_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (EntryPoint("bare", "tests.verifiers.doubles:BareVerifier", local_module.GROUP),)
    monkeypatch.setattr(local_module, "entry_points", lambda group: points)
    assert isinstance(load(["bare"])[0], BareVerifier)
    assert set(local_module.available()) == {"math", "code", "patch", "bare"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tests.verifiers.doubles:Claim", "cannot be loaded"),
        ("tests.verifiers.doubles:asyncio.Event", "is no verifier"),
        ("tests.verifiers.nowhere:X", "cannot be loaded"),
    ],
)
def test_what_is_no_verifier_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    points = (EntryPoint("wrong", value, local_module.GROUP),)
    monkeypatch.setattr(local_module, "entry_points", lambda group: points)
    with pytest.raises(ValueError, match=message):
        load(["wrong"])


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no verifier called 'maths'; there are: math, code"):
        load(["maths"])


def test_a_name_cannot_be_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (EntryPoint("math", "tests.verifiers.doubles:BareVerifier", local_module.GROUP),)
    monkeypatch.setattr(local_module, "entry_points", lambda group: points)
    with pytest.raises(ValueError, match="both bring a verifier called 'math'"):
        load()


async def test_votes_name_the_claims_by_their_place_and_never_pass() -> None:
    claims = [Claim("7", bare=True), Claim(""), Claim(r"so \boxed{8}"), Claim("7", bare=True)]
    async with LocalVerifiers([ScriptedVerifier()]) as verifiers:
        first, second = await verifiers.classes(claims, [1, 9, 1, 1])
    assert (first.found.members, first.found.weight) == ((0, 3), 2)
    assert (second.found.members, second.found.representative) == ((2,), "8")
    assert all(vote.verdict.status is Status.UNKNOWN for vote in (first, second))
    assert first.verdict.score > 0.5 > second.verdict.score


async def test_votes_that_take_too_long_are_unanswered() -> None:
    async with LocalVerifiers([ScriptedVerifier()]) as verifiers:
        with pytest.raises(UnansweredError):
            await verifiers.classes([Claim("hang", bare=True)], timeout=0.01)


INVALID = [json.loads(line) for line in (Path(__file__).parent / "invalid_checks.jsonl").read_text().splitlines()]
VALID = [
    {"reference": {"answer": r"\\frac{1}{2}"}},
    {"constraints": {"constraints": [{"relation": {"text": "3x + 5 = 20"}}, {"domain": "positive integer"}]}},
    {"constraints": {"constraints": [{"number_use": {"numbers": ["1", "2/3"], "target": "24"}}]}},
    {"program": {"cases": [{"call": {"function": "f", "arguments_json": "[1]", "expected_json": "2"}}]}},
]


@pytest.fixture
async def validators() -> AsyncIterator[LocalVerifiers]:
    # Validation needs no sandbox: one that is given is never started.
    async with LocalVerifiers([MathVerifier(), CodeVerifier(sandbox=cast("Sandbox", object()))]) as verifiers:
        yield verifiers


@pytest.mark.parametrize("case", INVALID, ids=[str(case["check"])[:60] for case in INVALID])
async def test_a_check_that_no_claim_could_pass_is_refused_by_its_field(
    case: dict[str, Any], validators: LocalVerifiers
) -> None:
    with pytest.raises(FieldError) as caught:
        await validators.validate_check(decode_check(json_format.ParseDict(case["check"], common_pb2.Check())))
    assert caught.value.field == case["field"]


async def test_checks_that_can_be_worked_with_are_accepted(validators: LocalVerifiers) -> None:
    for check in VALID:
        await validators.validate_check(decode_check(json_format.ParseDict(check, common_pb2.Check())))


async def test_a_verifier_that_cannot_tell_accepts_every_check_of_its_kind() -> None:
    await LocalVerifiers([BareVerifier()]).validate_check(CustomCheck("bare", "{}"))
