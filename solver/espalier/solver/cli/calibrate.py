"""`espalier calibrate`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, Json, errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from espalier.solver.core.candidate import Candidate
    from espalier.solver.core.confidence import Calibration, Votes
    from espalier.solver.core.loop import Verifiers
    from espalier.solver.core.problem import Problem
    from espalier.solver.core.selection import VerifiedCandidate
    from espalier.verifiers.local import LocalVerifiers
    from espalier.verifiers.remote import RemoteVerifiers
    from espalier.verifiers.stated_examples import StatedExamples

FOLDS = 5
AT_ONCE = 32
Example = tuple[str, "Votes", bool]
"""A problem's id, the votes of some of the responses to it, and whether their winner is right."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 done, 2 usage, 3 a verifier failed.")
def calibrate(
    problems: Annotated[Path, typer.Argument(help="Problems with checks (JSON lines).", dir_okay=False)],
    responses: Annotated[
        Path, typer.Option(help="Responses to them: `espalier data sample` makes such a file.", dir_okay=False)
    ],
    out: Annotated[Path | None, typer.Option(help="File to write the calibration to.", dir_okay=False)] = None,
    test: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="PROBLEMS RESPONSES", help="Test it on these, too."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw its reliability as a PNG.", dir_okay=False)
    ] = None,
    threshold: Annotated[float, typer.Option(help="Also say how often answers this sure are right.")] = 0.9,
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
        from espalier.solver.core.confidence import fit, reliability

        model, examples = asyncio.run(_examples(problems, responses, seed))
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
            _, fresh = asyncio.run(_examples(*test, seed))
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
                row = {"set": name, "error": found.error, "kept": found.kept, "accuracy_kept": found.accuracy_kept}
                typer.echo(json.dumps(row | {"bins": found.bins, "problems": len(names), "model": model}))
                continue
            typer.echo(f"{name}: expected calibration error {found.error:.3f}")
            for mean, accuracy, count in found.bins:
                typer.echo(f"  says {mean:6.1%}, is {accuracy:6.1%}  ({count})")
            typer.echo(
                f"  at least {threshold:g}: {found.kept:.1%} of the answers, {found.accuracy_kept:.1%} of them right"
            )


def _without(examples: Sequence[Example], left_out: set[str]) -> Calibration:
    """A calibration that has not seen these problems."""
    from espalier.solver.core.confidence import fit

    kept = [(votes, right) for name, votes, right in examples if name not in left_out]
    return fit([votes for votes, _ in kept], [right for _, right in kept])


async def _examples(problems: Path, responses: Path, seed: int) -> tuple[str, list[Example]]:
    """The model's name, and examples of 2, 4, 8, … responses to each problem.

    Raises:
        ValueError: A file cannot be used, or the responses belong to other problems.
    """
    from random import Random

    from espalier.solver.core.confidence import subsets
    from espalier.solver.core.problem import lines_of, read_problems
    from espalier.solver.core.responses import read
    from espalier.verifiers.check import ProgramCheck
    from espalier.verifiers.open import open_verifiers
    from espalier.verifiers.stated_examples import StatedExamples

    sampling, found = read(responses)
    own: dict[str, list[Candidate]] = {}
    for (_, name, _), candidate in found:
        own.setdefault(name, []).append(candidate)
    asked = [problem for problem in read_problems(lines_of(problems), str(problems)) if own.get(problem.id)]
    if not asked:
        raise ValueError(f"{responses}: no response belongs to a problem of {problems}: the ids differ")
    examples: list[Example] = []
    free = asyncio.Semaphore(AT_ONCE)
    async with open_verifiers() as verifiers:

        async def one(problem: Problem) -> list[tuple[Votes, bool]]:
            rng, candidates = Random(f"{seed}/{problem.id}"), own[problem.id]
            async with free:
                if isinstance(problem.check, ProgramCheck) and (stated := StatedExamples.of(problem.text)):
                    return program_subsets(*await judged_programs(verifiers, problem, stated, candidates), rng)
                voted, right = await _votes(verifiers, problem, await _printed(verifiers, candidates))
            return subsets(voted, right, rng, [candidate.spec.way for candidate in candidates])

        drawn = await asyncio.gather(*map(one, asked))
    for problem, found_votes in zip(asked, drawn, strict=True):
        examples += [(problem.id, votes, is_right) for votes, is_right in found_votes]
    return sampling.model, examples


