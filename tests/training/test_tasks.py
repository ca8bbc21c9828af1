from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import entry_points
from itertools import permutations

import pytest
from reasoning_gym.cognition import number_sequences

from espalier.training.tasks import TASKS, Draft, Split, Task, gym, problems, task
from espalier.verifiers.check import ReferenceCheck

EVERY_TASK = pytest.mark.parametrize("name", sorted(TASKS))


@EVERY_TASK
def test_equal_seeds_give_equal_problems_and_other_seeds_give_others(name: str) -> None:
    first, again, other = (TASKS[name].generate(Split.TRAIN, seed, 4) for seed in (1, 1, 2))
    assert first == again
    assert first.text != other.text


@EVERY_TASK
def test_a_problem_lies_on_one_side_of_the_split_whatever_its_seed(name: str) -> None:
    named = TASKS[name]
    drafts = [named.draw(number) for number in range(12)]
    train = {p.text for p in (named.generate(Split.TRAIN, 0, i) for i in range(6))}
    for draft in drafts:
        if named.split_of(draft) is Split.HELD_OUT:
            assert draft.text not in train


def test_the_splits_are_disjoint_and_have_their_shares() -> None:
    """Over a task with only 400 different problems, both splits together are drawn many times over."""

    def draw(number: int) -> Draft:
        n = number % 400
        return Draft(f"problem {n}", str(n), ReferenceCheck(str(n)), {})

    small = Task("small", draw)
    train = {small.generate(Split.TRAIN, seed, 0).text for seed in range(1500)}
    held_out = {small.generate(Split.HELD_OUT, seed, 0).text for seed in range(600)}
    assert not train & held_out
    assert 30 <= len(held_out) <= 75
    assert len(train) + len(held_out) >= 390


def test_two_wordings_of_one_problem_share_a_side() -> None:
    left, right = (Draft(text, "3 5", ReferenceCheck("1"), {}) for text in ("gcd of 3, 5", "gcd of 5, 3"))
    assert TASKS["gcd"].split_of(left) is TASKS["gcd"].split_of(right)


def test_a_stream_never_repeats_a_text() -> None:
    texts = [p.text for p in TASKS["number_sequence"].problems(Split.HELD_OUT, 0, 60)]
    assert len(set(texts)) == 60


def test_a_task_that_runs_dry_says_so() -> None:
    def draw(number: int) -> Draft:
        return Draft(str(number % 50), str(number % 50), ReferenceCheck("1"), {})

    with pytest.raises(ValueError, match="fewer than 60 different train problems"):
        list(Task("dry", draw).problems(Split.TRAIN, 0, 60))


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown task 'chess'; known: chain_sum, countdown"):
        task("chess")


def test_the_entry_point_yields_held_out_problems() -> None:
    (point,) = (p for p in entry_points(group="espalier.problems") if p.name == "seedling")
    found = list(point.load()("gcd", 5, 3))
    assert found == list(problems("gcd", 5, 3))
    assert all(p.id.startswith("gcd-held-out") and p.text and p.check for p in found)


@EVERY_TASK
def test_a_task_has_easier_problems_on_the_same_side_of_the_split(name: str) -> None:
    easier = list(problems(f"{name}-easier", 5, 3))
    assert len({problem.text for problem in easier}) == 3
    assert {problem.task for problem in easier} == {name}


def test_puzzles_of_larger_numbers_have_a_solution_and_the_library_s_wording() -> None:
    for problem in TASKS["puzzle24"].problems(Split.TRAIN, 1, 5):
        numbers = problem.metadata["numbers"]
        assert problem.text.startswith(f"Make 24 using {', '.join(map(str, numbers))}.")
        assert any(values == 24 for order in permutations(numbers) for values in _left_to_right(order))


def _left_to_right(numbers: Sequence[int]) -> set[Fraction]:
    """All values of the numbers combined from left to right."""
    values = {Fraction(numbers[0])}
    for n in numbers[1:]:
        values = {r for v in values for r in (v + n, v - n, v * n, v / n)}
    return values


def test_a_number_sequence_is_the_library_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending a rule early changes no problem."""
    bounded = [TASKS["number_sequence"].draw(number).text for number in range(40)]
    monkeypatch.setattr(number_sequences, "PatternRule", gym.BoundedRule.__base__)
    assert [TASKS["number_sequence"].draw(number).text for number in range(40)] == bounded


def test_programs_have_as_many_stages_as_the_setting_allows() -> None:
    def lengths(named: Task) -> set[int]:
        return {len(named.draw(number).facts["program"]) for number in range(40)}

    assert lengths(task("programming", {"stages": 1})) == {1}
    assert lengths(task("programming", {})) == lengths(task("programming")) > {1}


@pytest.mark.parametrize("stages", [0, 99, True, 1.0, "2", None])
def test_a_number_of_stages_that_cannot_be_is_refused(stages: object) -> None:
    with pytest.raises(ValueError, match=r"'programming': stages must be a whole number from 1 to \d, got"):
        task("programming", {"stages": stages})


def test_a_setting_that_programming_has_not_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'programming' has no setting 'steps'; it has: stages"):
        task("programming", {"steps": 1})
