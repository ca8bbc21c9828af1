"""`espalier solve`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import (
    EXIT_STATUS,
    NEGATIVE,
    OK,
    TROUBLE,
    Debug,
    Json,
    UsageError,
    errors,
    read_standard_input,
    require_directory_of,
    say,
)
from espalier.runtime.options import Constrained, MaxBranchTokens, MaxDepth, MaxPlans
from espalier.solver.cli.options import (
    CalibrationFile,
    Certainty,
    Comparisons,
    EngineOption,
    GeneratedTests,
    Hints,
    Instruction,
    MaxTokens,
    MinConfidence,
    Rejoins,
    Seed,
    Temperatures,
    Ways,
    chosen_seed,
    diversity,
    names_of,
    parsed_check,
    trust,
)

if TYPE_CHECKING:
    from rich.console import Console

    from espalier.runtime.defaults import DecodingOverrides
    from espalier.solver.core.events import Observer
    from espalier.solver.core.loop import Solver
    from espalier.solver.core.policy import Budget, Policy
    from espalier.solver.core.problem import Problem
    from espalier.solver.core.result import Result
    from espalier.solver.core.selection import Trust
    from espalier.solver.core.verification import Verification
    from espalier.solver.core.ways import Way
    from espalier.solver.trace.writer import TraceWriter

PROBLEMS_AT_ONCE = 4
"""Problems of a file that are solved side by side."""

MAX_PATH = 255
"""A longer text is no name of a file."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=EXIT_STATUS)
def solve(
    problem: Annotated[
        str, typer.Argument(metavar="PROBLEM", help="The problem as text, - for standard input, or a .jsonl file.")
    ],
    k: Annotated[int, typer.Option("--k", help="Candidates at most.")] = 8,
    policy: Annotated[str, typer.Option(help="How to spend them: greedy, best_of_k, adaptive or refine.")] = "adaptive",
    certainty: Certainty = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="How to judge an answer: reference:42, numbers:19,36,55,7=65, relation:3*x+5=20, domain:integer, "
            "steps, patch:FILE, or JSON. Recognised in the problem's text where possible."
        ),
    ] = None,
    engine: EngineOption = "local",
    model_instruction: Instruction = None,
    temperature: Temperatures = None,
    hint: Hints = None,
    seed: Seed = None,
    max_tokens: MaxTokens = 4096,
    constrained: Constrained = None,
    max_plans: MaxPlans = None,
    max_depth: MaxDepth = None,
    max_branch_tokens: MaxBranchTokens = None,
    tokens: Annotated[int | None, typer.Option(help="New tokens of all candidates together.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time for each problem.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of candidates.")] = None,
    rejoins: Rejoins = 0,
    ways: Ways = None,
    generated_tests: GeneratedTests = None,
    comparisons: Comparisons = 0,
    calibration: CalibrationFile = None,
    min_confidence: MinConfidence = 0.0,
    as_json: Json = False,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything that happens as JSON lines.", dir_okay=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of a patch: write what the tests showed as Markdown.", dir_okay=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Solve a problem: sample candidates that reason in parallel branches, verify them, pick the answer.

    espalier solve "Using the numbers 19, 36, 55 and 7, each once, make 65"

    espalier solve --check reference:42 --k 16 "What is 6 times 7?"

    espalier solve --json problems.jsonl > results.jsonl

    espalier solve --check patch:check.json --report report.md - < issue.txt > fix.diff
    """
    with errors(debug):
        from espalier.runtime.defaults import DecodingOverrides
        from espalier.solver.core.policies import policy as named
        from espalier.solver.core.policy import Budget, BudgetError
        from espalier.solver.core.problem import Problem, lines_of, read_problems, recognised
        from espalier.solver.core.prompts import instruction_files
        from espalier.solver.core.verification import Verification
        from espalier.solver.core.ways import ways_of
        from espalier.verifiers.check import PatchCheck

        settings = diversity(temperature, hint)
        if certainty is not None:
            settings["certainty"] = certainty
        if ways:
            if generated_tests:
                raise UsageError("--ways are for answers that are no programs; leave out --generated-tests")
            settings["ways"] = ways_of(names_of(ways))
        chosen = named(policy, **settings)
        try:
            budget = Budget(k, tokens, seconds, rounds, rejoins, comparisons)
        except BudgetError as error:
            raise UsageError(f"--{error}") from None
        verification = Verification(generated_tests=generated_tests or 0)
        judged_by = parsed_check(check) if check else None
        first = chosen_seed(seed)
        trusted = trust(calibration, min_confidence)
        many = problem.endswith(".jsonl")
        if not many and "\n" not in problem and len(problem) < MAX_PATH and Path(problem).is_file():
            raise UsageError(
                f"{problem} is a file; a file of problems ends in .jsonl, and - reads one problem from standard input"
            )
        if many:
            if judged_by is not None:
                raise UsageError("--check is for one problem; in a file each line has its own check")
            problems = read_problems(lines_of(Path(problem)), problem)
        else:
            problems = (Problem("1", read_standard_input() if problem == "-" else problem, judged_by),)
        problems = tuple(map(recognised, problems))
        if report:
            if not isinstance(judged_by, PatchCheck):
                raise UsageError("--report tells of a patch: give --check patch:FILE")
            require_directory_of(report, "--report")
        with ExitStack() as stack:
            from espalier.solver.trace.writer import TraceWriter

            traced = stack.enter_context(TraceWriter(trace)) if trace else None
            run = _Run(
                engine,
                instruction_files(model_instruction),
                max_tokens,
                DecodingOverrides(constrained, max_plans, max_depth, max_branch_tokens),
                chosen,
                budget,
                first,
                traced,
                as_json,
                trusted,
                verification,
            )
            results = asyncio.run(run.many(problems) if many else run.one(problems[0]))
        if report:
            report.write_text(patch_report(results[0]), encoding="utf-8")
        if traced and traced.fault:
            typer.echo(f"espalier: the trace {trace} is not complete: {traced.fault}", err=True)
        raise typer.Exit(exit_status(results))


def exit_status(results: list[Result]) -> int:
    """The worst of several results."""
    if any(result.trouble for result in results):
        return TROUBLE
    return OK if all(result.selection.verified for result in results) else NEGATIVE


def patch_report(result: Result) -> str:
    """What the tests showed of the patch that was chosen, or of the best one where none was."""
    from espalier.verifiers.patch.report import report_of

    chosen = [judged for judged in result.judged if judged.candidate.spec.index == result.selection.candidate]
    best = max(chosen or result.judged, key=lambda judged: judged.verdict.score, default=None)
    if best is None:
        return "# No patch\n\nNo candidate was judged.\n"
    return report_of(best.verdict, f"Candidate {best.candidate.spec.index}")


@asynccontextmanager
async def solving_with(
    engine: str,
    instructions: Mapping[Way, Path],
    max_tokens: int,
    decoding: DecodingOverrides,
    console: Console | None = None,
    trusted: Trust | None = None,
    problems: Sequence[Problem] = (),
) -> AsyncIterator[Solver]:
    """A solver on this engine, with the verifiers of this process.

    Raises:
        FieldError: One of the problems has a check that no answer could ever pass; no model has been loaded.
    """
    from espalier.runtime.open import open_engine
    from espalier.solver.core.generation import generation_of
    from espalier.solver.core.loop import Solver
    from espalier.solver.core.prompts import templates_of
    from espalier.solver.core.selection import Trust
    from espalier.solver.core.validation import validate_problems
    from espalier.verifiers.open import open_verifiers

    async with AsyncExitStack() as stack:
        verifiers = await stack.enter_async_context(open_verifiers())
        await validate_problems(verifiers, problems)
        with console.status("Loading the model") if console else nullcontext():
            opened = await stack.enter_async_context(open_engine(engine))
        generation = generation_of(opened, decoding, max_tokens)
        yield Solver(opened, verifiers, templates_of(opened, instructions), generation, trusted or Trust())


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of the command."""

    engine: str
    instructions: Mapping[Way, Path]
    max_tokens: int
    decoding: DecodingOverrides
    policy: Policy
    budget: Budget
    seed: int
    trace: TraceWriter | None
    as_json: bool
    trusted: Trust
    verification: Verification

    async def one(self, problem: Problem) -> list[Result]:
        """Solve while someone watches."""
        from rich.console import Console

        from espalier.solver.cli.live import view
        from espalier.solver.core.events import fan_out, new_solve_id
        from espalier.solver.core.report import usage_line, verdict_line

        screen = Console(stderr=True, quiet=self.as_json and not sys.stderr.isatty())
        settings = (self.engine, self.instructions, self.max_tokens, self.decoding, screen, self.trusted, [problem])
        async with solving_with(*settings) as solver:
            with view(screen) as observer:
                solve_id = new_solve_id()
                result = await solver.solve(
                    problem,
                    self.policy,
                    self.budget,
                    seed=self.seed,
                    observer=fan_out(observer, self._traced(solve_id)),
                    solve_id=solve_id,
                    verification=self.verification,
                )
        if self.as_json:
            typer.echo(_json_line(solve_id, result))
        else:
            say(result.selection.answer if result.selection.answer is not None else "UNSOLVED")
            colour = "green" if result.selection.verified else "yellow"
            screen.print(verdict_line(result), style=colour, markup=False, highlight=False, soft_wrap=True)
            screen.print(
                f"{usage_line(result)} · seed {result.seed}", style="dim", markup=False, highlight=False, soft_wrap=True
            )
        if result.trouble:
            say(f"espalier: {result.trouble}", err=True)
        return [result]

    async def many(self, problems: Sequence[Problem]) -> list[Result]:
        """Solve a file's problems side by side; results come out in the file's order."""
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

        from espalier.common.errors import FieldError
        from espalier.common.seeds import derive_seed
        from espalier.runtime.engine import RequestRefused
        from espalier.solver.core.events import new_solve_id
        from espalier.solver.core.report import verdict_line

        screen = Console(stderr=True)
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        settings = (self.engine, self.instructions, self.max_tokens, self.decoding, screen, self.trusted, problems)
        async with solving_with(*settings) as solver:
            free = asyncio.Semaphore(PROBLEMS_AT_ONCE)
            with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
                bar = progress.add_task("Solving", total=len(problems))

                async def solve_one(number: int, problem: Problem) -> tuple[str, Result]:
                    solve_id = new_solve_id()
                    async with free:
                        try:
                            result = await solver.solve(
                                problem,
                                self.policy,
                                self.budget,
                                seed=derive_seed(self.seed, number),
                                observer=self._traced(solve_id),
                                solve_id=solve_id,
                                verification=self.verification,
                            )
                        except (RequestRefused, FieldError) as error:
                            raise UsageError(f"problem {problem.id}: {error}") from error
                    progress.advance(bar)
                    return solve_id, result

                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(solve_one(i, problem)) for i, problem in enumerate(problems)]
                    results = []
                    for task in tasks:
                        solve_id, result = await task
                        results.append(result)
                        if self.as_json:
                            typer.echo(_json_line(solve_id, result))
                        else:
                            answer = result.selection.answer or "UNSOLVED"
                            say(f"{result.problem.id}: {' '.join(answer.split())} ({verdict_line(result)})")
        solved = sum(result.selection.verified for result in results)
        typer.echo(f"{solved} of {len(results)} solved and verified · seed {self.seed}", err=True)
        for trouble in {result.trouble for result in results if result.trouble}:
            say(f"espalier: {trouble}", err=True)
        return results

    def _traced(self, solve_id: str) -> Observer:
        """Writes the trace of a solve, if there is a trace."""
        from espalier.solver.core.events import fan_out

        return self.trace.observer(solve_id) if self.trace else fan_out()


def _json_line(solve_id: str, result: Result) -> str:
    from espalier.solver.core.json_form import to_json
    from espalier.solver.core.proto import encode_result

    return json.dumps(to_json(encode_result(solve_id, result)), ensure_ascii=False)
