"""Measure a model on tasks: accuracy, pass@k, best-of-k with the verifier, and how parallel it really is."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from espalier.common.files import drop_cut_line, whole_lines
from espalier.common.seeds import derive_seed
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.loop import Solver
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.solver.core.responses import ResponseFile
from espalier.solver.core.sample import Sample, Verdicts, assess, draw

RESPONSES_AT_ONCE = 64
"""Responses that are asked for side by side, or as many as the engine says that it decodes; it batches what fits."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is measured; results of different plans cannot be mixed in one file.

    Defaults are what files were made with that do not name the field yet.

    Attributes:
        tasks: Names of tasks.
        problems: Of each task.
        samples: Of each problem.
        seed: Of problems and sampling.
        temperature: Of sampling.
        max_tokens: Of one response.
        model: As the engine names it.
        constrained: Whether responses are kept to the grammar.
        max_plans: Of a block.
        max_depth: Of blocks inside one another.
        max_branch_tokens: Of one step; None: no such limit.
        mode: Whether responses fork.
    """

    tasks: tuple[str, ...]
    problems: int
    samples: int
    seed: int
    temperature: float
    max_tokens: int
    model: str
    constrained: bool = False
    max_plans: int = 8
    max_depth: int = 5
    max_branch_tokens: int | None = None
    mode: str = "parallel"


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """All samples of one problem."""

    task: str
    problem: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class TaskScores:
    """What is said of one task; shares are in [0, 1].

    Attributes:
        task: Its name.
        problems: Problems that were measured.
        accuracy: See :func:`accuracy`; None where no sample was decided.
        accuracy_error: Its standard error over the problems; None for fewer than two.
        pass_at: By k: the chance that one of k final answers is right (unbiased; pass_at[1] is the accuracy).
        best_of: By k: the chance that the verifier finds a right answer among k responses and their branches.
        forked: Share of responses that really ran in parallel.
        well_formed: Share of responses that keep to the grammar.
        cut: Share of responses that a limit ended.
        new_tokens: Mean of a response.
        critical_path_tokens: Mean of a response.
        undecided: Samples left out because the verifier failed.
    """

    task: str
    problems: int
    accuracy: float | None
    accuracy_error: float | None
    pass_at: Mapping[int, float]
    best_of: Mapping[int, float]
    forked: float
    well_formed: float
    cut: float
    new_tokens: float
    critical_path_tokens: float
    undecided: int


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples is right, from n samples of which `correct` are.

    1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    Raises:
        ValueError: k is not in 1..n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the {n} samples, got {k}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def sizes_of(text: str) -> tuple[int, ...]:
    """The sizes of best-of-k that `--k` names, ascending and each once.

    Raises:
        ValueError: It is no list of them.
    """
    try:
        sizes = tuple(sorted({int(size) for size in text.split(",")}))
    except ValueError:
        raise ValueError(f"--k {text!r} is no list of numbers; write 1,4,16") from None
    for size in sizes:
        Budget(candidates=size)
    return sizes


def accuracy(groups: Sequence[Sequence[bool]]) -> tuple[float | None, float | None]:
    """The one meaning of accuracy, for `espalier eval`, training and benchmarks: pass@1.

    Args:
        groups: For each problem, whether each decided sample passes. UNKNOWN is not passed; a sample with ERROR is not
            decided: it is left out, and counted apart.

    Returns:
        The mean over problems of the share that passes, None where nothing is decided; and its standard error over the
        problems, whose samples belong together, None for fewer than two problems.
    """
    shares = [sum(group) / len(group) for group in groups if group]
    if not shares:
        return None, None
    error = math.sqrt(variance(shares) / len(shares)) if len(shares) > 1 else None
    return fmean(shares), error


def mean_pass_at_k(groups: Sequence[Sequence[bool]], k: int) -> float | None:
    """Mean of :func:`pass_at_k` over the problems with at least k decided samples; None without one."""
    enough = [group for group in groups if len(group) >= k]
    return fmean(pass_at_k(len(group), sum(group), k) for group in enough) if enough else None


def summarise(task: str, measured: Sequence[ProblemSamples], ks: Sequence[int]) -> TaskScores:
    """One row of the table. A k for which no problem has enough decided samples is left out."""
    decided = [[s for s in one.samples if not s.undecided] for one in measured]
    every = [s for samples in decided for s in samples]
    share = max(len(every), 1)
    correct = [[sample.correct for sample in samples] for samples in decided]
    reachable = [[sample.reachable for sample in samples] for samples in decided]
    mean, error = accuracy(correct)
    return TaskScores(
        task=task,
        problems=len(measured),
        accuracy=mean,
        accuracy_error=error,
        pass_at={k: at for k in ks if (at := mean_pass_at_k(correct, k)) is not None},
        best_of={k: at for k in ks if (at := mean_pass_at_k(reachable, k)) is not None},
        forked=sum(s.forked for s in every) / share,
        well_formed=sum(s.well_formed for s in every) / share,
        cut=sum(s.cut for s in every) / share,
        new_tokens=sum(s.new_tokens for s in every) / share,
        critical_path_tokens=sum(s.critical_path_tokens for s in every) / share,
        undecided=sum(len(one.samples) for one in measured) - len(every),
    )


class ResultFile:
    """ProblemSamples problems as JSON lines under a line with the plan; what is in it is not measured again.

    Raises:
        ValueError: The file belongs to another plan or is no such file.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: Path, plan: EvaluationPlan) -> None:
        self._path = path
        self.done: dict[tuple[str, str], ProblemSamples] = {}
        header = json.dumps({"plan": asdict(plan)})
        if not path.exists() or not path.stat().st_size:
            path.write_text(header + "\n", encoding="utf-8")
            return
        kept = whole_lines(path)
        if difference := _difference(kept[:1], plan):
            raise ValueError(f"{path} {difference}; give another --output")
        for number, line in enumerate(kept[1:], start=2):
            try:
                one = _measured(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: no result of an evaluation ({error})") from None
            self.done[one.task, one.problem] = one
        drop_cut_line(path)

    def add(self, one: ProblemSamples) -> None:
        """Store the samples of a problem."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(one)) + "\n")


async def evaluate(
    solver: Solver,
    plan: EvaluationPlan,
    problems: Mapping[str, Sequence[Problem]],
    done: Mapping[tuple[str, str], ProblemSamples],
    store: Callable[[ProblemSamples], None],
    responses: ResponseFile | None = None,
) -> dict[str, list[ProblemSamples]]:
    """Measure every problem that is not done yet; `store` is told of each as soon as it is.

    Args:
        solver: Engine and verifiers.
        plan: What is measured.
        problems: By task.
        done: What an earlier run measured.
        store: Takes what is new.
        responses: Keeps the responses; those that it has are only judged.

    Raises:
        EngineError: The engine failed. What was stored stays.
    """
    free = asyncio.Semaphore(solver.engine.info.details.get("rows", RESPONSES_AT_ONCE))

    async def response(task: str, problem: Problem, number: int, seed: int) -> Candidate:
        known = responses.known.get((task, problem.id, number)) if responses else None
        if known is not None:
            return known
        drawn = await draw(solver.engine, solver.templates, solver.generation, problem, number, seed, plan.temperature)
        if responses:
            responses.add(task, problem.id, drawn)
        return drawn

    async def one_sample(task: str, problem: Problem, number: int, seed: int, verdicts: Verdicts) -> Sample:
        async with free:
            return await assess(verdicts, await response(task, problem, number, seed))

    async def one_problem(task: str, number: int, problem: Problem) -> ProblemSamples:
        known = done.get((task, problem.id))
        if known is not None:
            return known
        seed, verdicts = derive_seed(plan.seed, number), Verdicts(solver.verifiers, problem)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one_sample(task, problem, i, seed, verdicts)) for i in range(plan.samples)]
        measured = ProblemSamples(task, problem.id, tuple(task.result() for task in tasks))
        store(measured)
        return measured

    async with asyncio.TaskGroup() as group:
        waiting = {
            task: [group.create_task(one_problem(task, i, problem)) for i, problem in enumerate(listed)]
            for task, listed in problems.items()
        }
    return {task: [waited.result() for waited in tasks] for task, tasks in waiting.items()}


def _measured(value: Mapping[str, Any]) -> ProblemSamples:
    return ProblemSamples(value["task"], value["problem"], tuple(Sample(**one) for one in value["samples"]))


def _difference(header: Iterable[str], plan: EvaluationPlan) -> str:
    """In what a file's plan differs from this one; empty if it does not."""
    try:
        stored = json.loads(next(iter(header)))["plan"]
        theirs = asdict(EvaluationPlan(**{**stored, "tasks": tuple(stored["tasks"])}))
    except (ValueError, KeyError, TypeError, StopIteration):
        return "is not the output of an evaluation"
    ours = asdict(plan)
    name = next((name for name in ours if theirs[name] != ours[name]), None)
    return f"holds another evaluation ({name} is {theirs[name]!r} there and {ours[name]!r} here)" if name else ""
