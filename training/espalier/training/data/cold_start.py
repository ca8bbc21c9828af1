"""A cold start without a teacher: parallel responses assembled from a model's own sequential solutions.

A small pretrained model does not find the grammar from an instruction alone. Here its solutions to a problem, some
right and some wrong, become the steps of one response: a plan for each says how the solution begins, the takeaway
counts what the steps come to, and the answer is the one that they support. Nothing in it was written by another model.
Steps that come to a wrong answer are context and not trained: what is learned is to solve, to compare and to outvote.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from espalier.runtime.grammar import EIGHT_TAGS, Tag
from espalier.solver.core.problem import Problem

_SENTENCE = re.compile(r"(?<=[.!?:])\s+|\n+")
_TAGS = re.compile("|".join(map(re.escape, EIGHT_TAGS)))


MAX_PLAN_WORDS = 16


@dataclass(frozen=True, slots=True)
class Solution:
    """One sequential solution of the model.

    Attributes:
        text: As it was written, without the end of the turn.
        answer: What it states.
        right: The verdict on that.
    """

    text: str
    answer: str
    right: bool


@dataclass(frozen=True, slots=True)
class Assembly:
    """How responses are put together.

    Attributes:
        seed: Of every choice.
        min_steps, max_steps: Steps of a response.
        per_problem: Responses made of one problem at most, from different solutions as far as they last.
        mixed: Use only problems with right and wrong solutions.
        max_step_words: A longer solution is not used.
    """

    seed: int = 0
    min_steps: int = 3
    max_steps: int = 5
    per_problem: int = 1
    mixed: bool = True
    max_step_words: int = 220

    def __post_init__(self) -> None:
        if not 2 <= self.min_steps <= self.max_steps:
            raise ValueError(f"steps: need 2 <= min <= max, got {self.min_steps} and {self.max_steps}")


@dataclass(frozen=True, slots=True)
class Assembled:
    """A response to train on.

    Attributes:
        problem: The problem's text.
        response: With its tags, without the end of the turn.
        untrained_steps: Numbers of the steps that are context only.
        used: The right solutions in it, for the sequential baseline on the same samples.
    """

    problem: str
    response: str
    untrained_steps: tuple[int, ...]
    used: tuple[str, ...]


def assemble(problem: Problem, solutions: Sequence[Solution], settings: Assembly) -> list[Assembled]:
    """Responses made of the solutions to one problem; none if they do not support the right answer.

    In every response the right answer is stated by more steps than any wrong one. Shorter solutions are taken first.
    Equal arguments make equal responses.
    """
    rng = Random(f"{settings.seed}/{problem.id}")
    whole = [_whole(one) for one in solutions if _usable(one, settings)]
    distinct = list({one.text: one for one in whole}.values())
    right = [one for one in distinct if one.right]
    wrong = [one for one in distinct if not one.right]
    if settings.mixed and not (right and wrong):
        return []
    for found in (right, wrong):  # shorter ones first: a user waits for the longest step
        found.sort(key=lambda one: len(one.text))
    made: list[Assembled] = []
    while len(made) < settings.per_problem:
        steps = _choose(right, wrong, settings, rng)
        if steps is None:
            break
        right = [one for one in right if one not in steps]
        wrong = [one for one in wrong if one not in steps] or [one for one in wrong if one in steps]
        made.append(_response(problem, steps, settings))
    return made


def _usable(one: Solution, settings: Assembly) -> bool:
    return r"\boxed{" in one.text and not _TAGS.search(one.text) and len(one.text.split()) <= settings.max_step_words


def _whole(one: Solution) -> Solution:
    """The solution up to the end of the line with its last box, a displayed formula closed behind it."""
    text = one.text.strip()
    end = text.find("\n", text.rindex(r"\boxed{"))
    text = text if end < 0 else text[:end].rstrip()
    if text.count(r"\[") > text.count(r"\]"):  # the box stood in a displayed formula
        text += "\n\\]"
    return Solution(text, one.answer, one.right)


def _choose(
    right: Sequence[Solution], wrong: Sequence[Solution], settings: Assembly, rng: Random
) -> list[Solution] | None:
    """Steps among which the right answer has more votes than any wrong one, in random order."""
    count = min(rng.randint(settings.min_steps, settings.max_steps), len(right) + len(wrong))
    if count < settings.min_steps or not right:
        return None
    least_wrong = 1 if settings.mixed else 0
    shares = []
    for failures in range(max(least_wrong, count - len(right)), min(len(wrong), count - 1) + 1):
        votes = Counter(one.answer for one in wrong[:failures])
        if count - failures > max(votes.values(), default=0):
            shares.append(failures)
    if not shares:
        return None
    failures = rng.choice(shares)
    steps = [*right[: count - failures], *wrong[:failures]]
    rng.shuffle(steps)
    return steps


def _response(problem: Problem, steps: Sequence[Solution], settings: Assembly) -> Assembled:
    best = Counter(one.answer for one in steps if one.right).most_common(1)[0][0]
    plans = [f"{Tag.PLAN}{i}: {_plan(one.text)}{Tag.END_PLAN}\n" for i, one in enumerate(steps, start=1)]
    texts = [f"\n{Tag.STEP}\n{i}: {one.text}{Tag.END_STEP}" for i, one in enumerate(steps, start=1)]
    stated = ", ".join(f"{i} gives {one.answer}" for i, one in enumerate(steps, start=1))
    votes = sum(one.right for one in steps)
    guideline = f"{Tag.GUIDELINE}\n{''.join(plans)}{Tag.END_GUIDELINE}"
    takeaway = f"{Tag.TAKEAWAY}\n{stated}; {votes} of {len(steps)} agree on {best}.{Tag.END_TAKEAWAY}"
    response = f"{guideline}{''.join(texts)}{takeaway}\nThe final answer is \\boxed{{{best}}}."
    untrained = tuple(i for i, one in enumerate(steps, start=1) if not one.right)
    return Assembled(problem.text, response, untrained, tuple(one.text for one in steps if one.right))


def _plan(text: str) -> str:
    """How a solution begins: its first sentence that says something, cut to `MAX_PLAN_WORDS`."""
    sentences = [one.strip(" #*-:\n") for one in _SENTENCE.split(text)]
    first = next((one for one in sentences if len(one.split()) >= 4), sentences[0])
    words = first.split()
    return " ".join(words[:MAX_PLAN_WORDS])


def to_json(made: Iterable[Assembled], *, sequential: bool = False) -> Iterable[str]:
    """Lines for `espalier train sft --data`: the responses, or for the baseline the right solutions in them."""
    for one in made:
        if sequential:
            yield from (json.dumps({"prompt": one.problem, "response": text}, ensure_ascii=False) for text in one.used)
            continue
        line: dict[str, object] = {"prompt": one.problem, "response": one.response}
        if one.untrained_steps:
            line["untrained_steps"] = list(one.untrained_steps)
        yield json.dumps(line, ensure_ascii=False)


def counts(made: Mapping[str, Sequence[Assembled]], problems: int) -> str:
    """What came of it, in a line."""
    responses = [one for found in made.values() for one in found]
    context = sum(len(one.untrained_steps) for one in responses)
    steps = context + sum(len(one.used) for one in responses)
    used = sum(bool(found) for found in made.values())
    made_of = f"{len(responses)} responses of {used} of {problems} problems"
    return f"{made_of}; {steps} steps, {context} of them wrong, as context"
