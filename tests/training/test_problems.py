from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from espalier.solver.core.problem import ProblemError
from espalier.training.config import ConfigError, ProblemsConfig
from espalier.training.data.problems import read_problems, stream
from espalier.training.tasks import Split, task
from espalier.verifiers.check import ConstraintCheck, ReferenceCheck

GOOD = '{"id": "a", "text": "2+2?", "check": {"reference": {"answer": "4"}}}'


def test_problem_number_i_depends_on_nothing_but_i() -> None:
    config = ProblemsConfig(1, tasks={"chain_sum": 1.0, "products": 3.0})
    first, again = stream(config), stream(config)
    forwards = [first(i).text for i in range(20)]
    assert [again(i).text for i in reversed(range(20))] == forwards[::-1]
    assert {first(i).task for i in range(20)} == {"chain_sum", "products"}
    assert stream(ProblemsConfig(2, tasks=config.tasks))(0).text != forwards[0]


def test_training_problems_are_never_held_out_ones_at_any_setting() -> None:
    settings = {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}
    problems = stream(ProblemsConfig(1, tasks={"chain_sum": 1.0}, settings={"chain_sum": settings}))
    trained = {problems(i).text for i in range(300)}
    held_out = {one.text for one in task("chain_sum", settings).problems(Split.HELD_OUT, 1, 100)}
    assert len(held_out) == 100
    assert not trained & held_out


def test_a_file_is_read_once_in_each_pass_in_an_order_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(f'{{"text": "{i}?", "check": {{"reference": {{"answer": "{i}"}}}}}}\n' for i in range(5)))
    problems = stream(ProblemsConfig(1, file=str(path)))
    passes = [[problems(number * 5 + i).text for i in range(5)] for number in range(3)]
    assert all(sorted(one) == sorted(passes[0]) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert isinstance(problems(0).check, ReferenceCheck)


def test_a_line_ends_where_json_lines_say_so(tmp_path: Path) -> None:
    """Texts from the web hold the line separators of Unicode, and files from Windows a byte-order mark."""
    path = tmp_path / "problems.jsonl"
    text = "one\u2028two\x85three"
    line = f'{{"text": "{text}", "check": {{"reference": {{"answer": "4"}}}}}}'
    path.write_bytes(f"\ufeff{line}\r\n{line}\n".encode())
    assert [problem.text for problem in read_problems(path)] == [text, text]


def test_shorthands_empty_lines_and_checks_in_the_text_work_as_for_solving(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(
        '{"text": "What is 6 times 7?", "check": "reference:42"}\n\n'
        '{"text": "Using the numbers 19, 36, 55 and 7, each once, make 65"}\n'
    )
    shorthand, recognised = read_problems(path)
    assert shorthand.check == ReferenceCheck("42")
    assert isinstance(recognised.check, ConstraintCheck)
    assert (recognised.id, recognised.task) == ("3", "file")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r":2: Expecting property name"),
        ("[]", r":2: a line must be a JSON object like"),
        ('{"text": " "}', r":2: text is empty"),
        ('{"text": "2+2?"}', r":2: check: say how an answer is judged"),
        ('{"text": "2+2?", "chekc": {}}', r":2: unknown field 'chekc'; there are: check, id, text"),
        ('{"text": "2+2?", "check": {"reference": {"anser": "4"}}}', r":2: check: .*anser"),
        ('{"text": "2+2?", "check": {}}', r":2: check"),
    ],
)
def test_a_line_that_is_no_problem_is_named_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(ProblemError, match=rf"problems.jsonl{message}"):
        read_problems(path)


def test_an_empty_or_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ProblemError, match=r"empty.jsonl: there is no problem in it"):
        read_problems(tmp_path / "empty.jsonl")
    with pytest.raises(ProblemError, match=r"cannot read .*none.jsonl: No such file"):
        read_problems(tmp_path / "none.jsonl")


def test_settings_that_make_no_problems_are_refused() -> None:
    with pytest.raises(ConfigError, match="either tasks or file"):
        ProblemsConfig(1)
    with pytest.raises(ValueError, match="unknown task 'sums'"):
        stream(ProblemsConfig(1, tasks={"sums": 1.0}))
    with pytest.raises(ValueError, match="settings of task 'chain_sum'"):
        stream(ProblemsConfig(1, tasks={"chain_sum": 1.0}, settings={"chain_sum": {"colour": 1}}))


def test_reinforcement_learning_on_a_file_imports_no_generator_of_tasks() -> None:
    program = (
        "import sys, espalier.training.rl.train, espalier.training.data.problems; "
        "print([name for name in sys.modules if name.startswith(('reasoning_gym', 'espalier.training.tasks', "
        "'espalier.verifiers.math'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
