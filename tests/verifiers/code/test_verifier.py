"""Verdicts on programs, in every real sandbox of this machine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espalier.common.errors import FieldError
from espalier.verifiers.check import (
    AssertCase,
    CallCase,
    Case,
    CheckerCase,
    Claim,
    Comparison,
    ProgramCheck,
    ProgramLimits,
    ReferenceCheck,
    RunCase,
    StdioCase,
)
from espalier.verifiers.code import verifier as verifier_module
from espalier.verifiers.code.languages import LANGUAGES
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import SandboxError
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status
from tests.verifiers.code.boxes import KINDS, opened, unavailable

ROWS = [json.loads(line) for line in (Path(__file__).parent / "programs.jsonl").read_text("utf-8").splitlines()]
ECHO = "print(input())"

in_module_loop = pytest.mark.asyncio(loop_scope="module")


def case_of(row: dict[str, Any]) -> Case:
    if "nested" in row:
        nested = "[" * row["nested"] + "]" * row["nested"]
        return CallCase(row["function"], f"[{nested}]", nested)
    if "function" in row:
        return CallCase(row["function"], json.dumps(row["arguments"]), json.dumps(row["value"]))
    if "asserts" in row:
        return AssertCase(row["asserts"], row.get("entry_point", ""))
    if "run" in row:
        return RunCase(row["run"])
    stdin, expected = row["stdin"], row["expected"]
    if "stdin_repeat" in row:
        text, times = row["stdin_repeat"]
        stdin = expected = text * times
    if "expected_power_of_ten" in row:
        expected = "1" + "0" * row["expected_power_of_ten"]
    if "checker" in row:
        return CheckerCase(stdin, expected, row["checker"])
    return StdioCase(stdin, expected)


@in_module_loop
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
async def test_programs_are_judged_as_the_table_says(sandbox: PooledSandbox, row: dict[str, Any]) -> None:
    check = ProgramCheck(tuple(map(case_of, row["cases"])), stop_at_first_failure=False)
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(f"So:\n```python\n{row['program']}\n```"), check)
    assert verdict.status == row["status"], verdict
    if verdict.status is not Status.ERROR:
        assert verdict.score == row["score"]
    assert row.get("feedback", "") in verdict.feedback


@in_module_loop
async def test_the_last_fenced_program_counts(sandbox: PooledSandbox) -> None:
    text = "```python\nprint(1)\n```\nNo, rather\n```python\nprint(2)\n```\n"
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(text), ProgramCheck((StdioCase("", "2"),)))
    assert verdict.passed


@in_module_loop
async def test_a_response_without_program_fails(sandbox: PooledSandbox) -> None:
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim("I cannot."), ProgramCheck((StdioCase("", "2"),)))
    assert verdict.status is Status.FAIL
    assert verdict.feedback


@in_module_loop
async def test_evidence_tells_input_expectation_output_time_and_memory(sandbox: PooledSandbox) -> None:
    check = ProgramCheck((StdioCase("a", "a"), StdioCase("b", "c"), StdioCase("d", "d")))
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(ECHO, bare=True), check)
    assert [item.rule for item in verdict.evidence] == ["case 1", "case 2"]  # it stops at the first failure
    record = json.loads(verdict.evidence[1].detail)
    assert (record["input"], record["expected"], record["got"].strip()) == ("b", "c", "b")
    assert record["seconds"] > 0
    assert record["memory_mib"] > 1
    assert verdict.score == pytest.approx(1 / 3)


@pytest.mark.slow
@in_module_loop
async def test_the_limit_for_all_cases_ends_the_run(sandbox: PooledSandbox) -> None:
    check = ProgramCheck(
        (StdioCase("", ""),) * 50, limits=ProgramLimits(case_seconds=5, total_seconds=1), stop_at_first_failure=False
    )
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim("import time\ntime.sleep(0.3)", bare=True), check)
    assert verdict.status is Status.FAIL
    assert 0 < verdict.score < 1
    assert "1 s for all cases" in verdict.feedback


@in_module_loop
async def test_a_caller_out_of_time_gets_an_error_never_a_fail(sandbox: PooledSandbox) -> None:
    check = ProgramCheck((StdioCase("", ""),), limits=ProgramLimits(case_seconds=20))
    verdict = await CodeVerifier(sandbox=sandbox).verify(
        Claim("import time\ntime.sleep(9)", bare=True), check, timeout=0.3
    )
    assert verdict.status is Status.ERROR


@in_module_loop
async def test_concurrent_claims_keep_their_own_verdicts(sandbox: PooledSandbox) -> None:
    verifier = CodeVerifier(sandbox=sandbox)
    verdicts = await asyncio.gather(
        *(
            verifier.verify(Claim(f"print({n})", bare=True), ProgramCheck((StdioCase("", str(n - n % 2)),)))
            for n in range(12)
        )
    )
    assert [verdict.passed for verdict in verdicts] == [n % 2 == 0 for n in range(12)]


@in_module_loop
async def test_the_memory_limit_of_the_check_holds(sandbox: PooledSandbox) -> None:
    program = "held = bytearray(120 << 20)\nprint(len(held))"
    case = StdioCase("", str(120 << 20))
    verifier = CodeVerifier(sandbox=sandbox)
    small = await verifier.verify(Claim(program, bare=True), ProgramCheck((case,), limits=ProgramLimits(memory_mib=64)))
    large = await verifier.verify(Claim(program, bare=True), ProgramCheck((case,)))
    assert (small.status, large.status) == (Status.FAIL, Status.PASS)
    assert "memory limit of 64 MiB" in small.feedback


@in_module_loop
async def test_the_verifier_accepts_gold_and_rejects_bad(sandbox: PooledSandbox) -> None:
    assert await CodeVerifier(sandbox=sandbox).self_check() == []


@pytest.mark.parametrize(
    ("check", "field"),
    [
        (ProgramCheck((StdioCase("", ""),), language="cobol"), "language"),
        (ProgramCheck(()), "cases"),
        (ProgramCheck((CallCase("f", "{}", "1"),)), "cases[0].call.arguments_json"),
        (ProgramCheck((CallCase("f", "[", "1"),)), "cases[0].call.arguments_json"),
        (ProgramCheck((CallCase("f", "[]", "one"),)), "cases[0].call.expected_json"),
        (ProgramCheck((CallCase("f()", "[]", "1"),)), "cases[0].call.function"),
        (ProgramCheck((StdioCase("", ""), CallCase("f", "[]", "1")), language="cpp"), "cases[1].call"),
        (ProgramCheck((AssertCase("assert 1"),), language="javascript"), "cases[0].asserts"),
        (ProgramCheck((StdioCase("", ""),), limits=ProgramLimits(memory_mib=1 << 20)), "limits.memory_mib"),
        (ProgramCheck((StdioCase("", ""),), limits=ProgramLimits(case_seconds=0)), "limits"),
        (ProgramCheck((StdioCase("", ""),), tolerance=float("nan")), "tolerance"),
        (ProgramCheck((StdioCase("", ""),), files=(("program.py", ""),)), "files"),
        (ReferenceCheck("1"), "check"),
    ],
)
async def test_a_check_that_cannot_be_judged_names_its_field(check: Any, field: str) -> None:
    with pytest.raises(FieldError) as raised:
        await CodeVerifier().verify(Claim("x", bare=True), check)
    assert raised.value.field.endswith(field)


@in_module_loop
@pytest.mark.parametrize(
    "source",
    [
        "x = f(1)",
        "def check(candidate):\n    candidate(1)",
        "def helper(candidate):\n    assert candidate(1) == 1",
        "for x in []:\n    assert f(x) == x",
        "def test_f():\n    f(1)",
        "import pytest\n@pytest.mark.skip\ndef test_f():\n    assert f(1) == 1",
        "assert f(1) == (",
    ],
)
async def test_tests_that_assert_nothing_are_a_fault_of_the_check(sandbox: PooledSandbox, source: str) -> None:
    with pytest.raises(FieldError, match=r"asserts nothing|does not compile") as raised:
        await CodeVerifier(sandbox=sandbox).verify(
            Claim("def f(a):\n    return a", bare=True), ProgramCheck((AssertCase(source),))
        )
    assert raised.value.field == "check.program.cases[0].asserts.source"


MARK = "hidden-4711"


@in_module_loop
@pytest.mark.parametrize(
    "program", ["import sys\nx = sys.stdin.read()\nprint(x)\nsys.exit(x)", "def f(x):\n    raise ValueError(x)"]
)
@pytest.mark.parametrize(
    "case",
    [
        StdioCase(MARK, MARK + "!", hidden=True),
        CallCase("f", json.dumps([MARK]), json.dumps(MARK), hidden=True),
        AssertCase(f"assert f('{MARK}') == '{MARK}', '{MARK}'", hidden=True),
        CheckerCase(MARK, MARK, f"import sys\nsys.exit('{MARK}')", hidden=True),
    ],
    ids=lambda case: type(case).__name__,
)
async def test_nothing_of_a_hidden_case_is_told(sandbox: PooledSandbox, program: str, case: Case) -> None:
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(program, bare=True), ProgramCheck((case,)))
    assert verdict.status is Status.FAIL
    assert "hidden" in verdict.feedback
    assert MARK not in verdict.feedback + str(verdict.evidence)


@in_module_loop
async def test_a_failure_that_may_be_told_is_told_before_a_hidden_one(sandbox: PooledSandbox) -> None:
    cases = (StdioCase("1", "1"), StdioCase("2", MARK, hidden=True), StdioCase("3", "4"))
    check = ProgramCheck(cases, stop_at_first_failure=False)
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(ECHO, bare=True), check)
    assert "Case 3 of 3 failed" in verdict.feedback
    assert "1 further case fails" in verdict.feedback
    assert MARK not in verdict.feedback


@in_module_loop
async def test_what_a_program_saw_of_a_hidden_case_is_in_no_case_that_is_told(sandbox: PooledSandbox) -> None:
    program = """
