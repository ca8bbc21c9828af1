"""`espalier calibrate`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, Json, errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.solver.core.candidate import Candidate
    from espalier.solver.core.confidence import Calibration, Votes
    from espalier.solver.core.loop import Verifiers
    from espalier.solver.core.problem import Problem
    from espalier.solver.core.selection import VerifiedCandidate
    from espalier.verifiers.stated_examples import StatedExamples

FOLDS = 5
AT_ONCE = 32
Example = tuple[str, "Votes", bool]
"""A problem's id, the votes of some of the responses to it, and whether their winner is right."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a calibration is fitted or tested on.

    Attributes:
        examples: Of 2, 4, 8, … responses to each problem.
        model: Whose responses they are.
        temperatures: At which they were sampled, ascending.
        responses: How many there are to a problem, at most.
    """

    examples: list[Example]
    model: str
    temperatures: tuple[float, ...]
    responses: int


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 done, 2 usage, 3 a verifier failed.")
def calibrate(
    problems: Annotated[Path, typer.Argument(help="Problems with checks (JSON lines).", dir_okay=False)],
    responses: Annotated[
        list[Path],
        typer.Option(help="Responses to them: `espalier data sample` makes such a file. Repeatable.", dir_okay=False),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write the calibration to.", dir_okay=False)] = None,
    test: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="PROBLEMS RESPONSES", help="Test it on these, too."),
    ] = None,
    test_responses: Annotated[
        list[Path] | None, typer.Option(help="More responses to the problems of --test. Repeatable.", dir_okay=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw its reliability as a PNG.", dir_okay=False)
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Also say how often answers this sure are right.")
    ] = 0.9,
    seed: Annotated[int, typer.Option(help="Of the subsets of responses that it learns from.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn how far votes can be trusted, from problems whose answers are known.

    The calibration makes `espalier solve --calibration FILE` say how sure an answer is that nothing has confirmed, and
    `--min-confidence 0.9` abstain below. Use training problems: what is evaluated later must not be learned from.

    espalier calibrate gsm8k-train.jsonl --responses samples.jsonl --out calibration.json
    """
    with errors(debug):
        from espalier.common.errors import FieldError
        from espalier.solver.core.confidence import fit, reliability

        if test_responses and test is None:
            raise FieldError("--test-responses", "needs --test PROBLEMS RESPONSES: the problems that they belong to")
        drawn = asyncio.run(_draw(problems, responses, seed))
        examples, model = drawn.examples, drawn.model
        names = sorted({name for name, _, _ in examples})
        calibration = fit([v for _, v, _ in examples], [right for _, _, right in examples], model, len(names))
        held_out = [
            (fitted.confidence(votes), right)
            for fold in range(FOLDS)
            for fitted in [_without(examples, set(names[fold::FOLDS]))]
            for name, votes, right in examples
            if name in set(names[fold::FOLDS])
        ]
        said, came_true = [value for value, _ in held_out], [right for _, right in held_out]
        told = {"cross-validation": reliability(said, came_true, threshold)}
        if test is not None:
            tested = asyncio.run(_draw(test[0], [test[1], *(test_responses or ())], seed))
            if note := _differences(drawn, tested):
                typer.echo(f"note: {note}", err=True)
            fresh = tested.examples
            told["test"] = reliability(
                [calibration.confidence(votes) for _, votes, _ in fresh], [right for _, _, right in fresh], threshold
            )
        if out is not None:
            calibration.save(out)
        if plot is not None:
            from espalier.solver.cli.reliability_plot import draw

            draw(told, plot)
        for name, found in told.items():
            if as_json:
                row = {"set": name, "error": found.error, "error_by_chance": found.by_chance}
                row |= {"kept": found.kept, "accuracy_kept": found.accuracy_kept}
                typer.echo(json.dumps(row | {"bins": found.bins, "problems": len(names), "model": model}))
                continue
            chance = f"{found.by_chance:.3f} by chance if every confidence were exactly right"
            typer.echo(f"{name}: expected calibration error {found.error:.3f} ({chance})")
            for mean, accuracy, count in found.bins:
                typer.echo(f"  says {mean:6.1%}, is {accuracy:6.1%}  ({count})")
            right = f", {found.accuracy_kept:.1%} of them right" if found.kept else ""
            typer.echo(f"  at least {threshold:g}: {found.kept:.1%} of the answers{right}")


def _without(examples: Sequence[Example], left_out: set[str]) -> Calibration:
    """A calibration that has not seen these problems."""
    from espalier.solver.core.confidence import fit

    kept = [(votes, right) for name, votes, right in examples if name not in left_out]
    return fit([votes for votes, _ in kept], [right for _, right in kept])


def _differences(fitted: Drawn, tested: Drawn) -> str:
    """How the responses that are tested were made otherwise than those that it was fitted on; empty: in no way."""
    parts = []
    if fitted.temperatures != tested.temperatures:
        ours, theirs = (", ".join(f"{one:g}" for one in some.temperatures) for some in (fitted, tested))
        parts.append(f"at temperature {ours}, tested at {theirs}")
    if tested.responses > fitted.responses:
        parts.append(f"on up to {fitted.responses} responses to a problem, tested on up to {tested.responses}")
    return f"fitted {'; '.join(parts)}: what that changes, a calibration cannot know" if parts else ""


