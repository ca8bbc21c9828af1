"""Compare ways of choosing an answer where nobody knows the right one, on responses that judged_answers.py has judged.

    python benchmarks/chosen_answers.py test.jsonl [--train train.jsonl] [--pairs pairs.jsonl] \\
        [--train-pairs train-pairs.jsonl] [--k 16] [--out calibration.json] [--plot reliability.png]
        [--calibration calibration.json --min-confidence 0.9]

For each number of responses in words and as programs: votes, votes that false equalities weaken, and with --train two
ways that are fitted there: votes weighed by way (`weighed ways`), and a logistic model of whether a class is right
(`model of classes`). Where responses have parallel steps: votes that are shared with what these state, as `solve`
shares them (in blocks that attempt the whole problem), with every step, and where only a conclusion may win. With
pairs: how good a judge the model is, and votes with comparisons of the two leading answers, as `--comparisons` makes
them. Last what the whole product chooses of parallel responses; how far its own calibration, fitted on --train, can be
believed; and with --calibration how many problems `adaptive` answers that abstains below --min-confidence, by the
certainty at which it ends a vote.
Tokens are new tokens a problem, those of comparisons included; errors are standard errors over problems.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from random import Random

import numpy as np
from judged_answers import Judged, JudgedProblem, load
from stored_rows import stored

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec, attempt_the_whole, voted
from espalier.solver.core.confidence import Calibration, fit, reliability
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, Policy, begin
from espalier.solver.core.selection import Trust, VerifiedCandidate, select, subsets
from espalier.verifiers.verdict import Status, Verdict

Weights = dict[int, float]
"""The weight of each class of answers."""

Choice = Callable[[JudgedProblem, Sequence[Judged]], Weights]
"""From a problem and some of its responses to the weights of the classes."""

WORDS, PROGRAM = "words", "program"
TOKENS_OF_A_COMPARISON = 2
"""A letter in each order."""


def some(problem: JudgedProblem, words: int, programs: int) -> list[Judged]:
    """The first so many responses of each way."""
    most = {WORDS: words, PROGRAM: programs}
    return [one for one in problem.responses if one.number < most.get(one.way, 0)]


def accuracy(problem: JudgedProblem, weights: Mapping[int, float]) -> float:
    """The chance that the answer with the greatest weight is right; of equals each is as likely."""
    if not weights:
        return 0.0
    most = max(weights.values())
    best = [number for number, weight in weights.items() if weight >= most - 1e-12]
    return (problem.right in best) / len(best)


def is_right(problem: JudgedProblem, one: Judged) -> bool:
    return one.answer_class is not None and one.answer_class == problem.right


# Ways of choosing.


def votes(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    return dict(Counter(one.answer_class for one in responses if one.answer_class is not None))


def scored_votes(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    """As the product votes."""
    found: Weights = {}
    for one in responses:
        if one.answer_class is not None:
            found[one.answer_class] = found.get(one.answer_class, 0.0) + one.score
    return found


def _shared(votes: Iterable[tuple[Sequence[int], float]]) -> Weights:
    """From the classes that each vote is shared between, and what it weighs."""
    found: Weights = {}
    for classes, weight in votes:
        for number in classes:
            found[number] = found.get(number, 0.0) + weight / len(classes)
    return found


def shared_votes(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    """A response's vote is shared with its steps where most responses conclude with what one of their steps states."""
    whole = attempt_the_whole(responses)
    return _shared((voted(one, whole), 1.0) for one in responses)


