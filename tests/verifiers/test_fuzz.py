"""Whatever arrives, the server answers OK or names a field, lives on, and keeps no task."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.v1 import common_pb2
from espalier.v1 import verifier_pb2 as pb
from espalier.verifiers.answer import final_answer
from espalier.verifiers.local import LocalVerifiers, load
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.parser import parse
from tests.budget import examples
from tests.verifiers import strategies
from tests.verifiers.doubles import BareVerifier
from tests.verifiers.probe import ANSWERED, REQUESTS, Probe


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with Probe(LocalVerifiers([*load(["math"]), BareVerifier()])) as probe:
        yield probe


any_request = st.sampled_from(sorted(REQUESTS)).flatmap(
    lambda method: st.tuples(st.just(method), strategies.messages(REQUESTS[method].DESCRIPTOR))
)


@settings(max_examples=examples(1.5))
@given(any_request)
def test_any_message_is_answered_and_leaves_nothing_behind(probe: Probe, request_: tuple[str, Message]) -> None:
    method, message = request_
    assert probe.send(method, message.SerializeToString()) in ANSWERED
    probe.assert_nothing_is_left()


@settings(max_examples=examples(0.6))
@given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=200))
def test_bytes_that_are_no_message_do_no_harm(probe: Probe, method: str, body: bytes) -> None:
    probe.send(method, body)
    probe.assert_nothing_is_left()


@settings(max_examples=examples(0.6))
@given(any_request, st.integers(0, 30))
def test_a_call_cancelled_at_any_moment_leaves_nothing_behind(
    probe: Probe, request_: tuple[str, Message], turns: int
) -> None:
    method, message = request_
    probe.abandon(method, message.SerializeToString(), turns)
    probe.assert_nothing_is_left()


@settings(max_examples=examples(0.6))
@given(strategies.answers, strategies.answers.filter(str.strip), st.booleans())
def test_any_answer_gets_a_verdict(probe: Probe, text: str, gold: str, bare: bool) -> None:
    def utf8(raw: str) -> str:
        return raw.encode("utf-8", "replace").decode()

    claim = common_pb2.Claim(text=utf8(text), bare=bare)
    check = common_pb2.Check(reference=common_pb2.ReferenceCheck(answer=utf8(gold)))
    body = pb.VerifyRequest(claim=claim, check=check).SerializeToString()
    assert probe.send("Verify", body) is grpc.StatusCode.OK
    probe.assert_nothing_is_left()


@settings(max_examples=examples(3))
@given(strategies.answers)
def test_any_text_parses_or_says_why_not(text: str) -> None:
    final_answer(text, None)
    try:
        assert parse(text)
    except (ParseError, LimitError) as error:
        assert str(error)
