#!/usr/bin/env python
"""Fuzz what the code and patch verifiers read: replies of boxes, values, outputs, patches, files of cases.

    python benchmarks/fuzz_code.py --minutes 10 --targets values

Every round takes a new seed and prints it; a failure prints the smallest input found, and the fuzzing goes on; `--seed`
repeats a round.
Exit status: 0 nothing found, 1 something found.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_rounds import parse_arguments, quietly, run_rounds
from hypothesis import given, seed
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espalier.common.errors import FieldError
from espalier.verifiers.check import CallCase, Comparison, ProgramCheck
from espalier.verifiers.check_files import read_program_check
from espalier.verifiers.code.box import Box, BoxChannel
from espalier.verifiers.code.cases import judge, prepare
from espalier.verifiers.code.compare import same_text
from espalier.verifiers.code.languages import LANGUAGES
from espalier.verifiers.code.sandbox import BoxSpec, Command, CommandOutcome, SandboxError
from espalier.verifiers.code.values import CONTAINERS, LEAVES
from espalier.verifiers.patch.diff import PatchError, apply_hunks, read_diff

SECONDS = 2.0
"""Reading one input may not take more processor time."""

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(["9" * 500, "1e999999", "a"])
json_values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
tags = st.sampled_from(sorted(CONTAINERS | LEAVES | {"items", "int", "ref"}))
value_items = st.lists(
    st.one_of(
        plain,
        st.tuples(tags, st.integers(0, 4)).map(list),
        st.tuples(tags, plain | st.lists(plain, max_size=3), plain).map(list),
        st.tuples(st.just("items"), tags | st.lists(plain, max_size=3), st.lists(plain, max_size=4)).map(list),
        st.tuples(st.just("named"), texts, st.lists(texts, max_size=3), st.integers(0, 3)).map(list),
        st.tuples(st.sampled_from(["range", "timedelta"]), plain, plain, plain).map(list),
    ),
    max_size=10,
)
numerals = st.text(alphabet="0123456789.eE+-naif x=[],\n", max_size=60)
LINES = """
--- a/x.py|+++ b/x.py|--- /dev/null|+++ /dev/null|@@ -1,2 +1,2 @@|@@ -1 +0,0 @@|@@|-a|+b| a| b||a|-\r|+\r|...
diff --git a/x.py b/x.py|new file mode 100755|deleted file mode 100644|old mode 100644|rename from x.py
\\ No newline at end of file
"""
lines = st.sampled_from([line for row in LINES.strip("\n").split("\n") for line in row.split("|")])
NUMBERS = ("stdout", "stderr", "result", "exit_code", "signal", "stopped", "seconds", "cpu_seconds", "memory_kib")


def fuzz_replies(examples: int, number: int, seen: Counter[str]) -> None:
    """Whatever a box says is an outcome or a fault of the sandbox, and bytes are only taken with the right nonce."""

    async def ask(reply: Callable[[str], bytes]) -> CommandOutcome:
        stream = asyncio.StreamReader()

        async def write(data: bytes) -> None:
            stream.feed_data(reply(box._nonce))
            stream.feed_eof()

        async def nothing() -> None: ...

        async def silent() -> str:
            return ""

        box = Box(BoxSpec("python"), BoxChannel(stream.readexactly, write, stream.at_eof, nothing, silent))
        return await box.run(Command(("true",)))

    @seed(number)
    @quietly(examples)
    @given(
        st.dictionaries(st.sampled_from(NUMBERS), plain | st.integers(0, 9) | st.lists(plain, max_size=1), max_size=2),
        st.integers(0, 9).map(bool),
        st.tuples(*[st.binary(max_size=20)] * 3),
        st.one_of(*[st.none()] * 9, st.binary(max_size=60)),
    )
    def run(fields: dict[str, Any], believed: bool, streams: tuple[bytes, ...], raw: bytes | None) -> None:
        data = b"".join(streams)

        def reply(nonce: str) -> bytes:
            if raw is not None:
                return raw
            zeros = dict.fromkeys(NUMBERS, 0) | {"stopped": None} | dict(zip(NUMBERS, map(len, streams), strict=False))
            head = json.dumps({**zeros, **fields, **({"nonce": nonce} if believed else {})})
            body = head.encode() + b"\n" + data
            return len(body).to_bytes(4, "big") + body

        try:
            outcome = asyncio.run(ask(reply))
        except SandboxError:
            seen["refused"] += 1
            return
        assert believed and raw is None, "a reply without the nonce"
        assert len(outcome.stdout + outcome.stderr + outcome.result) == len(data)
        seen["replies"] += 1

    run()


def fuzz_values(examples: int, number: int, seen: Counter[str]) -> None:
    """Whatever a function reports is judged, soon."""
    language = LANGUAGES["python"]

    @seed(number)
    @quietly(examples)
    @given(json_values, value_items, st.sampled_from(Comparison), st.none() | st.binary(max_size=40))
    def run(expected: Any, items: list[Any], comparison: Comparison, raw: bytes | None) -> None:
        check = ProgramCheck((CallCase("f", "[]", json.dumps(expected)),), comparison=comparison)
        trial = prepare(check.cases[0], 0, language, check)
        outcome = CommandOutcome(result=json.dumps(items).encode() if raw is None else raw, exit_code=0)
        start = time.thread_time()
        result = judge(trial, outcome, check, trial.command(1, 5, 1 << 20))
        assert time.thread_time() - start < SECONDS, "a slow value"
        seen[result.reason or "passed"] += 1

    run()


def fuzz_outputs(examples: int, number: int, seen: Counter[str]) -> None:
    """Any two outputs are compared, soon, also long ones; each is the same as itself."""

    @seed(number)
    @quietly(examples)
    @given(numerals, numerals, st.integers(1, 20_000), st.sampled_from(Comparison))
    def run(expected: str, part: str, times: int, comparison: Comparison) -> None:
        got = part * times
        start = time.thread_time()
        same_text(expected, got, comparison)
        same_text(got, expected, comparison)
        assert same_text(got, got, comparison), "not the same as itself"
        assert time.thread_time() - start < 3 * SECONDS, "a slow output"
        seen["outputs"] += 1

    run()


def fuzz_patches(examples: int, number: int, seen: Counter[str]) -> None:
    """A patch applies or is refused in words, soon."""

    @seed(number)
    @quietly(examples)
    @given(
        st.booleans(),
        st.lists(st.sampled_from([" a", "-a", "+b", " b", "-b", " ", "@@"]) | lines | texts, max_size=20),
        st.lists(st.sampled_from(["a", "b", "", "c\r"]), max_size=12),
    )
    def run(headed: bool, patch: list[str], file: list[str]) -> None:
        head = ["--- a/x.py", "+++ b/x.py", "@@ -1,2 +1,2 @@"] if headed else []
        start = time.thread_time()
        try:
            for diff in read_diff("\n".join(head + patch)):
                apply_hunks(diff.path, "\n".join(file), diff.hunks)
                seen["applied"] += 1
        except PatchError as error:
            assert str(error), "refused without a word"
            seen["refused"] += 1
        assert time.thread_time() - start < SECONDS, "a slow patch"

    run()


def fuzz_cases(examples: int, number: int, seen: Counter[str]) -> None:
    """A file of cases is read or refused with the field that is wrong."""
    fields = st.sampled_from(["stdin", "expected", "function", "arguments", "source", "entry_point", "hidden", "x"])
    kinds = st.sampled_from(["stdio", "call", "asserts", "checker", "run", "x"])
    case = st.dictionaries(kinds | fields, st.dictionaries(fields, texts | json_values) | json_values, max_size=2)
    good = st.fixed_dictionaries({"stdio": st.fixed_dictionaries({"stdin": texts, "expected": texts | json_values})})
    cases = st.lists(case | good, max_size=3)
    whole = st.dictionaries(
        st.sampled_from(["cases", "language", "comparison", "tolerance", "limits", "files", "together", "x"]),
        json_values | cases,
    )

    @seed(number)
    @quietly(examples)
    @given(cases | whole | json_values, st.none() | st.binary(max_size=60))
    def run(check: Any, raw: bytes | None) -> None:
        try:
            read_program_check(json.dumps(check).encode() if raw is None else raw, "cases.json")
            seen["read"] += 1
        except (FieldError, ValueError) as error:
            assert str(error), "refused without a word"
            seen["refused"] += 1

    run()


TARGETS: dict[str, Callable[[int, int, Counter[str]], None]] = {
    "replies": fuzz_replies,
    "values": fuzz_values,
    "outputs": fuzz_outputs,
    "patches": fuzz_patches,
    "cases": fuzz_cases,
}


def main() -> int:
    """Run rounds until the time is over."""
    arguments, targets = parse_arguments((__doc__ or "").splitlines()[0], TARGETS)
    return run_rounds(arguments, targets, lambda target, *rest: TARGETS[target](*rest))


if __name__ == "__main__":
    sys.exit(main())