def scored_shared_votes(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    """As the product votes."""
    whole = attempt_the_whole(responses)
    return _shared((voted(one, whole), one.score) for one in responses)


def shared_where_stated(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    """A response's vote is shared with its steps where one of these states its conclusion."""
    return _shared((voted(one, False), 1.0) for one in responses)


def _with_every_step(one: Judged) -> Sequence[int]:
    return voted(replace(one, sharing=one.steps), whole=True)


def shared_with_every_step(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    return _shared((_with_every_step(one), 1.0) for one in responses)


def shared_and_silent(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
    """Shared with every step; of a response without a conclusion the steps alone vote."""
    return _shared((_with_every_step(one) or one.steps, 1.0) for one in responses)


def won_by_a_conclusion(choose: Choice) -> Choice:
    """The same votes, of which only those for what a response concludes with count."""

    def concluded(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
        conclusions = {one.answer_class for one in responses}
        return {number: weight for number, weight in choose(problem, responses).items() if number in conclusions}

    return concluded


def weighed_ways(of_a_program: float) -> Choice:
    """Votes in which a program counts so much."""

    def choose(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
        found: Weights = {}
        for one in responses:
            if one.answer_class is not None:
                weight = of_a_program if one.way == PROGRAM else 1.0
                found[one.answer_class] = found.get(one.answer_class, 0.0) + weight
        return found

    return choose


def features(responses: Sequence[Judged]) -> dict[int, list[float]]:
    """Of each class what the model of classes sees."""
    ways = sorted({one.way for one in responses})
    counts = {way: Counter(one.answer_class for one in responses if one.way == way) for way in ways}
    classes = dict.fromkeys(one.answer_class for one in responses if one.answer_class is not None)
    found = {}
    for number in classes:
        row = [1.0]
        for way in (WORDS, PROGRAM):
            own = counts.get(way, Counter())
            total, answered = sum(own.values()), sum(own.values()) - own[None]
            rival = max((count for other, count in own.items() if other not in (None, number)), default=0)
            row += [
                math.log((own[number] + 0.5) / (total - own[number] + 0.5)),
                math.log((own[number] + 0.5) / (rival + 0.5)),
                answered / total if total else 0.0,
            ]
        row += [float(all(counts[way][number] for way in ways)) if len(ways) > 1 else 0.0]
        scores = [one.score for one in responses if one.answer_class == number]
        row += [statistics.fmean(scores)]
        found[number] = row
    return found


def logistic(rows: Sequence[Sequence[float]], right: Sequence[bool], ridge: float = 1e-3) -> np.ndarray:
    """Weights of greatest likelihood under a small ridge, by Newton's method."""
    x, y = np.array(rows), np.array(right, dtype=float)
    weights = np.zeros(x.shape[1])
    penalty = ridge * len(y) * np.eye(x.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-(x @ weights)))
        hessian = (x * (chance * (1 - chance))[:, None]).T @ x + penalty
        weights = weights + np.linalg.solve(hessian, x.T @ (y - chance) - penalty @ weights)
    return weights


def model_of_classes(train: Sequence[JudgedProblem], words: int, programs: int) -> Choice:
    rows, right = [], []
    for problem in train:
        for number, row in features(some(problem, words, programs)).items():
            rows.append(row)
            right.append(number == problem.right)
    weights = logistic(rows, right)
    return lambda problem, responses: {
        number: float(np.array(row) @ weights) for number, row in features(responses).items()
    }


def best_weight(train: Sequence[JudgedProblem], words: int, programs: int) -> float:
    """What a program's vote should weigh, by the training problems."""
    grid = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
    return max(grid, key=lambda w: (mean(train, words, programs, weighed_ways(w)), -abs(math.log(w))))


def crossed_weights(problems: Sequence[JudgedProblem], words: int, programs: int) -> Choice:
    """Votes in which a program counts what fits the other half of the problems best: for where there is no training."""
    halves = (problems[::2], problems[1::2])
    chosen = [weighed_ways(best_weight(half, words, programs)) for half in halves[::-1]]
    of = {one.problem: choose for half, choose in zip(halves, chosen, strict=True) for one in half}
    return lambda problem, responses: of[problem.problem](problem, responses)


def mean(problems: Sequence[JudgedProblem], words: int, programs: int, choose: Choice) -> float:
    return statistics.fmean(accuracy(one, choose(one, some(one, words, programs))) for one in problems)


SHARED: Mapping[str, Choice] = {
    "votes shared with steps": shared_votes,
    "the same, where a step states the conclusion": shared_where_stated,
    "votes shared with steps, won by a conclusion": won_by_a_conclusion(shared_votes),
    "shared with steps, false equalities (solve)": scored_shared_votes,
    "votes shared with every step": shared_with_every_step,
    "every step, won by a conclusion": won_by_a_conclusion(shared_with_every_step),
    "every step, of silent ones, too": shared_and_silent,
}
"""Ways of counting what parallel steps state."""


# Comparisons.

Pairs = Mapping[str, Sequence[tuple[int, int, float, float]]]
"""Of each problem: numbers of two responses, and how far each order says that the one shown first is right."""


def read_pairs(paths: Sequence[Path]) -> Pairs:
    return {
        row["problem"]: [(*one["candidates"], *one["prefers_first"]) for one in row["pairs"]]
        for path in paths
        for row in stored(path)
    }


def with_comparisons(pairs: Pairs, most: int) -> Choice:
    """Votes, and as many comparisons of the two leading answers as there are, each a vote that the two share."""

    def choose(problem: JudgedProblem, responses: Sequence[Judged]) -> Weights:
        weights = votes(problem, responses)
        classes = {one.number: one.answer_class for one in responses if one.way == WORDS}
        leading = sorted(weights, key=lambda number: (-weights[number], number))[:2]
        left = most
        for first, second, ab, ba in pairs.get(problem.problem, ()):
            a, b = classes.get(first), classes.get(second)
            if left and a is not None and b is not None and {a, b} == set(leading):
                left -= 1
                weights[a] += (ab + 1 - ba) / 2
                weights[b] += 1 - (ab + 1 - ba) / 2
        return weights

    return choose


def judge_of_pairs(problems: Sequence[JudgedProblem], pairs: Pairs) -> str:
    """How good the model is at telling right from wrong, where one of the two is right."""
    scores, firsts = [], []
    for problem in problems:
        classes = {one.number: one.answer_class for one in problem.responses if one.way == WORDS}
        for first, second, ab, ba in pairs.get(problem.problem, ()):
            firsts += [ab, ba]
            if (classes[first] == problem.right) != (classes[second] == problem.right):
                score = (ab + 1 - ba) / 2
                scores.append(score if classes[first] == problem.right else 1 - score)
    hit = statistics.fmean((score > 0.5) + 0.5 * (score == 0.5) for score in scores)
    error = (hit * (1 - hit) / len(scores)) ** 0.5
    return (
        f"{len(scores)} comparisons of a right with a wrong answer: {hit:.1%} +- {error:.1%} name the right one, mean "
        f"probability of it {statistics.fmean(scores):.3f}; of the answer shown first {statistics.fmean(firsts):.3f}"
    )


# Reporting.


def line(
    name: str, problems: Sequence[JudgedProblem], words: int, programs: int, choose: Choice, more: float = 0.0
) -> None:
    base = [accuracy(one, votes(one, some(one, 16, 0))) for one in problems]
    found = [accuracy(one, choose(one, some(one, words, programs))) for one in problems]
    gains = [ours - theirs for ours, theirs in zip(found, base, strict=True)]
    size = len(problems)
    error, of_gain = (statistics.stdev(values) / size**0.5 for values in (found, gains))
    tokens = statistics.fmean(sum(one.tokens for one in some(problem, words, programs)) for problem in problems) + more
    print(
        f"{name:44}{words:4}{programs:4}{100 * statistics.fmean(found):8.1f} +-{100 * error:4.1f}"
        f"{100 * statistics.fmean(gains):+8.1f} +-{100 * of_gain:4.1f}{tokens:9,.0f}"
    )


def calibration(test: Sequence[JudgedProblem], train: Sequence[JudgedProblem], arguments: argparse.Namespace) -> None:
    def examples(problems: Sequence[JudgedProblem]) -> list[tuple[object, bool]]:
        return [
            (votes, selection.answer == str(one.right))
            for one in problems
            for votes, selection in subsets([*starmap(verified, enumerate(one.responses))], Random(f"0/{one.problem}"))
            if selection.answer is not None
        ]

    learned, asked = examples(train), examples(test)
    fitted = fit([v for v, _ in learned], [right for _, right in learned], arguments.model, len(train))
    found = reliability([fitted.confidence(v) for v, _ in asked], [right for _, right in asked])
    print(
        f"\nCalibration of the product, fitted on {len(train)} problems: expected calibration error {found.error:.3f}; "
    )
    print(f"of {len(asked)} answers {found.kept:.1%} have confidence >= 0.9, {found.accuracy_kept:.1%} of them right")
    for said, true, count in found.bins:
        print(f"  says {said:6.1%}, is {true:6.1%}  ({count})")
    if arguments.out:
        fitted.save(arguments.out)
    if arguments.plot:
        from espalier.solver.cli.reliability_plot import draw

        draw({"test": found}, arguments.plot)


def abstaining(problems: Sequence[JudgedProblem], trust: Trust, k: int) -> None:
    """What `adaptive` makes of the responses in words, by the certainty at which it ends a vote."""
    print(f"\nadaptive, k = {k}, confidence of at least {trust.min_confidence:g}")
    for certainty in (0.95, 0.85):
        kind = Adaptive(certainty=certainty)
        found = [solved(kind, trust, some(problem, k, 0)) for problem in problems]
        rights = [problem.right for problem in problems]
        given = [(one, right) for (one, _, _), right in zip(found, rights, strict=True) if one is not None]
        chosen = statistics.fmean(
            one is not None and one == right for (_, one, _), right in zip(found, rights, strict=True)
        )
        sure = statistics.fmean(one == right for one, right in given) if given else math.nan
        tokens = statistics.fmean(tokens for _, _, tokens in found)
        print(
            f"certainty {certainty}: {chosen:.1%} right for {tokens:,.0f} tokens a problem; "
            f"{len(given) / len(problems):.1%} get an answer, {sure:.1%} of them the right one"
        )


def chosen_by_solve(problems: Sequence[JudgedProblem], k: int) -> None:
    """What the whole product chooses, of equal votes by the fewest tokens, with parallel steps and without them."""
    print(f"\n{'best_of_k, as solve chooses':44}{'right, %':>15}{'gain':>15}")
    ways: dict[str, Callable[[Judged], Sequence[int]]] = {
        "votes of conclusions": lambda _: (),
        "votes shared with steps": lambda one: one.sharing,
        "votes shared with every step": lambda one: one.steps,
    }
    base: list[bool] = []
    for name, sharing in ways.items():
        found = []
        for problem in problems:
            responses = [replace(one, sharing=sharing(one)) for one in some(problem, k, 0)]
            _, leading, _ = solved(BestOfK(), Trust(), responses)
            found.append(leading is not None and leading == problem.right)
        base = base or found
        gains = [ours - theirs for ours, theirs in zip(found, base, strict=True)]
        error, of_gain = (statistics.stdev(map(float, values)) / len(problems) ** 0.5 for values in (found, gains))
        print(
            f"{name:44}{100 * statistics.fmean(found):8.1f} +-{100 * error:4.1f}"
            f"{100 * statistics.fmean(gains):+8.1f} +-{100 * of_gain:4.1f}"
        )


def verified(index: int, one: Judged) -> VerifiedCandidate:
    """A response as a solve has judged it; its answer is the name of its class."""
    answer = None if one.answer_class is None else str(one.answer_class)
    steps = tuple(BranchAnswer((), str(number), number) for number in one.sharing)
    spec, usage = Spec(index, 0, 0, 1.0, way=one.way), Usage(sampled_tokens=one.tokens)
    candidate = Candidate(spec, "", answer, steps, FinishReason.STOP, usage, 0.0, answer_class=one.answer_class)
    return VerifiedCandidate(candidate, Verdict(Status.UNKNOWN, one.score, "steps"))


def solved(kind: Policy, trust: Trust, responses: Sequence[Judged]) -> tuple[int | None, int | None, int]:
    """The class that is sure enough, the class that leads, and the new tokens."""
    state, judged = begin(0, Budget(candidates=max(1, len(responses)))), []
    while specs := kind.ask(state) if responses else ():
        for spec in specs:
            judged.append(verified(spec.index, responses[spec.index]))
            state = kind.tell(state, judged[-1].candidate, judged[-1].verdict)
    leading = select(judged, state.votes)
    sure = trust.weigh(leading, judged, state.votes)
    chosen, given = (None if one.answer is None else int(one.answer) for one in (leading, sure))
    return given, chosen, sum(one.candidate.usage.new_tokens for one in judged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--pairs", type=Path, action="append", default=[])
    parser.add_argument("--train-pairs", type=Path, action="append", default=[])
    parser.add_argument("--k", type=int, default=16, help="responses of each way at most")
    parser.add_argument("--model", default="", help="name in the calibration")
    parser.add_argument("--out", type=Path, help="file for the calibration")
    parser.add_argument("--calibration", type=Path, help="how often adaptive is sure with this one")
    parser.add_argument("--min-confidence", type=float, default=0.9, help="with --calibration")
    parser.add_argument("--plot", type=Path, help="PNG of its reliability")
    arguments = parser.parse_args()
    test = load(arguments.test)
    train = load(arguments.train) if arguments.train else []
    pairs, k = read_pairs(arguments.pairs), arguments.k
    ways = {one.way for problem in test for one in problem.responses}
    print(f"{len(test)} problems\n{'choosing':44}{'w':>4}{'p':>4}{'right, %':>15}{'gain':>15}{'tokens':>9}")
    parallel = any(one.steps for problem in test for one in problem.responses)
    sizes = [(k, 0), (k // 2, 0)]
    if PROGRAM in ways:
        sizes += [(0, k), (0, k // 2), (k // 4, k // 4), (k // 2, k // 2), (k, k)]
    for words, programs in sizes:
        line("votes", test, words, programs, votes)
        if words:
            line("votes that false equalities weaken", test, words, programs, scored_votes)
        if words and parallel:
            for name, choose in SHARED.items():
                line(name, test, words, programs, choose)
        if train and words and programs:
            weight = best_weight(train, words, programs)
            line(f"weighed ways (a program {weight:g})", test, words, programs, weighed_ways(weight))
        if not train and words and programs:
            line("weighed ways, by the other half", test, words, programs, crossed_weights(test, words, programs))
        if train:
            line("model of classes", test, words, programs, model_of_classes(train, words, programs))
        if pairs and words:
            for most in (1, 2, 4):
                more = float(most * TOKENS_OF_A_COMPARISON)
                line(f"votes, {most} comparisons", test, words, programs, with_comparisons(pairs, most), more)
        some_right = statistics.fmean(
            any(is_right(problem, one) for one in some(problem, words, programs)) for problem in test
        )
        print(f"{'one of them is right':44}{words:4}{programs:4}{100 * some_right:8.1f}")
    for way in sorted(ways):
        asked = [(problem, [one for one in problem.responses if one.way == way]) for problem in test]
        shares = [statistics.fmean(is_right(problem, one) for one in own) for problem, own in asked if own]
        print(f"one sample, {way}: {100 * statistics.fmean(shares):.1f} %")
    if pairs:
        print("\ntest: " + judge_of_pairs(test, pairs))
    if train and arguments.train_pairs:
        print("training: " + judge_of_pairs(train, read_pairs(arguments.train_pairs)))
    if train:
        calibration(test, train, arguments)
    if parallel:
        chosen_by_solve(test, k)
    if arguments.calibration:
        abstaining(test, Trust(Calibration.load(arguments.calibration), arguments.min_confidence), k)


if __name__ == "__main__":
    main()
