"""Probes: calls like those of stated examples, made without evaluating anything, the same wherever they are made."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from espalier.verifiers.check import AssertCase, Claim
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.example_reader import StatedExample, read_examples
from espalier.verifiers.probes import MAX_CALL, PROBES, SHOWN, probes_of
from espalier.verifiers.stated_examples import StatedExamples

ASK = "Write a Python function f(x).\n"
TYPES = [
    ("3", int),
    ("-2.5", float),
    ("'ab c'", str),
    ("[1, 2, 3]", list),
    ("(1, 'a')", tuple),
    ("{1, 2, 3}", set),
    ("{'a': 1, 'b': 2}", dict),
]


def stated(*calls: str) -> tuple[StatedExample, ...]:
    return tuple(StatedExample(call, AssertCase(f"assert (got := {call}) == 0, f'got {{got!r}}'")) for call in calls)


def arguments(call: str) -> list[object]:
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)
    return [ast.literal_eval(one) for one in tree.args]


@pytest.mark.parametrize(("value", "kind"), TYPES, ids=[kind.__name__ for _, kind in TYPES])
def test_an_argument_keeps_its_type_and_changes(value: str, kind: type) -> None:
    calls = [one.call for one in probes_of(stated(f"f({value})"))]
    assert len(calls) >= PROBES // 2
    assert len(set(calls)) == len(calls)
    assert f"f({value})" not in calls
    assert {type(arguments(call)[0]) for call in calls} == {kind}


def test_names_of_arguments_methods_and_what_is_done_with_the_value_are_kept() -> None:
    assert all(one.call.startswith("set(f([") for one in probes_of(stated("set(f([1, 2, 3]))")))
    assert all(one.call.startswith("Solution().f(x=") for one in probes_of(stated("Solution().f(x=7)")))
    (example,) = read_examples(ASK + "assert math.isclose(f(10), 4.5)")
    probes = probes_of((example,))
    assert {one.call[:2] for one in probes} == {"f("}
    assert {one.imports for one in probes} == {"import math\n"}


@pytest.mark.parametrize(
    "text",
    [
        "f(-1) raises ValueError",
        "f(g(2)) == 3",
        "assert f(**{'x': 1}) == 2",
        ">>> x = [1]\n>>> f(x)\n2",
        "f() == 2",
        "assert len('abc') == 3",
    ],
)
def test_examples_without_readable_arguments_bring_none(text: str) -> None:
    assert probes_of(read_examples(ASK + text)) == ()


def test_samples_of_standard_input_bring_none() -> None:
    sample = "Write a program that adds.\nSample Input\n1 2\nSample Output\n3\n"
    assert read_examples(sample)
    assert StatedExamples.of(sample).probes == ()


@pytest.mark.parametrize(
    "value", ["[" * 60 + "]" * 60, "'" + "x" * 900 + "'", "1" + "0" * 900, "1e308", "'\\ud800'", "b'ab'", "None"]
)
def test_odd_arguments_make_probes_that_compile_or_none(value: str) -> None:
    for one in probes_of(read_examples(ASK + f"f({value}, 2) == 1")):
        assert len(one.call) <= MAX_CALL
        compile(one.case.source, "<probe>", "exec")


def test_every_process_makes_the_same() -> None:
    """Whatever seed its sets of strings are hashed with."""
    code = (
        "from espalier.verifiers.stated_examples import StatedExamples\n"
        f"print([one.call for one in StatedExamples.of({ASK!r} + \"f({{'a', 'b', 'c'}}) == 1\").probes])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert "f({" in told.pop()


@pytest.mark.bwrap
async def test_programs_that_do_the_same_give_the_same_and_others_do_not() -> None:
    """Equal values in another form are the same; errors and endless loops give nothing, whatever they say."""
    examples = StatedExamples.of(ASK + "f([1, 2]) == 3\n")
    programs = {
        "sum": "return sum(x)",
        "loop": "total = 0.0\n    for one in x:\n        total += one\n    return total",
        "of two": "return 3",
        "raises": "if x != [1, 2]:\n        raise AssertionError('gives 3')\n    return 3",
        "waits": "while x != [1, 2]:\n        pass\n    return 3",
        "long": "return 3 if x == [1, 2] else [*x] * 999",
        "other": "return 3 if x == [1, 2] else [*x] * 1000",
    }
    async with CodeVerifier(SandboxSettings(kind="bwrap", warm=1)) as verifier:
        ran = {
            name: await verifier.verify(Claim(f"def f(x):\n    {body}\n", bare=True), examples.check)
            for name, body in programs.items()
        }
    assert {frozenset(examples.passed(one)) for one in ran.values()} == {frozenset({0})}
    given = {name: examples.given(one) for name, one in ran.items()}
    assert given["sum"] == given["loop"] == tuple(str(sum(x)) for one in examples.probes for x in arguments(one.call))  # type: ignore[call-overload]
    assert set(given["of two"]) == {"3"}
    assert set(given["raises"]) == set(given["waits"]) == {None}
    assert given["long"] != given["other"]
    assert max(len(one or "") for one in given["long"]) == SHOWN
    scores = {name: examples.evidence(one).score for name, one in ran.items()}
    assert (scores["sum"], scores["of two"], scores["raises"]) == (1.0, 1.0, 0.5)


@pytest.mark.bwrap
async def test_a_program_may_have_any_names() -> None:
    """Neither those of a probe's own nor builtins that the program defines anew change what it gives."""
    async with CodeVerifier(SandboxSettings(kind="bwrap", warm=1)) as verifier:
        for name in ("written", "given", "hashlib", "value", "key", "pair", "said"):
            examples = StatedExamples.of(f"Write a Python function {name}(x).\nassert {name}(3) == 3")
            program = f"def sorted(x):\n    return 5\nrepr = len = map = sorted\ndef {name}(x):\n    return x\n"
            given = examples.given(await verifier.verify(Claim(program, bare=True), examples.check))
            assert given == tuple(str(x) for one in examples.probes for x in arguments(one.call)), name


@pytest.mark.bwrap
async def test_values_of_other_types_are_told_apart_as_far_as_they_say_what_they_are() -> None:
    examples = StatedExamples.of(ASK + "f(2) == 2\n")
    imports = "from decimal import Decimal\nfrom fractions import Fraction\nclass Plain: pass\n"

    async with CodeVerifier(SandboxSettings(kind="bwrap", warm=1)) as verifier:

        async def given(value: str) -> tuple[str | None, ...]:
            program = f"{imports}def f(x):\n    return 2 if x == 2 else {value}\n"
            return examples.given(await verifier.verify(Claim(program, bare=True), examples.check))

        assert await given("range(x)") != await given("range(x + 1)")
        assert await given("Fraction(x, 7)") != await given("Fraction(x, 9)")
        assert await given("Fraction(x, 2)") == await given("Decimal(x) / 2") == await given("x / 2")
        assert set(await given("Plain()")) == {"<Plain>"}
