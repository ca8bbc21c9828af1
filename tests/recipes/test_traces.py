from __future__ import annotations

import json
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

from espalier.runtime.structure import read
from espalier.training.tasks import TASKS, Problem, Split
from espalier.training.tasks.programming import programs, run
from espalier.verifiers.answer import boxes, branch_answer, final_answer
from espalier.verifiers.check import Claim, ConstraintCheck, Domain, ProgramCheck, Relation
from espalier.verifiers.math.verifier import MathVerifier
from recipes.seedling.encoding import encode, response_text
from recipes.seedling.stream import Codec
from recipes.seedling.tokenizer import prompt_text
from recipes.seedling.traces import TraceBranch, write
from recipes.seedling.traces.expressions import Term, join
from recipes.seedling.traces.programming import source
from recipes.seedling.traces.trace import corrupt, majority, vote

SAMPLES = 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[MathVerifier]:
    async with MathVerifier() as started:
        yield started


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", sorted(set(TASKS) - {"programming"}))
async def test_every_trace_is_well_formed_and_its_answer_passes_the_check(
    name: str, codec: Codec, verifier: MathVerifier
) -> None:
    rng = Random(0)
    for index in range(SAMPLES):
        problem = TASKS[name].generate(Split.TRAIN, 11, index)
        trace = write(problem, rng)
        if trace is None:
            continue
        example = encode(problem.text, trace, codec.tokenizer, codec.vocabulary)
        prompt = codec.tokenizer.encode(prompt_text(problem.text), add_special_tokens=False).ids
        assert read(example.tokens.tolist(), len(prompt), codec.vocabulary).well_formed
        if not trace.solved:
            assert final_answer(trace.closing, problem.check) is None
            continue
        verdict = await verifier.verify(Claim(response_text(trace)), problem.check)
        assert verdict.passed, (problem.text, trace, verdict)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_fraction_that_comes_to_a_whole_number_is_written_as_one(verifier: MathVerifier) -> None:
    facts = {"numerator": 12, "denominator": 4, "simplified_numerator": 3, "simplified_denominator": 1}
    check = ConstraintCheck((Relation("answer = 12/4"), Domain("lowest terms")))
    trace = write(Problem("x", "12/4", check, "fraction_simplification", facts), Random(0))
    assert trace is not None
    assert (await verifier.verify(Claim(trace.closing), check)).passed


def test_every_program_trace_answers_with_a_program_that_meets_all_cases(codec: Codec) -> None:
    by_source = {source(program): program for stages in (1, 2) for program in programs(stages)}
    rng = Random(0)
    for index in range(SAMPLES):
        problem = TASKS["programming"].generate(Split.TRAIN, 11, index)
        trace = write(problem, rng)
        assert trace is not None
        encode(problem.text, trace, codec.tokenizer, codec.vocabulary)
        if not trace.solved:
            continue
        program = by_source[trace.closing.removeprefix("```python\n").removesuffix("\n```")]
        assert isinstance(problem.check, ProgramCheck)
        for case in problem.check.cases:
            (arguments,) = json.loads(case.arguments_json)  # type: ignore[union-attr]
            assert run(program, arguments)[-1] == json.loads(case.expected_json)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_traces_of_one_problem_differ_in_their_plans(name: str) -> None:
    problem = TASKS[name].generate(Split.TRAIN, 11, 0)
    rng = Random(0)
    traces = [trace for _ in range(8) if (trace := write(problem, rng)) is not None]
    assert len({tuple(b.plan for b in trace.blocks[0].branches) for trace in traces}) > 2


@pytest.mark.parametrize("name", ["countdown", "programming", "number_sequence", "puzzle24"])
def test_a_search_has_failing_branches_and_the_right_one_in_any_place(name: str) -> None:
    rng = Random(0)
    places = set()
    failing = 0
    for index in range(10):
        problem = TASKS[name].generate(Split.TRAIN, 12, index)
        for trace in (write(problem, rng) for _ in range(3)):
            if trace is not None and trace.solved:
                results = [b.result for b in trace.blocks[-1].branches]
                places.add(next(i for i, result in enumerate(results) if result is not None))
                failing += results.count(None)
    assert len(places) >= 3
    assert failing >= 10


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_step_that_succeeds_states_its_answer_where_a_verifier_finds_it(name: str) -> None:
    problem = TASKS[name].generate(Split.TRAIN, 13, 0)
    rng = Random(0)
    for trace in (write(problem, rng) for _ in range(4)):
        for branch in (b for block in trace.blocks for b in block.branches) if trace else ():
            stated = branch_answer(branch.work, problem.check)
            assert (stated is None) == (branch.result is None)
            if name != "programming":
                assert stated == branch.result


@pytest.mark.parametrize("name", ["countdown", "programming", "number_sequence", "puzzle24"])
def test_a_search_gives_up_after_its_last_block_and_claims_nothing_proven(name: str) -> None:
    rng = Random(0)
    found = (write(TASKS[name].generate(Split.TRAIN, 14, index % 20), rng) for index in range(300))
    given_up = next(trace for trace in found if trace is not None and not trace.solved)
    assert given_up.blocks[-1].takeaway.endswith("; stop")
    assert not boxes(given_up.closing)


def test_a_corrupted_step_states_a_wrong_result_and_is_not_trained() -> None:
    branch = TraceBranch(" add", " 57+87=144 so 144", "144")
    for seed in range(20):
        corrupted = corrupt(branch, Random(seed))
        assert corrupted.result != "144"
        assert not corrupted.trained
        assert corrupted.work == f" 57+87=144 so {corrupted.result}"


def test_a_majority_outvotes_a_corrupted_step() -> None:
    methods = [TraceBranch(f" way {i}", " so 7", "7") for i in range(4)]
    traces = [majority(methods, "7", Random(seed), corrupted_share=1.0) for seed in range(30)]
    corrupted = [t for t in traces if t is not None and any(not b.trained for b in t.blocks[0].branches)]
    assert corrupted
    assert all(t.blocks[0].takeaway.endswith("most votes: 7") for t in corrupted)


def test_a_tied_vote_goes_to_the_earliest() -> None:
    branches = [TraceBranch("", "", "5"), TraceBranch("", "", None), TraceBranch("", "", "6")]
    assert vote(branches) == ("1 gives 5, 2 gives nothing, 3 gives 6; most votes: 5", "5")


@pytest.mark.parametrize(
    ("left", "operator", "right", "text"),
    [
        (Term("1+2", 1), "*", Term("3"), "(1+2)*3"),
        (Term("1*2", 2), "+", Term("3"), "1*2+3"),
        (Term("9"), "-", Term("1+2", 1), "9-(1+2)"),
        (Term("8"), "/", Term("2*2", 2), "8/(2*2)"),
        (Term("8"), "+", Term("2-1", 1), "8+2-1"),
    ],
)
def test_brackets_stand_where_they_are_needed(left: Term, operator: str, right: Term, text: str) -> None:
    assert join(left, operator, right).text == text
