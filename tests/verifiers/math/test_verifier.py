from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from espalier.verifiers.check import (
    Claim,
    ConstraintCheck,
    MathOptions,
    ProgramCheck,
    ReferenceCheck,
    Relation,
    StepCheck,
)
from espalier.verifiers.consensus import vote
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.math import MathVerifier
from espalier.verifiers.math.workers import PoolLimits
from espalier.verifiers.verdict import Status, Verdict
from espalier.verifiers.verifier import Verifier


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[MathVerifier]:
    async with MathVerifier() as verifier:
        yield verifier


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_it_fulfils_the_protocol(verifier: MathVerifier) -> None:
    assert isinstance(verifier, Verifier)
    assert await verifier.self_check() == ()


async def test_its_limits_are_described() -> None:
    verifier = MathVerifier(PoolLimits(workers=3, memory_mib=512, wall_seconds=2.5))
    described = {"max_characters": "4096", "max_seconds": "2.5", "max_cpu_seconds": "1.5"}
    described |= {"max_memory_mib": "512", "workers": "3"}
    (info,) = await LocalVerifiers([verifier]).describe()
    assert info.limits == described


async def test_the_evidence_says_what_was_read_and_what_decided(verifier: MathVerifier) -> None:
    verdict = await verifier.verify(Claim(r"so \boxed{1/\sqrt{3}}"), ReferenceCheck(r"\frac{\sqrt3}{3}"))
    assert verdict.status is Status.PASS
    assert verdict.decided_by == "reference"
    assert [evidence.rule for evidence in verdict.evidence] == ["extraction", "parse", "equivalence"]
    assert "separation bound" in verdict.evidence[2].detail


async def test_a_wrong_answer_has_feedback_that_does_not_tell_the_reference(verifier: MathVerifier) -> None:
    verdict = await verifier.verify(Claim(r"\boxed{17}"), ReferenceCheck("98765"))
    assert verdict.status is Status.FAIL
    assert "17" in verdict.feedback
    assert "98765" not in verdict.feedback


async def test_a_response_without_an_answer_fails(verifier: MathVerifier) -> None:
    verdict = await verifier.verify(Claim(""), ReferenceCheck("5"))
    assert (verdict.status, verdict.decided_by) == (Status.FAIL, "no_answer")


async def test_identical_text_passes_even_when_nothing_can_be_parsed(verifier: MathVerifier) -> None:
    claim = Claim(r"\boxed{\sum_{k}^{n} a_k}")
    assert (await verifier.verify(claim, ReferenceCheck(r"\sum_{k}^{n} a_k"))).status is Status.PASS
    assert (await verifier.verify(claim, ReferenceCheck("5"))).status is Status.FAIL


async def test_a_percentage_that_the_problem_asks_for(verifier: MathVerifier) -> None:
    claim = Claim(r"\boxed{12\%}", problem="What percent of the cars are red?")
    assert (await verifier.verify(claim, ReferenceCheck("12"))).status is Status.PASS
    assert (await verifier.verify(Claim(r"\boxed{12\%}"), ReferenceCheck("12"))).status is Status.FAIL


ASKED = [
    (r"\boxed{7} dozens of eggs", "7", "How many dozens of eggs will she eat?"),
    (r"\boxed{4} million yuan", "4", "How much is left, in millions of yuan?"),
    (r"\boxed{2516} in base eight", "2516", "Express 10101001110_2 in base eight."),
    (r"\boxed{2516}_8", "2516", "Express it in base $8$."),
    (r"\boxed{101} in binary", "101", "Write 5 in binary."),
]


@pytest.mark.parametrize(("text", "gold", "problem"), ASKED)
async def test_a_scale_or_a_base_that_the_problem_asks_for(
    verifier: MathVerifier, text: str, gold: str, problem: str
) -> None:
    assert (await verifier.verify(Claim(text, problem=problem), ReferenceCheck(gold))).status is Status.PASS
    assert (await verifier.verify(Claim(text), ReferenceCheck(gold))).status is Status.UNKNOWN
    assert (await verifier.verify(Claim(text, problem=problem), ReferenceCheck("9"))).status is Status.FAIL


