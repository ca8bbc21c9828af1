"""Tokens that `adaptive` saves against `best_of_k` at equal accuracy, replayed over recorded candidates.

    espalier eval --tasks countdown --n 200 --k 16 --seed 7 --responses countdown.jsonl
    python benchmarks/adaptive.py judge countdown.jsonl ... [--n 200] [--k 16]
    python benchmarks/adaptive.py [--orders 20] [--task countdown]

`judge` takes responses that were sampled to their end and notes of each: answer, equivalence class, tokens, critical
path, what the check says of it, and what votes would weigh it. The replay puts them before the real policies (`ask`,
`tell`) and the real selection, in `--orders` random orders of each problem's candidates: once with the check's
verdicts, once with votes alone. Candidates of a round run side by side, so one ends when its critical path has been
decoded; when a policy stops, the losers of the round have spent their tokens up to that moment. That the right answer
of a step ends a response early is left out, for all policies alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.loop import VERIFY_SECONDS, Verifiers
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, Policy, PolicyState, begin, outcome_of, tally
from espalier.solver.core.problem import Problem
from espalier.solver.core.selection import VerifiedCandidate, select
from espalier.verifiers.check import Claim, StepCheck
from espalier.verifiers.verdict import Status, Verdict

RECORDED = Path(__file__).parent / "data" / "candidates.jsonl"
PROBLEMS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Recorded:
    """One candidate as it was recorded; `check` and `vote` are the verdicts with and without the problem's check."""

    answer: str | None
    answer_class: int | None
    tokens: int
    critical_path: int
    check: tuple[Status, float]
    vote: tuple[Status, float]


@dataclass(frozen=True, slots=True)
class Run:
    """What a policy made of one problem."""

    right: bool
    tokens: float


# Replaying.


def replay(policy: Policy, recorded: Sequence[Recorded], *, votes: bool, seed: int) -> Run:
    """One solve, with the i-th recorded candidate for the i-th spec."""
    state: PolicyState = begin(seed, Budget(candidates=len(recorded)))
    judged: list[VerifiedCandidate] = []
    tokens = 0.0
    while specs := policy.ask(state):
        asked = sorted(specs, key=lambda spec: recorded[spec.index].critical_path)
        for at, spec in enumerate(asked):
            entry = VerifiedCandidate(_candidate(spec, recorded[spec.index]), _verdict(recorded[spec.index], votes))
            state = policy.tell(state, entry.candidate, entry.verdict)
            judged.append(entry)
            tokens += recorded[spec.index].tokens
            if state.stopped:
                ended = recorded[spec.index].critical_path
                tokens += sum(_spent(recorded[loser.index], ended) for loser in asked[at + 1 :])
                break
    chosen = select(judged, state.votes).candidate
    return Run(chosen is not None and recorded[chosen].check[0] is Status.PASS, tokens)


def to_the_end(recorded: Sequence[Recorded], *, votes: bool) -> Run:
    """Every candidate to its end, then the selection: best-of-k without a policy that aborts."""
    judged = [
        VerifiedCandidate(_candidate(Spec(i, 0, 0, 1.0), one), _verdict(one, votes)) for i, one in enumerate(recorded)
    ]
    chosen = select(judged, tally(outcome_of(one.candidate, one.verdict) for one in judged)).candidate
    return Run(chosen is not None and recorded[chosen].check[0] is Status.PASS, sum(one.tokens for one in recorded))


def _spent(loser: Recorded, ended: int) -> float:
    return loser.tokens * min(1.0, ended / max(loser.critical_path, 1))


def _candidate(spec: Spec, one: Recorded) -> Candidate:
    usage = Usage(0, one.tokens, 0, one.critical_path)
    return Candidate(spec, "", one.answer, (), FinishReason.STOP, usage, 0.0, answer_class=one.answer_class)


def _verdict(one: Recorded, votes: bool) -> Verdict:
    status, score = one.vote if votes else one.check
    return Verdict(status, score, "recorded")


def compare(problems: Sequence[Sequence[Recorded]], orders: int, seed: int) -> None:
    """Print accuracy and tokens of each policy, and what `adaptive` saves."""
    shuffled: list[list[Recorded]] = []
    for number, recorded in enumerate(problems):
        rng = random.Random(derive_seed(seed, number))
        shuffled += [rng.sample(recorded, len(recorded)) for _ in range(orders)]
    sizes = sorted({len(recorded) for recorded in problems})
    print(f"{len(problems)} problems, k = {', '.join(map(str, sizes))}, {orders} orders each, seed {seed}")
    for votes in (False, True):
        runs = {
            "all k to their end": [to_the_end(order, votes=votes) for order in shuffled],
            "best_of_k": [replay(BestOfK(), order, votes=votes, seed=seed) for order in shuffled],
            "adaptive": [replay(Adaptive(), order, votes=votes, seed=seed) for order in shuffled],
        }
        print(f"\n{'votes alone' if votes else 'with the check':22}{'accuracy':>10}{'tokens':>10}{'saved':>9}")
        base = statistics.fmean(run.tokens for run in runs["best_of_k"])
        for name, made in runs.items():
            tokens = statistics.fmean(run.tokens for run in made)
            accuracy = statistics.fmean(run.right for run in made)
            print(f"{name:22}{accuracy:10.2%}{tokens:10.0f}{1 - tokens / base:9.1%}")
        low, high = _difference(runs["adaptive"], runs["best_of_k"], orders)
        print(f"accuracy of adaptive less that of best_of_k, 95 % interval over problems: {low:+.2%} to {high:+.2%}")