async def _draw(problems: Path, responses: Sequence[Path], seed: int) -> Drawn:
    """Examples of 2, 4, 8, … responses to each problem, those of all files together.

    Raises:
        ValueError: A file cannot be used, is given twice, or all of its responses belong to other problems.
    """
    from random import Random

    from espalier.solver.core.problem import lines_of, read_problems
    from espalier.solver.core.responses import read, require_distinct
    from espalier.solver.core.sample import Verdicts
    from espalier.solver.core.selection import subsets
    from espalier.verifiers.check import ProgramCheck
    from espalier.verifiers.open import open_verifiers
    from espalier.verifiers.stated_examples import StatedExamples
    from espalier.verifiers.verdict import Status

    asked = {problem.id: problem for problem in read_problems(lines_of(problems), str(problems))}
    temperatures, model = set(), ""
    own: dict[str, list[Candidate]] = {}
    require_distinct(responses)
    for path in responses:
        sampling, found = read(path)
        answers = [(name, candidate) for (_, name, _), candidate in found if name in asked]
        if not answers:
            raise ValueError(f"{path}: no response belongs to a problem of {problems}: the ids differ")
        for name, candidate in answers:
            own.setdefault(name, []).append(candidate)
        temperatures.add(sampling.temperature)
        model = sampling.model
    answered = [problem for problem in asked.values() if problem.id in own]
    examples: list[Example] = []
    free = asyncio.Semaphore(AT_ONCE)
    async with open_verifiers() as verifiers:

        async def one(problem: Problem) -> list[tuple[Votes, bool]]:
            rng, candidates = Random(f"{seed}/{problem.id}"), own[problem.id]
            async with free:
                if isinstance(problem.check, ProgramCheck) and (stated := StatedExamples.of(problem.text)):
                    judged = await judged_programs(verifiers, problem, stated, candidates)
                else:
                    judged = await judged_answers(verifiers, problem, candidates)
                verdicts = Verdicts(verifiers, problem)
                return [
                    (votes, await verdicts.on(selection.answer) is Status.PASS)
                    for votes, selection in subsets(judged, rng)
                    if selection.answer is not None
                ]

        drawn = await asyncio.gather(*map(one, answered))
    for problem, found_votes in zip(answered, drawn, strict=True):
        examples += [(problem.id, votes, is_right) for votes, is_right in found_votes]
    return Drawn(examples, model, tuple(sorted(temperatures)), max(map(len, own.values())))


async def judged_programs(
    verifiers: Verifiers, problem: Problem, stated: StatedExamples, candidates: Sequence[Candidate]
) -> list[VerifiedCandidate]:
    """The programs as a solve without the problem's check judges them."""
    from dataclasses import replace

    from espalier.solver.core.loop import VERIFY_SECONDS
    from espalier.solver.core.program_evidence import ProgramJudge
    from espalier.solver.core.selection import VerifiedCandidate
    from espalier.verifiers.answer import no_answer
    from espalier.verifiers.generated_tests import GeneratedTests

    judge, judged = ProgramJudge(stated), []
    for number, one in enumerate(candidates):
        candidate, verdict = replace(one, spec=replace(one.spec, index=number)), no_answer(None)
        if one.answer is not None:
            said = await judge.judge(GeneratedTests((), ()), one.answer, verifiers, VERIFY_SECONDS)
            candidate = replace(candidate, answer_class=said.answer_class, examples=said.examples)
            verdict = said.verdict
        judged.append(VerifiedCandidate(candidate, verdict))
    return judged


async def judged_answers(
    verifiers: Verifiers, problem: Problem, candidates: Sequence[Candidate]
) -> list[VerifiedCandidate]:
    """Answers in words, and by programs what they print, as a solve without the problem's check judges them."""
    from dataclasses import replace

    from espalier.solver.core.answer_classes import AnswerClasses
    from espalier.solver.core.loop import VERIFY_SECONDS
    from espalier.solver.core.selection import VerifiedCandidate
    from espalier.solver.core.ways import RUN, Way, evidence, printed
    from espalier.verifiers.answer import no_answer
    from espalier.verifiers.check import Claim, StepCheck
    from espalier.verifiers.verdict import Status

    classes = AnswerClasses(verifiers, lambda: VERIFY_SECONDS)
    judged = []
    for number, one in enumerate(candidates):
        candidate, verdict = replace(one, spec=replace(one.spec, index=number)), no_answer(None)
        by_program = one.spec.way == Way.PROGRAM
        if one.answer is not None and by_program:
            ran = await verifiers.verify(Claim(one.answer, bare=True), RUN, timeout=VERIFY_SECONDS)
            candidate = replace(candidate, answer=printed(ran) if ran.passed else one.answer)
            verdict = no_answer(None) if candidate.answer is None else evidence(ran)
        elif one.answer is not None:
            claim = Claim(one.text, problem=problem.text)
            verdict = await verifiers.verify(claim, StepCheck(), timeout=VERIFY_SECONDS)
        if verdict.status is Status.UNKNOWN:
            candidate = await classes.classed(candidate, steps=not by_program)
        judged.append(VerifiedCandidate(candidate, verdict))
    return judged