async def test_another_scale_or_base_than_the_problem_names_is_no_answer(verifier: MathVerifier) -> None:
    claims = (
        Claim(r"\boxed{4} thousand yuan", problem="How much is left, in millions of yuan?"),
        Claim(r"\boxed{11} in base eight", problem="Write 1001_2 in base 7."),
    )
    for claim, gold in zip(claims, ("4", "11"), strict=True):
        assert (await verifier.verify(claim, ReferenceCheck(gold))).status is Status.UNKNOWN


async def test_constraints_decide(verifier: MathVerifier) -> None:
    check = ConstraintCheck((Relation("x^2 - 5x + 6 = 0", all_solutions=True),))
    assert (await verifier.verify(Claim("x = 2 or x = 3", bare=True), check)).status is Status.PASS
    failed = await verifier.verify(Claim("2, 4", bare=True), check)
    assert failed.status is Status.FAIL
    assert "x = 4" in failed.feedback


async def test_constraints_are_recognised_in_the_problem(verifier: MathVerifier) -> None:
    claim = Claim(r"\boxed{8*(5*1 - 2)}", problem="Make 24 using 5, 1, 2, 8. You can only use each number once.")
    assert (await verifier.verify(claim, ConstraintCheck(()))).status is Status.PASS
    unclear = Claim(r"\boxed{5}", problem="What is love?")
    assert (await verifier.verify(unclear, ConstraintCheck(()))).status is Status.UNKNOWN


async def test_steps_lower_the_score_and_never_pass(verifier: MathVerifier) -> None:
    true = await verifier.verify(Claim("2 + 3 = 5."), StepCheck())
    false = await verifier.verify(Claim("2 + 3 = 5 and 4 + 4 = 9."), StepCheck())
    assert (true.status, true.score) == (Status.UNKNOWN, 1.0)
    assert (false.status, false.score) == (Status.UNKNOWN, 0.5)
    assert "4 + 4 = 9" in false.feedback


async def test_a_check_of_another_kind_is_an_error(verifier: MathVerifier) -> None:
    verdict = await verifier.verify(Claim("5", bare=True), ProgramCheck(()))
    assert verdict.status is Status.ERROR


async def test_votes_group_equivalent_answers(verifier: MathVerifier) -> None:
    classes = await verifier.classes(["1/2", "x+1", "0.5", "1+x", r"\frac12", "50%", "1/3"])
    assert [found.members for found in classes] == [(0, 2, 4, 5), (1, 3), (6,)]
    assert vote(classes)[0].score > 0.7


async def test_options_reach_the_comparison(verifier: MathVerifier) -> None:
    assert (await verifier.equivalent("5%", "0.05")).status is Status.PASS
    assert (await verifier.equivalent("5%", "0.05", MathOptions(percent_as_fraction=False))).status is Status.FAIL
    assert (await verifier.equivalent("1/3", "0.333", MathOptions(round_to=3))).status is Status.PASS