def _difference(ours: Sequence[Run], theirs: Sequence[Run], orders: int) -> tuple[float, float]:
    """Paired by problem; orders of one problem are not independent."""
    pairs = [float(a.right) - float(b.right) for a, b in zip(ours, theirs, strict=True)]
    means = [statistics.fmean(pairs[i : i + orders]) for i in range(0, len(pairs), orders)]
    centre = statistics.fmean(means)
    margin = 1.96 * statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0
    return centre - margin, centre + margin


def read(path: Path, task: str | None = None) -> list[list[Recorded]]:
    """The candidates of each problem, of one task or of all; those whose verifier failed are left out."""
    problems: list[list[Recorded]] = []
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if task not in (None, row["task"]):
            continue
        found = [
            Recorded(
                answer=one["answer"],
                answer_class=one["answer_class"],
                tokens=one["tokens"],
                critical_path=one["critical_path"],
                check=(Status(one["check"][0]), one["check"][1]),
                vote=(Status(one["vote"][0]), one["vote"][1]),
            )
            for one in row["candidates"]
        ]
        problems.append([one for one in found if one.check[0] is not Status.ERROR])
    return [recorded for recorded in problems if recorded]


# Judging what was recorded.


async def judge(files: Sequence[Path], n: int, k: int, path: Path) -> None:
    """Verifiers the responses of `espalier eval --responses`, with the check and for the vote; one line a problem."""
    from rich.progress import track

    from espalier.solver.core.responses import read as read_responses
    from espalier.solver.core.sources import fresh_problems
    from espalier.verifiers.local import LocalVerifiers, load

    path.parent.mkdir(parents=True, exist_ok=True)
    waiting: list[tuple[str, Problem, list[Candidate]]] = []
    for file in files:
        sampling, responses = read_responses(file)
        drawn: dict[tuple[str, str], dict[int, Candidate]] = {}
        for (task, problem, number), candidate in responses:
            drawn.setdefault((task, problem), {})[number] = candidate
        for task in sorted({task for task, _ in drawn}):
            for problem in fresh_problems(task, sampling.seed, n):
                found = drawn.get((task, problem.id), {})
                if all(number in found for number in range(k)):
                    waiting.append((task, problem, [found[number] for number in range(k)]))
    async with LocalVerifiers(load(["math"])) as hub:
        free = asyncio.Semaphore(PROBLEMS_AT_ONCE)

        async def one(task: str, problem: Problem, candidates: Sequence[Candidate]) -> str:
            async with free:
                rows = await recorded(hub, problem, candidates)
            line = {"task": task, "problem": problem.id, "candidates": [asdict(row) for row in rows]}
            return json.dumps(line, ensure_ascii=False) + "\n"

        with path.open("w", encoding="utf-8") as lines:
            for line in track(asyncio.as_completed([one(*item) for item in waiting]), "Judging", total=len(waiting)):
                lines.write(await line)


async def recorded(hub: Verifiers, problem: Problem, candidates: Sequence[Candidate]) -> list[Recorded]:
    """What the check says of the candidates of a problem, and what a solve without a check would weigh them."""
    assert problem.check is not None, f"{problem.id} states no check"
    checks: dict[str | None, Verdict] = {None: Verdict(Status.UNKNOWN, 0.0, "no_answer")}
    classes: dict[str, int] = {}
    rows = []
    for candidate in candidates:
        answer, vote = candidate.answer, checks[None]
        if answer is not None:
            if answer not in checks:
                claim = Claim(answer, bare=True, problem=problem.text)
                checks[answer] = await hub.verify(claim, problem.check, timeout=VERIFY_SECONDS)
            if answer not in classes:
                for representative, number in list(classes.items()):
                    if (await hub.equivalent(answer, representative, timeout=VERIFY_SECONDS)).passed:
                        classes[answer] = number
                        break
                else:
                    classes[answer] = len(set(classes.values()))
            claim = Claim(candidate.text, problem=problem.text)
            vote = await hub.verify(claim, StepCheck(), timeout=VERIFY_SECONDS)
        rows.append(
            Recorded(
                answer=answer,
                answer_class=None if answer is None else classes[answer],
                tokens=candidate.usage.new_tokens,
                critical_path=candidate.usage.critical_path_tokens,
                check=(checks[answer].status, checks[answer].score),
                vote=(vote.status, vote.score),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("replay", "judge"), default="replay")
    parser.add_argument("responses", nargs="*", type=Path, help="to judge: files of espalier eval --responses")
    parser.add_argument("--file", type=Path, default=RECORDED, help="of the judged candidates")
    parser.add_argument("--orders", type=int, default=20, help="random orders of each problem's candidates")
    parser.add_argument("--task", help="to replay, alone")
    parser.add_argument("--n", type=int, default=200, help="problems of each task to judge, those with k responses")
    parser.add_argument("--k", type=int, default=16, help="candidates of each problem to judge")
    parser.add_argument("--seed", type=int, default=1, help="of the orders")
    arguments = parser.parse_args()
    if arguments.what == "judge":
        if not arguments.responses:
            parser.error("judge: name the files of responses")
        asyncio.run(judge(arguments.responses, arguments.n, arguments.k, arguments.file))
    elif not arguments.file.exists():
        sys.exit(f"there is no {arguments.file}; make it first: python benchmarks/adaptive.py judge RESPONSES...")
    elif problems := read(arguments.file, arguments.task):
        compare(problems, arguments.orders, arguments.seed)
    else:
        sys.exit(f"{arguments.file} holds no candidates of task {arguments.task}")


if __name__ == "__main__":
    main()
