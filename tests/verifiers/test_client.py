"""The client is a hub by address: same answers, balanced, patient with servers that are away or busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from espalier.common.errors import FieldError, UnansweredError
from espalier.common.security import ClientSecurity, ServerSecurity
from espalier.v1 import common_pb2, verifier_pb2_grpc
from espalier.v1 import verifier_pb2 as pb
from espalier.verifiers import remote as client_module
from espalier.verifiers.check import Claim, CustomCheck, ReferenceCheck, StepCheck
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.math.verifier import MathVerifier
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.service import ServerSettings, VerifierServer, VerifierService
from espalier.verifiers.verdict import Status
from espalier.verifiers.verifier import Verifier
from tests.verifiers.doubles import ScriptedVerifier
from tests.verifiers.running import running, until

CHECK = ReferenceCheck("42")
TOKEN = "a-token-of-enough-length"  # noqa: S105


@pytest.fixture
def verifier() -> ScriptedVerifier:
    return ScriptedVerifier()


@pytest.fixture
async def client(verifier: ScriptedVerifier) -> AsyncIterator[RemoteVerifiers]:
    async with running(LocalVerifiers([verifier])) as address, RemoteVerifiers([address]) as client:
        yield client


async def test_a_client_answers_like_the_hub_behind_it(client: RemoteVerifiers, verifier: ScriptedVerifier) -> None:
    for text in ("42", "43", "unknown", "error"):
        assert await client.verify(Claim(text), CHECK) == await LocalVerifiers([verifier]).verify(Claim(text), CHECK)
    assert (await client.equivalent("1", "1")).passed
    assert (await client.equivalent("1", "2")).status is Status.FAIL
    assert [info.name for info in await client.describe()] == ["scripted"]
    assert isinstance(client, Verifier)
    assert client.kinds == {ReferenceCheck}


async def test_a_refused_field_is_named_to_the_caller(client: RemoteVerifiers) -> None:
    with pytest.raises(FieldError) as caught:
        await client.verify(Claim("x"), ReferenceCheck(""))
    assert caught.value.field == "check.reference.answer"


@pytest.mark.parametrize(("check", "field"), [(StepCheck(), "check.kind"), (CustomCheck("x"), "check.custom.verifier")])
async def test_a_kind_that_no_server_judges_is_the_callers_mistake(
    client: RemoteVerifiers, check: object, field: str
) -> None:
    with pytest.raises(FieldError) as caught:
        await client.verify(Claim("x"), check)  # type: ignore[arg-type]
    assert caught.value.field == field


async def test_a_check_is_validated_by_the_server_and_by_nothing_where_it_cannot() -> None:
    async with (
        running(LocalVerifiers([MathVerifier()])) as address,
        RemoteVerifiers([address]) as client,
    ):
        await client.validate_check(ReferenceCheck("\\frac12"))
        with pytest.raises(FieldError) as caught:
            await client.validate_check(ReferenceCheck("\\frac{"))
        assert caught.value.field == "check.reference.answer"
        with pytest.raises(FieldError, match="no server judges custom checks"):
            await client.validate_check(CustomCheck("absent"))


async def test_a_server_without_validation_accepts_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    async def left_out(self: object, request: object, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    monkeypatch.setattr(VerifierService, "ValidateCheck", left_out)
    async with running(LocalVerifiers([MathVerifier()])) as address, RemoteVerifiers([address]) as client:
        await client.validate_check(ReferenceCheck("\\frac{"))


async def test_cancelling_reaches_the_verifier(client: RemoteVerifiers, verifier: ScriptedVerifier) -> None:
    call = asyncio.create_task(client.verify(Claim("hang"), CHECK))
    await until(lambda: verifier.running == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: verifier.cancelled == 1)


async def test_a_time_limit_ends_in_an_error(client: RemoteVerifiers, verifier: ScriptedVerifier) -> None:
    verdict = await client.verify(Claim("hang"), CHECK, timeout=0.5)
    assert verdict.status is Status.ERROR
    await until(lambda: verifier.running == 0)


async def test_each_kind_goes_to_a_server_that_judges_it() -> None:
    math, steps = ScriptedVerifier("math"), ScriptedVerifier("steps", frozenset({StepCheck}))
    async with (
        running(LocalVerifiers([math])) as one,
        running(LocalVerifiers([steps])) as two,
        RemoteVerifiers([one, two]) as client,
    ):
        for _ in range(3):
            await client.verify(Claim("42"), CHECK)
            await client.verify(Claim("pass"), StepCheck())
        assert client.kinds == {ReferenceCheck, StepCheck}
    assert (math.calls, steps.calls) == (["42"] * 3, ["pass"] * 3)


async def test_custom_checks_go_to_the_server_with_the_verifier_of_that_name() -> None:
    one, two = (ScriptedVerifier(name, frozenset({CustomCheck})) for name in ("one", "two"))
    async with (
        running(LocalVerifiers([one])) as first,
        running(LocalVerifiers([two])) as second,
        RemoteVerifiers([first, second]) as client,
    ):
        assert (await client.verify(Claim("x"), CustomCheck("two"))).decided_by == "two"


async def test_load_is_shared_evenly() -> None:
    one, two = ScriptedVerifier("one"), ScriptedVerifier("two")
    async with (
        running(LocalVerifiers([one])) as first,
        running(LocalVerifiers([two])) as second,
        RemoteVerifiers([first, second]) as client,
    ):
        calls = [asyncio.create_task(client.verify(Claim("hang"), CHECK)) for _ in range(20)]
        await until(lambda: one.running + two.running == 20)
        assert one.running == two.running == 10
        one.release.set()
        two.release.set()
        await asyncio.gather(*calls)


async def test_a_busy_server_gets_less() -> None:
    slow, fast = ScriptedVerifier("slow"), ScriptedVerifier("fast")
    async with (
        running(LocalVerifiers([slow])) as first,
        running(LocalVerifiers([fast])) as second,
        RemoteVerifiers([first, second]) as client,
    ):
        hanging = [asyncio.create_task(client.verify(Claim("hang"), CHECK)) for _ in range(2)]
        await until(lambda: slow.running == fast.running == 1)
        fast.release.set()
        await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)  # the client knows that it has one less
        await client.verify(Claim("42"), CHECK)
        assert fast.calls.count("42") == 1
        slow.release.set()
        await asyncio.gather(*hanging)


async def test_an_error_is_tried_once_on_another_server() -> None:
    class Broken(ScriptedVerifier):
        async def verify(self, *args: object, **more: object) -> object:  # type: ignore[override]
            self.calls.append("")
            raise OSError("no box")

    broken, good = Broken("broken"), ScriptedVerifier("good")
    async with (
        running(LocalVerifiers([broken])) as first,
        running(LocalVerifiers([good])) as second,
        RemoteVerifiers([first, second]) as client,
    ):
        verdicts = [await client.verify(Claim("42"), CHECK) for _ in range(10)]
    assert all(verdict.passed for verdict in verdicts)
    assert len(broken.calls) <= 4, "a server that answers ERROR at once must not attract the load"


async def test_a_server_that_is_away_is_replaced_by_another(unused_tcp_port: int) -> None:
    verifier = ScriptedVerifier()
    async with (
        running(LocalVerifiers([verifier])) as address,
        RemoteVerifiers([f"127.0.0.1:{unused_tcp_port}", address]) as client,
    ):
        for _ in range(3):
            assert (await client.verify(Claim("42"), CHECK)).passed


async def test_a_server_that_comes_late_is_waited_for(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    async with RemoteVerifiers([address]) as client:
        call = asyncio.create_task(client.verify(Claim("42"), CHECK, timeout=20))
        await asyncio.sleep(0.1)
        async with running(LocalVerifiers([ScriptedVerifier()]), ServerSettings(address=address, grace_seconds=1)):
            assert (await call).passed


async def test_a_server_that_never_comes_is_an_error_that_names_it(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    async with RemoteVerifiers([address]) as client:
        verdict = await client.verify(Claim("42"), CHECK, timeout=0.5)
        assert verdict.status is Status.ERROR
        with pytest.raises(ConnectionError, match=address):
            await client.describe()


async def test_patience_without_a_time_limit_has_an_end(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE_SECONDS", 0.3)
    async with RemoteVerifiers([f"127.0.0.1:{unused_tcp_port}"]) as client:
        verdict = await client.verify(Claim("42"), CHECK)
    assert verdict.status is Status.ERROR
    assert "UNAVAILABLE" in verdict.evidence[0].detail


async def test_a_server_that_dies_with_the_call_is_replaced() -> None:
    dying, other = ScriptedVerifier("dying"), ScriptedVerifier("other")
    other.release.set()
    server = VerifierServer(
        LocalVerifiers([dying]), ServerSettings(address="127.0.0.1:0", grace_seconds=0.01), ServerSecurity()
    )
    port = await server.start()
    async with running(LocalVerifiers([other])) as address, RemoteVerifiers([f"127.0.0.1:{port}", address]) as client:
        call = asyncio.create_task(client.verify(Claim("hang"), CHECK))
        await until(lambda: dying.running == 1)
        await server.drain()
        assert (await call).decided_by == "other"


async def test_a_full_server_is_asked_again_when_it_said() -> None:
    verifier = ScriptedVerifier()
    settings = ServerSettings(address="127.0.0.1:0", max_in_flight=1, grace_seconds=1)
    async with running(LocalVerifiers([verifier]), settings) as address, RemoteVerifiers([address]) as client:
        first = asyncio.create_task(client.verify(Claim("hang"), CHECK))
        await until(lambda: verifier.running == 1)
        second = asyncio.create_task(client.verify(Claim("42"), CHECK, timeout=20))
        await asyncio.sleep(0.1)
        assert not second.done()
        verifier.release.set()
        assert (await second).passed
        assert (await first).status is Status.FAIL


async def test_the_token_is_shown_and_a_wrong_one_is_an_error() -> None:
    security = ServerSecurity(token=TOKEN)
    async with running(LocalVerifiers([ScriptedVerifier()]), None, security) as address:
        async with RemoteVerifiers([address], ClientSecurity(token=TOKEN)) as client:
            assert (await client.verify(Claim("42"), CHECK)).passed
        async with RemoteVerifiers([address], ClientSecurity(token="wrong")) as client:  # noqa: S106
            verdict = await client.verify(Claim("42"), CHECK)
            assert verdict.status is Status.ERROR
            assert "UNAUTHENTICATED" in verdict.evidence[0].detail
            with pytest.raises(ConnectionError, match="UNAUTHENTICATED"):
                await client.describe()


async def test_a_unix_socket_works(tmp_path: Path) -> None:
    settings = ServerSettings(address=f"unix:{tmp_path}/s", grace_seconds=1)
    async with running(LocalVerifiers([ScriptedVerifier()]), settings) as address, RemoteVerifiers([address]) as client:
        assert (await client.verify(Claim("42"), CHECK)).passed


async def test_a_server_of_someone_else_that_answers_nonsense_is_an_error() -> None:
    class Foreign(verifier_pb2_grpc.VerifierServicer):  # type: ignore[misc]
        async def Describe(self, request: object, context: object) -> pb.DescribeResponse:  # noqa: N802
            return pb.DescribeResponse(verifiers=[pb.VerifierInfo(name="foreign", kinds=["reference"])])

        async def Verify(self, request: object, context: object) -> pb.VerifyResponse:  # noqa: N802
            return pb.VerifyResponse(verdict=common_pb2.Verdict(status=7, score=12))

    server = grpc.aio.server()
    verifier_pb2_grpc.add_VerifierServicer_to_server(Foreign(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with RemoteVerifiers([f"127.0.0.1:{port}"]) as client:
        verdict = await client.verify(Claim("42"), CHECK)
    await server.stop(0)
    assert verdict.status is Status.ERROR
    assert verdict.decided_by == "wire"


def test_a_client_without_addresses_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RemoteVerifiers([])


async def test_votes_are_those_of_the_hub(client: RemoteVerifiers, verifier: ScriptedVerifier) -> None:
    claims = [Claim("7", bare=True), Claim(r"\boxed{8}"), Claim("7", bare=True)]
    assert await client.classes(claims, [1, 5, 1]) == await LocalVerifiers([verifier]).classes(claims, [1, 5, 1])
    assert await client.classes([]) == ()
    with pytest.raises(FieldError, match="weights"):
        await client.classes(claims, [1.0])
    with pytest.raises(UnansweredError):
        await client.classes([Claim("hang", bare=True)], timeout=0.3)
