#!/usr/bin/env python
"""Fuzz the math verifier (parser, extraction, comparison, numbers in words, units) and its service for some minutes.

    python benchmarks/fuzz.py --minutes 10

Every round takes a new seed and prints it; a failure prints the smallest input found, and the fuzzing goes on; `--seed`
repeats a round.
Exit status: 0 nothing found, 1 something found.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import grpc
import structlog
from fuzz_rounds import parse_arguments, quietly, run_rounds
from google.protobuf.message import Message
from hypothesis import given, seed
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verifiers import strategies
from tests.verifiers.doubles import BareVerifier
from tests.verifiers.probe import ANSWERED, REQUESTS, Probe

from espalier.v1 import common_pb2
from espalier.v1 import verifier_pb2 as pb
from espalier.verifiers.answer import answer_of, branch_answer, final_answer
from espalier.verifiers.check import Claim, MathOptions, ReferenceCheck
from espalier.verifiers.local import LocalVerifiers, load
from espalier.verifiers.math.grammar.numerals import numeral
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.outcome import TOO_COSTLY, UNREADABLE
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.workers import PoolLimits, TooCostlyError, WorkerPool

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
    @quietly(examples)
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


def fuzz_extraction(examples: int, number: int, seen: Counter[str]) -> None:
    """What a response states is found soon, and is the same claim alone as in the response."""
    check = ReferenceCheck("1")

    @seed(number)
    @quietly(examples)
    @given(strategies.near_responses, st.booleans())
    def run(text: str, complete: bool) -> None:
        start = time.thread_time()
        answer = final_answer(text, check, complete=complete)
        branch_answer(text, check)
        assert time.thread_time() - start < PARSE_SECONDS, "a slow response"
        seen["responses"] += 1
        if answer is None:
            return
        seen["stated"] += 1
        assert answer.text.strip(), "an empty answer"
        alone = answer_of(Claim(answer.text, bare=True), check)
        assert alone is not None and alone.text == answer.text, "another claim alone"

    run()


def fuzz_words(judge: Judge, examples: int, number: int, seen: Counter[str]) -> None:
    """Words of numbers in any order are a number or none; a number that is written in words is read as that number."""

    @seed(number)
    @quietly(examples)
    @given(strategies.numerals, st.integers(-(10**15) + 1, 10**15 - 1) | st.integers(-2000, 2000))
    def run(text: str, value: int) -> None:
        start = time.thread_time()
        found = numeral(text)
        assert time.thread_time() - start < PARSE_SECONDS, "slow words"
        seen["words"] += 1
        seen["numbers"] += found is not None
        written = numeral(strategies.in_words(value))
        assert written is not None and written.value == value, "a number in words"
        judge.assert_lawful(text, str(value), seen)

    run()


def fuzz_pairs(answers: st.SearchStrategy[str], judge: Judge, examples: int, number: int, seen: Counter[str]) -> None:
    """Comparison keeps its laws on these answers."""

    @seed(number)
    @quietly(examples)
    @given(answers, answers)
    def run(first: str, second: str) -> None:
        judge.assert_lawful(first, second, seen)

    run()


class Judge:
    """Compares in worker processes, under the limits of the verifier."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._pool = WorkerPool(PoolLimits(workers=1))

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._pool.start())
        return self

    def __exit__(self, *trouble: Any) -> None:
        self._runner.run(self._pool.close())
        self._runner.__exit__(*trouble)

    def equal(self, gold: str, claim: str) -> dict[str, Any]:
        """The reply to a comparison; one that is too costly is undecided."""
        request = {"task": "equivalent", "gold": gold, "claim": claim, "options": asdict(MathOptions())}
        try:
            return self._runner.run(self._pool.run(request))
        except TooCostlyError as error:
            return {"equal": None, "cause": TOO_COSTLY, "rule": str(error)}

    def assert_lawful(self, first: str, second: str, seen: Counter[str]) -> None:
        """No error; what can be read equals itself; no order of two answers is equal where the other is different."""
        replies = {}
        for gold, claim in ((first, second), (second, first), (first, first), (second, second)):
            start = time.monotonic()
            reply = self.equal(gold, claim)
            assert time.monotonic() - start < VERIFY_SECONDS, "a slow comparison"
            assert "error" not in reply, (gold, claim, reply)
            replies[gold, claim] = reply
            seen[{True: "equal", False: "different", None: "undecided"}[reply["equal"]]] += 1
            seen["too costly"] += reply["cause"] == TOO_COSTLY
            if gold == claim and reply["equal"] is not True:
                assert not self._must_equal_itself(gold, reply), (gold, reply)
        assert {replies[first, second]["equal"], replies[second, first]["equal"]} != {True, False} or UNREADABLE in {
            reply["cause"] for reply in replies.values()
        }, (first, second, replies)

    def _must_equal_itself(self, text: str, reply: dict[str, Any]) -> bool:
        """Whether it can be read and worked out: a chain of equations that is false need not equal itself."""
        readable = not reply["cause"] and "cannot be read" not in reply["rule"]
        return readable and not re.search(r"=|\\approx|≈|\\equiv|\\neq?(?![a-z])|≡", text)


def fuzz_messages(probe: Probe, examples: int, number: int, seen: Counter[str]) -> None:
    """Any message is answered with OK or the name of a field, and leaves no task behind."""

    @seed(number)
    @quietly(examples)
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
    @quietly(examples)
    @given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=400))
    def run(method: str, body: bytes) -> None:
        probe.send(method, body, VERIFY_SECONDS)
        seen["bytes"] += 1
        probe.assert_nothing_is_left()

    run()


def fuzz_answers(probe: Probe, examples: int, number: int, seen: Counter[str]) -> None:
    """Any answer against any gold gets a verdict, within the time limit."""

    @seed(number)
    @quietly(examples)
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


def main() -> int:
    """Run rounds until the time is over."""
    arguments, targets = parse_arguments((__doc__ or "").splitlines()[0], TARGETS)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)  # gRPC logs every message that does not parse
    with Probe(LocalVerifiers([*load(["math"]), BareVerifier()])) as probe, Judge() as judge:

        def fuzz(target: str, examples: int, number: int, seen: Counter[str]) -> None:
            _fuzz(target, probe, judge, examples, number, seen)

        return run_rounds(arguments, targets, fuzz)


TARGETS = ("parser", "messages", "bytes", "answers", "extraction", "comparison", "words", "units")


def _fuzz(target: str, probe: Probe, judge: Judge, examples: int, number: int, seen: Counter[str]) -> None:
    match target:
        case "parser":
            fuzz_parser(examples, number, seen)
        case "messages":
            fuzz_messages(probe, examples, number, seen)
        case "bytes":
            fuzz_bytes(probe, examples // 5, number, seen)
        case "answers":
            fuzz_answers(probe, examples, number, seen)
        case "extraction":
            fuzz_extraction(examples, number, seen)
        case "comparison":
            fuzz_pairs(strategies.near_answers, judge, examples, number, seen)
        case "words":
            fuzz_words(judge, examples, number, seen)
        case "units":
            fuzz_pairs(strategies.quantities, judge, examples, number, seen)


if __name__ == "__main__":
    sys.exit(main())
