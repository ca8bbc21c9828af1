"""The service keeps the contract: verdicts, statuses, deadlines, health, admission, cancel, drain."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from espalier.common.grpc_errors import delay_of, field_of
from espalier.common.security import ServerSecurity, UnsafeAddressError, is_local, read_token
from espalier.v1 import common_pb2, verifier_pb2_grpc
from espalier.v1 import verifier_pb2 as pb
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.service import SERVICE_NAME, ServerSettings, VerifierServer
from tests.verifiers.doubles import BareVerifier, ScriptedVerifier
from tests.verifiers.running import NOT_SERVING, SERVING, health, running, until, until_health

LOCAL = ServerSettings(address="127.0.0.1:0", grace_seconds=5, max_in_flight=4, default_seconds=7)


@pytest.fixture
def verifier() -> ScriptedVerifier:
    return ScriptedVerifier()


@pytest.fixture
async def channel(verifier: ScriptedVerifier) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        running(LocalVerifiers([verifier, BareVerifier()]), LOCAL) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        await until_health(channel, SERVING)
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> verifier_pb2_grpc.VerifierStub:
    return verifier_pb2_grpc.VerifierStub(channel)


def asking(text: str, gold: str = "42") -> pb.VerifyRequest:
    check = common_pb2.Check(reference=common_pb2.ReferenceCheck(answer=gold))
    return pb.VerifyRequest(claim=common_pb2.Claim(text=text), check=check)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("42", common_pb2.STATUS_PASS),
        ("43", common_pb2.STATUS_FAIL),
        ("unknown", common_pb2.STATUS_UNKNOWN),
        ("error", common_pb2.STATUS_ERROR),
        ("raise", common_pb2.STATUS_ERROR),
    ],
)
async def test_every_verdict_is_an_ok_reply(stub: verifier_pb2_grpc.VerifierStub, text: str, status: int) -> None:
    assert (await stub.Verify(asking(text))).verdict.status == status


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.VerifyRequest(), "claim"),
        (pb.VerifyRequest(claim=common_pb2.Claim()), "check.kind"),
        (asking("x", gold=""), "check.reference.answer"),
        (
            pb.VerifyRequest(claim=common_pb2.Claim(), check=common_pb2.Check(steps=common_pb2.StepCheck())),
            "check.kind",
        ),
    ],
)
async def test_a_bad_request_names_its_field(
    stub: verifier_pb2_grpc.VerifierStub, request_: pb.VerifyRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Verify(request_)
    error = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(error).field == field
    status = rpc_status.from_call(error)
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    assert detail.field_violations[0].field == field


async def test_a_huge_bad_value_still_fits_into_the_status(stub: verifier_pb2_grpc.VerifierStub) -> None:
    custom = common_pb2.CustomCheck(verifier="é" * 100_000)
    request = pb.VerifyRequest(claim=common_pb2.Claim(), check=common_pb2.Check(custom=custom))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Verify(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_verifiers_time_is_the_callers_deadline_minus_a_margin(
    stub: verifier_pb2_grpc.VerifierStub, verifier: ScriptedVerifier
) -> None:
    await stub.Verify(asking("42"), timeout=100)
    assert verifier.timeouts[-1] is not None
    assert 60 < verifier.timeouts[-1] <= 99.5


async def test_a_call_without_deadline_gets_the_default(
    stub: verifier_pb2_grpc.VerifierStub, verifier: ScriptedVerifier
) -> None:
    await stub.Verify(asking("42"))
    assert verifier.timeouts == [7]


async def test_a_verdict_arrives_before_the_deadline_of_a_claim_that_hangs(
    stub: verifier_pb2_grpc.VerifierStub, verifier: ScriptedVerifier
) -> None:
    reply = await stub.Verify(asking("hang"), timeout=1)
    assert reply.verdict.status == common_pb2.STATUS_ERROR
    assert verifier.running == 0


async def test_cancelling_the_call_cancels_the_work(
    stub: verifier_pb2_grpc.VerifierStub, verifier: ScriptedVerifier
) -> None:
    call = stub.Verify(asking("hang"))
    await until(lambda: verifier.running == 1)
    call.cancel()
    await until(lambda: verifier.running == 0)
    assert verifier.cancelled == 1


async def test_a_full_server_says_when_to_come_back(
    stub: verifier_pb2_grpc.VerifierStub, verifier: ScriptedVerifier
) -> None:
    calls = [stub.Verify(asking("hang")) for _ in range(LOCAL.max_in_flight)]
    await until(lambda: verifier.running == LOCAL.max_in_flight)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Verify(asking("42"))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    delay = delay_of(caught.value)
    assert delay is not None
    assert 0 < delay < 5
    verifier.release.set()
    await asyncio.gather(*calls)
    assert (await stub.Verify(asking("42"))).verdict.status == common_pb2.STATUS_PASS


async def test_describe_tells_kinds_and_health(
    stub: verifier_pb2_grpc.VerifierStub, channel: grpc.aio.Channel, verifier: ScriptedVerifier
) -> None:
    infos = {info.name: info for info in (await stub.Describe(pb.DescribeRequest())).verifiers}
    assert list(infos["scripted"].kinds) == ["reference"]
    assert list(infos["bare"].kinds) == ["custom"]
    assert all(info.healthy for info in infos.values())


@pytest.mark.parametrize(("b", "status"), [("1", common_pb2.STATUS_PASS), ("2", common_pb2.STATUS_FAIL)])
async def test_equivalent_compares(stub: verifier_pb2_grpc.VerifierStub, b: str, status: int) -> None:
    assert (await stub.Equivalent(pb.EquivalentRequest(a="1", b=b))).verdict.status == status


async def test_health_is_not_serving_until_the_self_checks_have_passed() -> None:
    class Slow(ScriptedVerifier):
        async def self_check(self) -> tuple[str, ...]:
            await self.release.wait()
            return ()

    verifier = Slow()
    async with running(LocalVerifiers([verifier]), LOCAL) as address, grpc.aio.insecure_channel(address) as channel:
        for service in ("", SERVICE_NAME):
            assert await health(channel, service) == NOT_SERVING
        verifier.release.set()
        for service in ("", SERVICE_NAME):
            await until_health(channel, SERVING, service)


async def test_health_follows_a_verifier_that_falls_ill_and_recovers(
    stub: verifier_pb2_grpc.VerifierStub, channel: grpc.aio.Channel, verifier: ScriptedVerifier
) -> None:
    verifier.fault = "the sandbox is gone"
    await stub.Verify(asking("error"))
    await until_health(channel, NOT_SERVING, SERVICE_NAME)
    infos = {info.name: info for info in (await stub.Describe(pb.DescribeRequest())).verifiers}
    assert "the sandbox is gone" in infos["scripted"].reason
    verifier.fault = None
    await until_health(channel, SERVING, SERVICE_NAME)


async def test_an_error_about_one_claim_does_not_change_health(
    stub: verifier_pb2_grpc.VerifierStub, channel: grpc.aio.Channel
) -> None:
    await stub.Verify(asking("error"))
    await asyncio.sleep(0.05)
    assert await health(channel) == SERVING


async def test_reflection_knows_the_services(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    replies = [reply async for reply in call]
    assert SERVICE_NAME in {service.name for service in replies[0].list_services_response.service}


async def test_a_message_beyond_the_limit_is_refused_and_the_server_lives() -> None:
    settings = ServerSettings(address="127.0.0.1:0", max_message_mib=1)
    async with (
        running(LocalVerifiers([ScriptedVerifier()]), settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = verifier_pb2_grpc.VerifierStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Verify(asking("x" * (2 << 20)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Verify(asking("42"))).verdict.status == common_pb2.STATUS_PASS


async def test_drain_turns_health_off_first_refuses_new_calls_and_finishes_old_ones() -> None:
    verifier = ScriptedVerifier()
    server = VerifierServer(LocalVerifiers([verifier]), LOCAL, ServerSecurity())
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = verifier_pb2_grpc.VerifierStub(channel)
        await until_health(channel, SERVING)
        old = stub.Verify(asking("hang"))
        await until(lambda: verifier.running == 1)
        drained = asyncio.create_task(server.drain())
        await until_health(channel, NOT_SERVING)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Verify(asking("42"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not drained.done()
        verifier.release.set()
        assert (await old).verdict.status == common_pb2.STATUS_FAIL
        await drained
    assert verifier.closed == 1


async def test_drain_cuts_what_outlasts_the_grace_period() -> None:
    verifier = ScriptedVerifier()
    settings = ServerSettings(address="127.0.0.1:0", grace_seconds=0.05)
    server = VerifierServer(LocalVerifiers([verifier]), settings, ServerSecurity())
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = verifier_pb2_grpc.VerifierStub(channel).Verify(asking("hang"))
        await until(lambda: verifier.running == 1)
        await server.drain()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert (verifier.running, verifier.closed) == (0, 1)


async def test_metrics_count_verdicts_by_kind_and_status(unused_tcp_port: int) -> None:
    metrics = f"127.0.0.1:{unused_tcp_port}"
    settings = ServerSettings(address="127.0.0.1:0", metrics=metrics)
    async with (
        running(LocalVerifiers([ScriptedVerifier()]), settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = verifier_pb2_grpc.VerifierStub(channel)
        await until_health(channel, SERVING)
        for text in ("42", "42", "43"):
            await stub.Verify(asking(text))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Verify(pb.VerifyRequest())
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://{metrics}/metrics").read().decode())
    lines = set(page.splitlines())
    assert {
        'espalier_verdicts_total{kind="reference",status="pass"} 2.0',
        'espalier_verdicts_total{kind="reference",status="fail"} 1.0',
        'espalier_verify_seconds_count{kind="reference"} 3.0',
        'espalier_refused_total{reason="invalid"} 1.0',
        'espalier_verifier_healthy{verifier="scripted"} 1.0',
        "espalier_in_flight 0.0",
    } <= lines


async def test_logs_carry_the_callers_request_id(stub: verifier_pb2_grpc.VerifierStub) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await stub.Verify(asking("42"), metadata=(("x-request-id", "r-17"),))
        await stub.Verify(asking("43"))
    sent, made_up = [entry for entry in logs if entry["event"] == "verdict"]
    assert (sent["request_id"], sent["status"]) == ("r-17", "pass")
    assert len(made_up["request_id"]) == 32


TOKEN = "a-token-of-enough-length"  # noqa: S105


async def test_a_token_is_asked_of_everything_but_health() -> None:
    async with (
        running(LocalVerifiers([ScriptedVerifier()]), LOCAL, ServerSecurity(token=TOKEN)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        await until_health(channel, SERVING)
        stub = verifier_pb2_grpc.VerifierStub(channel)
        for metadata in ((), (("authorization", TOKEN),), (("authorization", f"Bearer {TOKEN}x"),)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Verify(asking("42"), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        reflection_stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in reflection_stub.ServerReflectionInfo(iter([])):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        reply = await stub.Verify(asking("42"), metadata=(("authorization", f"Bearer {TOKEN}"),))
        assert reply.verdict.status == common_pb2.STATUS_PASS


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"])
async def test_an_open_address_without_protection_is_refused(address: str) -> None:
    server = VerifierServer(LocalVerifiers([]), ServerSettings(address=address), ServerSecurity())
    with pytest.raises(UnsafeAddressError, match="--insecure"):
        await server.start()


@pytest.mark.parametrize("security", [ServerSecurity(insecure=True), ServerSecurity(token=TOKEN)])
async def test_an_open_address_is_served_when_protected_or_told(security: ServerSecurity) -> None:
    settings = ServerSettings(address="0.0.0.0:0", grace_seconds=1)
    async with running(LocalVerifiers([ScriptedVerifier()]), settings, security):
        pass


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        (":1", False),
        ("localhost.example.org:1", False),
    ],
)
def test_only_loopback_and_sockets_are_local(address: str, local: bool) -> None:
    assert is_local(address) is local


async def test_an_address_in_use_is_a_clear_error() -> None:
    async with running(LocalVerifiers([ScriptedVerifier()]), LOCAL) as address:
        server = VerifierServer(LocalVerifiers([]), ServerSettings(address=address), ServerSecurity())
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            await server.start()


@pytest.mark.parametrize("content", ["", "short", "two words in one long token", "x" * 16 + "\x00", "é" * 20])
def test_a_useless_token_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(ValueError, match="a secret is one line"):
        read_token(path)


def test_white_space_around_a_token_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"\n{TOKEN}\n")
    assert read_token(path) == TOKEN


def test_json_is_what_logs_are(capsys: pytest.CaptureFixture[str]) -> None:
    from espalier.common.logging import configure_logging

    try:
        configure_logging("info")
        structlog.get_logger().info("hello", n=1)
        structlog.get_logger().debug("too quiet")
        line = json.loads(capsys.readouterr().err)
        assert (line["event"], line["n"], line["level"]) == ("hello", 1, "info")
    finally:
        structlog.reset_defaults()
