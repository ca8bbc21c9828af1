#!/usr/bin/env python
"""Fuzz the parser of answers and the proto surface of the verifier service for some minutes.

    python benchmarks/fuzz.py --minutes 10

Every round takes a new seed and prints it; a failure prints the smallest input found, and `--seed` repeats its round.
Exit status: 0 nothing found, 1 something found.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verifiers import strategies
from tests.verifiers.doubles import BareVerifier
from tests.verifiers.probe import ANSWERED, REQUESTS, Probe

from espalier.v1 import common_pb2
from espalier.v1 import verifier_pb2 as pb
from espalier.verifiers.answer import final_answer
from espalier.verifiers.local import LocalVerifiers, load
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.parser import parse

PARSE_SECONDS = 2.0
"""Reading one answer may not take more processor time."""

VERIFY_SECONDS = 20.0
"""A verdict may not take longer; the service's own limit is well below."""

requests = st.sampled_from(sorted(REQUESTS)).flatmap(
    lambda method: st.tuples(st.just(method), strategies.messages(REQUESTS[method].DESCRIPTOR))
)


def fuzz_parser(examples: int, number: int, seen: Counter[str]) -> None:
    """Any text parses or is refused in words, soon."""

    @seed(number)
    @_quietly(examples)
    @given(strategies.answers)
    def run(text: str) -> None:
        start = time.thread_time()
        final_answer(text, None)
        try:
            assert parse(text)
            seen["parsed"] += 1
        except (ParseError, LimitError):
            seen["refused"] += 1
        assert time.thread_time() - start < PARSE_SECONDS, "a slow text"

    run()


def fuzz_messages(probe: Probe, examples: int, number: int, seen: Counter[str]) -> None:
    """Any message is answered with OK or the name of a field, and leaves no task behind."""

    @seed(number)
    @_quietly(examples)
    @given(requests, st.integers(0, 60))
    def run(request: tuple[str, Message], turns: int) -> None:
        method, message = request
        body = message.SerializeToString()
        if turns < 10:
            probe.abandon(method, body, turns)
            seen["cancelled"] += 1
        else:
            status = probe.send(method, body, VERIFY_SECONDS)
            seen[status.name] += 1
            assert status in ANSWERED, status
        probe.assert_nothing_is_left()

    run()


def fuzz_bytes(probe: Probe, examples: int, number: int, seen: Counter[str]) -> None:
    """Bytes that are no message do no harm."""

    @seed(number)
    @_quietly(examples)
    @given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=400))
    def run(method: str, body: bytes) -> None:
        probe.send(method, body, VERIFY_SECONDS)
        seen["bytes"] += 1
        probe.assert_nothing_is_left()

    run()


def fuzz_answers(probe: Probe, examples: int, number: int, seen: Counter[str]) -> None:
    """Any answer against any gold gets a verdict, within the time limit."""

    @seed(number)
    @_quietly(examples)
    @given(strategies.answers, strategies.answers.filter(str.strip), st.booleans())
    def run(text: str, gold: str, bare: bool) -> None:
        claim = common_pb2.Claim(text=text.encode("utf-8", "replace").decode(), bare=bare)
        reference = common_pb2.ReferenceCheck(answer=gold.encode("utf-8", "replace").decode())
        request = pb.VerifyRequest(claim=claim, check=common_pb2.Check(reference=reference))
        status = probe.send("Verify", request.SerializeToString(), VERIFY_SECONDS)
        seen["verdicts"] += 1
        assert status is grpc.StatusCode.OK, status
        probe.assert_nothing_is_left()

    run()


def _quietly(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def main() -> int:
    """Run rounds until the time is over or something is found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="seed of the first round (default: the time)")
    parser.add_argument("--examples", type=int, default=500, help="inputs per target and round")
    parser.add_argument("--targets", default="parser,messages,bytes,answers", help="what to fuzz (default: all)")
    arguments = parser.parse_args()
    targets = arguments.targets.split(",")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)  # gRPC logs every message that does not parse

    number = int(time.time()) if arguments.seed is None else arguments.seed
    end = time.monotonic() + 60 * arguments.minutes
    seen: Counter[str] = Counter()
    with Probe(LocalVerifiers([*load(["math"]), BareVerifier()])) as probe:
        while time.monotonic() < end:
            print(f"seed {number}: {dict(seen)}", flush=True)
            if "parser" in targets:
                fuzz_parser(arguments.examples, number, seen)
            if "messages" in targets:
                fuzz_messages(probe, arguments.examples, number, seen)
            if "bytes" in targets:
                fuzz_bytes(probe, arguments.examples // 5, number, seen)
            if "answers" in targets:
                fuzz_answers(probe, arguments.examples, number, seen)
            number += 1
    print(f"nothing found in {sum(seen.values())} inputs: {dict(seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
