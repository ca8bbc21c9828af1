"""`espalier data`: data sets, what of them may be trained on, samples of a model, and a cold start made of these."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, errors, one_of
from espalier.runtime.options import Constrained, MaxBranchTokens, MaxDepth, MaxPlans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from espalier.solver.core.candidate import Candidate
    from espalier.solver.core.problem import Problem
    from espalier.training.data.overlap import HeldOut

NEGATIVE = 1

app = typer.Typer(
    help="Data sets, samples, and what is trained on.",
    epilog="Exit status: 0 done, 1 training problems overlap with held-out ones, 2 usage, 3 engine or verifier failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Problems = Annotated[Path, typer.Argument(help="File of problems (JSON lines).", dir_okay=False)]
Out = Annotated[Path, typer.Option(help="File to write.", dir_okay=False)]
Responses = Annotated[Path, typer.Option(help="File of responses.", dir_okay=False)]
Words = Annotated[int, typer.Option("--n", min=1, help="Words of the runs that are compared.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]


@app.callback()
def data() -> None:
    """Data sets, samples, and what is trained on."""


def _read(path: Path) -> tuple[Problem, ...]:
    from espalier.solver.core.problem import lines_of, read_problems

    return read_problems(lines_of(path), str(path))


def _responses(paths: Sequence[Path], problems: Sequence[Problem]) -> Mapping[str, Sequence[Candidate]]:
    """The responses of all files to each problem.

    Raises:
        ValueError: A file cannot be used or is given twice, or all responses belong to other problems.
    """
    from espalier.solver.core.responses import read, require_distinct
    from espalier.training.data.sampling import by_problem

    require_distinct(paths)
    found = by_problem([pair for path in paths for pair in read(path)[1]])
    if not any(problem.id in found for problem in problems):
        raise ValueError("no response belongs to a problem of the file: the ids differ")
    return found


def _write(out: Path, lines: Iterable[str]) -> None:
    from espalier.training.run.directory import write

    write(out, "".join(f"{line}\n" for line in lines))


def _held_out(files: list[Path], n: int) -> HeldOut:
    from espalier.common.files import told_apart
    from espalier.training.data.overlap import HeldOut

    names = told_apart(files, [path.name.partition(".")[0] for path in files])
    return HeldOut.of({name: _read(path) for name, path in zip(names, files, strict=True)}, n)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="JSON lines (.jsonl, .jsonl.gz), a JSON list, or Parquet.")],
    kind: Annotated[str, typer.Option(help="gsm8k, math, mbpp, evalplus, or fields.")],
    out: Out,
    text: Annotated[str, typer.Option(help="With --kind fields: the field of the problem.")] = "problem",
    answer: Annotated[str, typer.Option(help="With --kind fields: the field of the answer.")] = "answer",
    identity: Annotated[
        str, typer.Option("--id", help="The field of the id; rows without one have their numbers.")
    ] = "id",
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUES", help="Only rows with one of these values, as in level=1,2,3; repeat it."),
    ] = None,
    max_words: Annotated[int | None, typer.Option(min=1, help="Leave out problems of more words.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many problems.")] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Leave out what overlaps with this file of problems; repeat it.")
    ] = None,
    n: Words = 13,
    debug: Debug = False,
) -> None:
    """Turn a data set into a file of problems with checks.

    espalier data convert gsm8k_train.jsonl --kind gsm8k --held-out gsm8k-test.jsonl --out gsm8k-train.jsonl
    """
    with errors(debug):
        from espalier.training.data import datasets
        from espalier.training.data.overlap import split

        chosen = one_of(datasets.DatasetKind, kind, "--kind")
        try:
            taken = [datasets.Where.parse(text) for text in where or ()]
        except ValueError as error:
            raise ValueError(f"--where {error}") from None
        if taken and chosen is datasets.DatasetKind.EVALPLUS:
            raise ValueError("--where does not go with --kind evalplus")
        if chosen is datasets.DatasetKind.EVALPLUS:
            found = asyncio.run(_evalplus(source))
        else:
            empty: list[int] = []
            found = list(
                datasets.problems(source, chosen, datasets.Fields(text, answer, identity), empty.append, taken)
            )
            if empty:
                numbers = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
                typer.echo(f"{len(empty)} rows without an answer are left out: {numbers}", err=True)
        total = len(found)
        if max_words is not None:
            found = list(datasets.within(found, max_words))
            typer.echo(f"{total - len(found)} of more than {max_words} words are left out", err=True)
        if held_out:
            before = len(found)
            found, counts = split(found, _held_out(held_out, n))
            told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            typer.echo(
                f"{before - len(found)} share {n} words with a held-out problem and are left out: {told}", err=True
            )
        kept = list(islice(found, limit))
        if not kept:
            raise ValueError(f"{source}: no problem is left")
        _write(out, map(datasets.to_json, kept))
        typer.echo(f"{out}: {len(kept)} of {total} problems")


async def _evalplus(source: Path) -> list[Problem]:
    from espalier.training.data.evalplus import problems
    from espalier.verifiers.code.settings import SandboxSettings, open_sandbox

    sandbox = await open_sandbox(SandboxSettings())
    try:
        found = [(problem, left_out) async for problem, left_out in problems(source, sandbox)]
    finally:
        await sandbox.close()
    typer.echo(f"{sum(left_out for _, left_out in found)} inputs without a JSON value to expect are left out", err=True)
    return [problem for problem, _ in found]


@app.command()
def overlap(
    problems: Problems,
    against: Annotated[list[Path], typer.Option(help="A held-out file of problems; repeat it.")],
    n: Words = 13,
    debug: Debug = False,
) -> None:
    """Count training problems that share a run of words with held-out ones; exit status 1 if there are any.

    espalier data overlap gsm8k-train.jsonl --against gsm8k-test.jsonl --against math500.jsonl
    """
    with errors(debug):
        from espalier.training.data.overlap import split

        found = _read(problems)
        kept, counts = split(found, _held_out(against, n))
        for name, count in sorted(counts.items()):
            typer.echo(f"{name}: {count} of {len(found)}")
        if len(kept) < len(found):
            raise typer.Exit(NEGATIVE)


@app.command()
def sample(
    problems: Problems,
    engine: Annotated[str, typer.Option(help="local:PATH or sglang://HOST:PORT.")],
    responses: Responses,
    k: Annotated[int, typer.Option("--k", min=1, help="Responses to each problem.")] = 8,
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="New tokens of a response.")] = 1024,
    mode: Annotated[str, typer.Option(help="parallel, or sequential.")] = "parallel",
    constrained: Constrained = None,
    max_plans: MaxPlans = None,
    max_depth: MaxDepth = None,
    max_branch_tokens: MaxBranchTokens = None,
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[WAY=]FILE",
            help="Instruction text instead of the model's own; repeat it with program=FILE for answers by a program.",
        ),
    ] = None,
    first: Annotated[int, typer.Option(min=0, help="Skip so many problems.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many problems.")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Requests on their way at a time.")] = 256,
    ways: Annotated[
        str, typer.Option(metavar="NAMES", help="Ways of solving, handed out in turn: words,program.")
    ] = "",
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Sample responses to a file of problems; what the file of responses holds already is not sampled again.

    espalier data sample gsm8k-train.jsonl --engine sglang://127.0.0.1:30000 --k 8 --responses samples.jsonl
    """
    with errors(debug):
        from espalier.runtime.defaults import DecodingOverrides
        from espalier.runtime.engine import Mode
        from espalier.runtime.open import open_engine
        from espalier.solver.core.generation import generation_of
        from espalier.solver.core.prompts import instruction_files, templates_of
        from espalier.solver.core.responses import ResponseFile, Sampling
        from espalier.solver.core.ways import ways_of
        from espalier.training.data.sampling import Draws
        from espalier.training.data.sampling import sample as sampled

        instructions = instruction_files(instruction, "--instruction")
        gone = ways_of(name.strip() for name in ways.split(",")) if ways else ()
        every = _read(problems)
        chosen = every[first : None if limit is None else first + limit]
        if not chosen:
            raise ValueError(f"--first {first} leaves none of the {len(every)} problems of {problems}")
        decoding = DecodingOverrides(constrained, max_plans, max_depth, max_branch_tokens)
        decoded = one_of(Mode, mode, "--mode")
        report = _Report()

        async def run() -> int:
            async with open_engine(engine) as opened:
                generation = generation_of(opened, decoding, max_tokens, decoded)
                kept = ResponseFile(responses, Sampling.of(opened.info.model, generation, seed, temperature))
                draws = Draws(k, seed, temperature, at_once, gone)
                templates = templates_of(opened, instructions)
                await sampled(opened, templates, generation, chosen, draws, kept, report.progress)
            return len(chosen) * k

        typer.echo(f"{responses}: {asyncio.run(run())} responses")