import os, sys
for name in ("/tmp/seen", "/proc/self/maps"):
    if os.path.exists(name):
        print(open(name).read()[:1] if name.startswith("/proc") else open(name).read())
text = sys.stdin.read()
open("/tmp/seen", "a").write(text)
"""
    cases = (StdioCase(MARK, "", hidden=True), StdioCase("", "nothing of it"))
    check = ProgramCheck(cases, stop_at_first_failure=False)
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(program, bare=True), check)
    assert "Case 2 of 2 failed" in verdict.feedback
    assert MARK not in verdict.feedback + str(verdict.evidence)


MEMORY = """
import re
found = []
for line in open('/proc/self/maps'):
    span, mode = line.split()[:2]
    if mode.startswith('rw'):
        start, end = (int(x, 16) for x in span.split('-'))
        with open('/proc/self/mem', 'rb', buffering=0) as memory:
            memory.seek(start)
            found += re.findall(b'hidden[-]4711', memory.read(end - start))
print(len(found))
def f(x): return x
"""


@in_module_loop
async def test_no_later_program_finds_tests_in_its_memory(sandbox: PooledSandbox) -> None:
    source = "assert f(1) == 1\n" + f"# {MARK}\n" * 5000
    cases = (AssertCase(source), StdioCase("", "0"))
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(MEMORY, bare=True), ProgramCheck(cases))
    assert verdict.passed, verdict.feedback


@in_module_loop
async def test_files_of_the_check_stand_beside_the_program(sandbox: PooledSandbox) -> None:
    files = (("words.txt", "one two"), ("helper.py", "def count(text):\n    return len(text.split())"))
    program = "import helper\ndef f():\n    return helper.count(open('/tmp/job/words.txt').read())"
    cases = (CallCase("f", "[]", "2"), AssertCase("import helper\nassert f() == helper.count('a b') == 2"))
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(program, bare=True), ProgramCheck(cases, files=files))
    assert verdict.passed, verdict.feedback


CPP_SUM = "#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }"
C_SUM = '#include <stdio.h>\nint main(void) { long a, b; scanf("%ld %ld", &a, &b); printf("%ld\\n", a + b); }'
GO_SUM = 'package main\nimport "fmt"\nfunc main() { var a, b int; fmt.Scan(&a, &b); fmt.Println(a + b) }'
RUST_SUM = (
    "use std::io::*;\nfn main() { let mut s = String::new(); stdin().read_to_string(&mut s).unwrap();\n"
    'println!("{}", s.split_whitespace().map(|x| x.parse::<i64>().unwrap()).sum::<i64>()); }'
)
JAVA_SUM = (
    "import java.util.*;\nclass Pair { long a, b; }\npublic class Solution { /* public class Other { */\n"
    "public static void main(String[] arguments) { Scanner in = new Scanner(System.in); Pair pair = new Pair();\n"
    "pair.a = in.nextLong(); pair.b = in.nextLong(); System.out.println(pair.a + pair.b); } }"
)
JAVA_RECURSION = (
    "class A { static int f(int n) { return n == 0 ? 0 : 1 + f(n - 1); }\n"
    "public static void main(String[] a) { System.out.println(f(100000)); } }"
)
JAVA_GARBAGE = (
    "class A { public static void main(String[] a) { long sum = 0;\n"
    "for (int i = 0; i < 2000; i++) { byte[] b = new byte[1 << 20]; sum += b.length; } System.out.println(sum); } }"
)
JAVA_HEAP = (
    "import java.util.*;\nclass A { public static void main(String[] a) {\n"
    "List<byte[]> all = new ArrayList<>(); while (true) all.add(new byte[1 << 20]); } }"
)
JAVA_MEMORY = (
    "class A { public static void main(String[] a) throws Exception {\n"
    'var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe"); field.setAccessible(true);\n'
    "var unsafe = (sun.misc.Unsafe) field.get(null);\n"
    "while (true) unsafe.setMemory(unsafe.allocateMemory(1 << 24), 1 << 24, (byte) 1); } }"
)
JAVA_THREADS = (
    "class A { public static void main(String[] a) { while (true) { Thread thread = new Thread(() -> {\n"
    "try { Thread.sleep(1000000); } catch (InterruptedException e) { } });\n"
    "thread.setDaemon(true); thread.start(); } } }"
)
JAVA_NETWORK = (
    'class A { public static void main(String[] a) throws Exception {\nnew java.net.Socket("127.0.0.1", 1); } }'
)
JS_SUM = "console.log(require('fs').readFileSync(0, 'utf8').split(' ').map(Number).reduce((a, b) => a + b))"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("language", "program", "case", "status"),
    [
        ("cpp", CPP_SUM, StdioCase("1 2", "3"), Status.PASS),
        ("cpp", CPP_SUM, StdioCase("1 2", "4"), Status.FAIL),
        ("cpp", "int main() { return x; }", StdioCase("", ""), Status.FAIL),
        ("cpp", "int main() { int *p = 0; *p = 1; }", StdioCase("", ""), Status.FAIL),
        ("c", C_SUM, StdioCase("1 2", "3"), Status.PASS),
        ("c", C_SUM, StdioCase("1 2", "4"), Status.FAIL),
        ("go", GO_SUM, StdioCase("1 2", "3"), Status.PASS),
        ("go", "package main\nfunc main() { x }", StdioCase("", ""), Status.FAIL),
        ("rust", RUST_SUM, StdioCase("1 2", "3"), Status.PASS),
        ("rust", RUST_SUM, StdioCase("1 2", "4"), Status.FAIL),
        ("rust", "fn main() { x }", StdioCase("", ""), Status.FAIL),
        ("rust", 'fn main() { let v: Vec<i32> = vec![]; println!("{}", v[1]); }', StdioCase("", ""), Status.FAIL),
        ("java", JAVA_SUM, StdioCase("1 2", "3"), Status.PASS),
        ("java", JAVA_SUM, StdioCase("1 2", "4"), Status.FAIL),
        ("java", f"package a.b;\n{JAVA_SUM}", StdioCase("1 2", "3"), Status.PASS),
        ("java", JAVA_RECURSION, StdioCase("", "100000"), Status.PASS),
        ("java", JAVA_GARBAGE, StdioCase("", "2097152000"), Status.PASS),
        ("java", JAVA_HEAP, StdioCase("", ""), Status.FAIL),
        ("java", JAVA_MEMORY, StdioCase("", ""), Status.FAIL),
        ("java", JAVA_THREADS, StdioCase("", ""), Status.FAIL),
        ("java", JAVA_NETWORK, RunCase(""), Status.FAIL),
        ("java", "class A { void main() { x } }", StdioCase("", ""), Status.FAIL),
        ("java", "class A { }", RunCase(""), Status.FAIL),
        ("javascript", JS_SUM, StdioCase("1 2", "3"), Status.PASS),
        ("javascript", "const f = (a) => a.reverse()", CallCase("f", "[[1, 2]]", "[2, 1]"), Status.PASS),
        ("javascript", "function f(a) { return a }", CallCase("f", "[[1, 2]]", "[2, 1]"), Status.FAIL),
        (
            "javascript",
            "async function f(a) { return a.n + 1n }",
            CallCase("f", '[{"n": 9007199254740993}]', "9007199254740994"),
            Status.PASS,
        ),
        (
            "javascript",
            "function* f(n) { yield NaN; yield new Set([n]); yield new Map([[1, undefined]]) }",
            CallCase("f", "[2]", '[NaN, [2], {"1": null}]'),
            Status.PASS,
        ),
        ("javascript", "throw new Error('no')", StdioCase("", ""), Status.FAIL),
    ],
)
async def test_other_languages_are_judged_alike(
    kind: str, language: str, program: str, case: Case, status: Status
) -> None:
    async with opened(kind, warm=0, image=LANGUAGES[language].image) as sandbox:
        verdict = await CodeVerifier(sandbox=sandbox).verify(
            Claim(program, bare=True), ProgramCheck((case,), language=language, comparison=Comparison.TOKENS)
        )
    assert verdict.status is status, verdict


@pytest.mark.parametrize("kind", KINDS)
async def test_a_language_without_its_image_is_refused_with_what_to_do(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rust = replace(LANGUAGES["rust"], image="not-made")
    monkeypatch.setattr(verifier_module, "LANGUAGES", {"rust": rust})
    async with opened(kind, warm=0) as sandbox:
        check = ProgramCheck((StdioCase("", ""),), language="rust")
        verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(RUST_SUM, bare=True), check)
    assert verdict.status is Status.ERROR
    assert "scripts/sandbox-image.sh not-made" in verdict.evidence[0].detail


async def test_no_sandbox_at_all_refuses_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("PATH", "/nonexistent")
    verifier = CodeVerifier()
    with pytest.raises(SandboxError, match=r"start it.*install the package bubblewrap"):
        await verifier.start()
    verdict = await verifier.verify(Claim(ECHO, bare=True), ProgramCheck((StdioCase("1", "1"),)))
    assert verdict.status is Status.ERROR


async def test_auto_falls_back_to_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    async with CodeVerifier() as verifier:
        verdict = await verifier.verify(Claim(ECHO, bare=True), ProgramCheck((StdioCase("1", "1"),)))
        if verdict.status is Status.ERROR:
            unavailable(verdict.evidence[0].detail)
        assert verdict.passed