HOSTILE = [
    "10^(5^5^5)",
    r"10^{5^{5^{5}}}",
    "factorial(10**9)",
    "((10^9)!)!",
    "9" * 100_000,
    "1." + "3" * 50_000,
    "{" * 5000 + "1" + "}" * 5000,
    "(" * 60 + "x" + "+1)^9" * 60,
    "(x+y+z+1)^{999999999}",
    "2^{2^{2^{2^{40}}}}",
    "e^{e^{e^{100}}}",
    r"\sin(10^{1000000})",
    r"\binom{10^{18}}{10^{17}}",
    "gcd(" + "9" * 900 + "!, 7)",
    r"\sqrt[10^9]{2}",
    "__import__('os').system('touch /tmp/espalier-owned')",
    "().__class__.__bases__[0].__subclasses__()",
    "eval('1')",
    "x" * 1_000_000,
    "\\frac" * 10_000,
    "\\text{" * 2000,
    "|" * 3000,
    "±1" * 900,
    ",".join(["1±2"] * 500),
    r"\{" + ",".join(str(n) for n in range(3000)) + r"\}",
    r"\begin{pmatrix}" + r"1&" * 2000 + r"\end{pmatrix}",
    "\x00\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:40].encode("ascii", "replace").decode() for text in HOSTILE])
async def test_hostile_text_is_answered_and_the_service_lives_on(verifier: MathVerifier, text: str) -> None:
    verdicts: list[Verdict] = [
        await verifier.equivalent("5", text),
        await verifier.equivalent(text, "5"),
        await verifier.verify(Claim(f"so \\boxed{{{text}}} and {text} = 5"), ReferenceCheck("5"), timeout=60),
        await verifier.verify(Claim(text, bare=True), ConstraintCheck((Relation("x^2 = 25"),)), timeout=60),
        await verifier.verify(Claim(f"{text} = {text}\n${text} = 7$"), StepCheck(), timeout=60),
    ]
    assert Status.PASS not in {verdict.status for verdict in verdicts}
    assert Status.ERROR not in {verdict.status for verdict in verdicts}, verdicts
    assert (await verifier.equivalent("1/2", "0.5")).status is Status.PASS


async def test_many_callers_get_their_own_verdicts(verifier: MathVerifier) -> None:
    pairs = [(rf"\sqrt{{{n * n}}} + x", f"x + {n + n % 3 // 2}") for n in range(300)]
    verdicts = await asyncio.gather(*(verifier.equivalent(a, b) for a, b in pairs))
    assert [verdict.passed for verdict in verdicts] == [n % 3 != 2 for n in range(300)]


async def test_memory_is_flat_over_many_verifications(verifier: MathVerifier) -> None:
    def resident() -> int:
        process = psutil.Process(os.getpid())
        return sum(
            child.memory_info().rss for child in process.children() if "math.worker" in " ".join(child.cmdline())
        )

    async def verify(start: int) -> None:
        for n in range(start, start + 1500):
            await verifier.equivalent(rf"\frac{{{n}}}{{7}} + \sqrt{{{n}}}", f"{n}/7 + {n}^(1/2)")

    await verify(10)
    before = resident()
    await verify(2000)
    assert resident() < before * 1.2 + (8 << 20)


COSTLY = [
    r"\{" + ",".join(rf"\sqrt{{{n}}}+\sqrt{{{n + 1}}}" for n in range(2, 120)) + r"\}",
    "x^{64}+x^{63}-7x^{31}+3x^5-2 > x^{17}-5x^{11}+1",
]


@pytest.mark.parametrize("claim", COSTLY, ids=["a set of sums of roots", "a polynomial inequality of degree 64"])
async def test_a_costly_answer_is_judged_without_an_error_and_once(verifier: MathVerifier, claim: str) -> None:
    verdict = await verifier.verify(Claim(claim, bare=True), ReferenceCheck(r"\{1,2,3\}"))
    assert verdict.status is Status.FAIL


async def test_an_answer_beyond_its_processor_time_fails_and_the_service_lives_on() -> None:
    async with MathVerifier(PoolLimits(workers=1, cpu_seconds=0.2)) as small:
        verdict = await small.verify(Claim(COSTLY[1], bare=True), ReferenceCheck("5"))
        assert (verdict.status, verdict.decided_by) == (Status.FAIL, "too_costly")
        again = await small.verify(Claim(COSTLY[1], bare=True), ReferenceCheck("5"))
        assert again == verdict
        assert (await small.equivalent("1/3 + x", "x + 2/6")).passed


async def test_quick_answers_do_not_wait_for_costly_ones(verifier: MathVerifier) -> None:
    costly = [
        asyncio.create_task(verifier.verify(Claim(COSTLY[0], bare=True), ReferenceCheck(rf"\{{{n},2,3\}}")))
        for n in range(8)
    ]
    await asyncio.sleep(0)
    for n in range(20):
        assert (await verifier.equivalent(rf"\sqrt{{{n + 2}}} + x", rf"x + {n + 2}^{{1/2}}")).passed
    assert not all(task.done() for task in costly)
    assert {(await task).status for task in costly} == {Status.FAIL}


@pytest.mark.parametrize("text", ["@@@", r"\frac{1}{", "((3"])
async def test_an_answer_that_cannot_be_read_fails_every_check(verifier: MathVerifier, text: str) -> None:
    for check in (ReferenceCheck("5"), ConstraintCheck((Relation("x^2 = 25"),))):
        assert (await verifier.verify(Claim(text, bare=True), check)).status is Status.FAIL