async def judged_programs(
    verifiers: Verifiers, problem: Problem, stated: StatedExamples, candidates: Sequence[Candidate]
) -> tuple[list[VerifiedCandidate], list[bool]]:
    """The programs as a solve without the problem's check judges them, and whether each is right."""
    from dataclasses import replace

    from espalier.solver.core.loop import VERIFY_SECONDS
    from espalier.solver.core.program_evidence import ProgramJudge
    from espalier.solver.core.sample import Verdicts
    from espalier.solver.core.selection import VerifiedCandidate
    from espalier.verifiers.answer import no_answer
    from espalier.verifiers.generated_tests import GeneratedTests
    from espalier.verifiers.verdict import Status

    judge, verdicts = ProgramJudge(stated), Verdicts(verifiers, problem)
    judged, right = [], []
    for number, one in enumerate(candidates):
        candidate, verdict = replace(one, spec=replace(one.spec, index=number)), no_answer(None)
        if one.answer is not None:
            said = await judge.judge(GeneratedTests((), ()), one.answer, verifiers, VERIFY_SECONDS)
            candidate = replace(candidate, answer_class=said.answer_class, examples=said.examples)
            verdict = said.verdict
        judged.append(VerifiedCandidate(candidate, verdict))
        right.append(one.answer is not None and await verdicts.on(one.answer) is Status.PASS)
    return judged, right


def program_subsets(
    judged: Sequence[VerifiedCandidate], right: Sequence[bool], rng: Random
) -> list[tuple[Votes, bool]]:
    """As `subsets`, of programs: those of a class pass the same examples, and need not be right together."""
    from espalier.solver.core.policy import outcome_of, tally
    from espalier.solver.core.selection import select, votes_on

    found = []
    size = 2
    while size <= len(judged):
        drawn = [judged[index] for index in rng.sample(range(len(judged)), size)]
        votes = tally(outcome_of(one.candidate, one.verdict) for one in drawn)
        chosen = select(drawn, votes).candidate
        if chosen is not None:
            found.append((votes_on(drawn, votes), right[chosen]))
        size *= 2
    return found


async def _printed(verifiers: LocalVerifiers | RemoteVerifiers, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The candidates, those that answer by a program with what it prints."""
    from dataclasses import replace

    from espalier.solver.core.ways import RUN, Way, printed
    from espalier.verifiers.check import Claim

    found = []
    for candidate in candidates:
        answer = candidate.answer
        if candidate.spec.way == Way.PROGRAM and answer is not None:
            ran = await verifiers.verify(Claim(answer, bare=True), RUN)
            answer = printed(ran) if ran.passed else None
        found.append(replace(candidate, answer=answer))
    return found


async def _votes(
    verifiers: Verifiers, problem: Problem, candidates: Sequence[Candidate]
) -> tuple[list[tuple[int, ...]], int | None]:
    """The classes that each response's vote is shared between, as a solve shares it, and the class of right answers."""
    from espalier.solver.core.answer_classes import AnswerClasses
    from espalier.solver.core.loop import VERIFY_SECONDS
    from espalier.solver.core.sample import Verdicts
    from espalier.solver.core.ways import Way
    from espalier.verifiers.verdict import Status

    classes, verdicts = AnswerClasses(verifiers, lambda: VERIFY_SECONDS), Verdicts(verifiers, problem)
    voted = [
        (await classes.classed(one, steps=one.spec.way != Way.PROGRAM)).voted if one.answer else ()
        for one in candidates
    ]
    for number, answer in classes.representatives.items():
        if await verdicts.on(answer) is Status.PASS:
            return voted, number
    return voted, None