class _Report:
    """A line on standard error for every twentieth of the work."""

    def __init__(self) -> None:
        self._told = 0

    def progress(self, done: int, total: int) -> None:
        if done * 20 // total > self._told:
            self._told = done * 20 // total
            typer.echo(f"{done} of {total}", err=True)


@app.command()
def score(
    problems: Problems,
    responses: Annotated[list[Path], typer.Option(help="File of responses; repeat it.", dir_okay=False)],
    k: Annotated[str, typer.Option("--k", help="Sizes of best-of-k, with commas.")] = "1",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Judge responses: pass@k with its standard error, majority, and how parallel they are.

    espalier data score gsm8k-test.jsonl --responses papo.jsonl --k 1,4,8
    """
    with errors(debug):
        from espalier.solver.core.evaluate import sizes_of
        from espalier.training.data.sampling import score as scored
        from espalier.verifiers.open import open_verifiers

        sizes, found = sizes_of(k), _read(problems)
        every = _responses(responses, found)

        async def run() -> str:
            async with open_verifiers() as judge:
                made = await scored(problems.name, judge, found, every, sizes)
            row = made.row
            for size in sizes:
                if size not in row.pass_at:
                    typer.echo(f"pass@{size} is left out: no problem has {size} responses with a verdict", err=True)
            if as_json:
                return json.dumps(asdict(made))
            passed = "".join(f"pass@{size} {share:.1%}, " for size, share in row.pass_at.items())
            error = "" if row.accuracy_error is None else f"standard error of pass@1 {row.accuracy_error:.1%}, "
            return (
                f"{row.problems} problems: {passed}{error}"
                f"majority {made.majority:.1%}, answered {made.answered:.1%}, well-formed {row.well_formed:.1%}, "
                f"parallel {row.forked:.1%}, cut {row.cut:.1%}, tokens {row.new_tokens:.0f}, "
                f"critical path {row.critical_path_tokens:.0f}, undecided {row.undecided}"
            )

        typer.echo(asyncio.run(run()))


@app.command("filter")
def filter_(
    problems: Problems,
    responses: Annotated[list[Path], typer.Option(help="File of responses; repeat it.", dir_okay=False)],
    out: Out,
    least: Annotated[float, typer.Option("--min-pass", min=0.0, max=1.0, help="Lowest pass rate to keep.")] = 0.0,
    most: Annotated[float, typer.Option("--max-pass", min=0.0, max=1.0, help="Highest pass rate to keep.")] = 1.0,
    debug: Debug = False,
) -> None:
    """Keep the problems that the model solves neither too seldom nor too often, by its own samples.

    espalier data filter gsm8k-train.jsonl --responses samples.jsonl --min-pass 0.1 --max-pass 0.9 --out hard.jsonl
    """
    with errors(debug):
        from espalier.training.data.datasets import to_json
        from espalier.training.data.sampling import solutions
        from espalier.verifiers.open import open_verifiers

        if least > most:
            raise ValueError(f"--min-pass {least:g} is above --max-pass {most:g}")
        found = _read(problems)
        every = _responses(responses, found)

        async def run() -> list[Problem]:
            kept = []
            async with open_verifiers() as judge:
                for problem in found:
                    if own := every.get(problem.id):
                        right = sum(one.right for one in await solutions(judge, problem, own))
                        if least <= right / len(own) <= most:
                            kept.append(problem)
            return kept

        kept = asyncio.run(run())
        if not kept:
            raise ValueError(f"{problems}: no problem is left")
        _write(out, map(to_json, kept))
        typer.echo(f"{out}: {len(kept)} of {len(found)} problems")


@app.command("cold-start")
def cold_start(
    problems: Problems,
    responses: Annotated[list[Path], typer.Option(help="Sequential responses; repeat it.", dir_okay=False)],
    out: Out,
    sequential: Annotated[
        Path | None,
        typer.Option(help="Also write the right solutions by themselves, for the baseline.", dir_okay=False),
    ] = None,
    min_steps: Annotated[int, typer.Option(min=2, help="Steps of a response at least.")] = 3,
    max_steps: Annotated[int, typer.Option(min=2, help="Steps of a response at most.")] = 5,
    max_step_words: Annotated[int, typer.Option(min=1, help="Longer solutions are not used.")] = 220,
    per_problem: Annotated[int, typer.Option(min=1, help="Responses made of a problem at most.")] = 1,
    mixed: Annotated[bool, typer.Option(help="Only problems with right and wrong solutions.")] = True,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Refuse to use problems that overlap with this file; repeat it.")
    ] = None,
    n: Words = 13,
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Assemble parallel responses from a model's own sequential solutions, for `espalier train sft --data`.

    espalier data cold-start gsm8k-train.jsonl --responses samples.jsonl --out cold-start.jsonl
    """
    with errors(debug):
        from espalier.training.data.cold_start import Assembly, assemble, counts, to_json
        from espalier.training.data.overlap import split
        from espalier.training.data.sampling import solutions
        from espalier.verifiers.open import open_verifiers

        settings = Assembly(seed, min_steps, max_steps, per_problem, mixed, max_step_words=max_step_words)
        found = _read(problems)
        if held_out:
            kept, overlaps = split(found, _held_out(held_out, n))
            if len(kept) < len(found):
                told = ", ".join(f"{name} {count}" for name, count in sorted(overlaps.items()))
                raise ValueError(
                    f"{problems}: {len(found) - len(kept)} problems share {n} words with held-out ones ({told}); leave "
                    "them out with `espalier data convert --held-out`"
                )
        every = _responses(responses, found)

        async def run() -> dict[str, list[Assembled]]:
            async with open_verifiers() as judge:
                return {
                    problem.id: assemble(problem, await solutions(judge, problem, every[problem.id]), settings)
                    for problem in found
                    if problem.id in every
                }

        made = asyncio.run(run())
        responses_made = [one for own in made.values() for one in own]
        if not responses_made:
            raise ValueError("no response could be assembled: too few right solutions; sample more, or --no-mixed")
        _write(out, to_json(responses_made))
        if sequential is not None:
            _write(sequential, to_json(responses_made, sequential=True))
        typer.echo(f"{out}: {counts(made, len(every))}")


if TYPE_CHECKING:
    from espalier.training.data.cold_start import Assembled
