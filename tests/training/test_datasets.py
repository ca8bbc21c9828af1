from __future__ import annotations

import gzip
import json
import math

import pyarrow as arrow
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from espalier.solver.core.problem import Problem, read_problems
from espalier.training.data.cli import app
from espalier.training.data.datasets import DatasetError, DatasetKind, Fields, Where, problems, to_json
from espalier.training.data.overlap import HeldOut, grams, split
from espalier.verifiers.check import AssertCase, CallCase, ProgramCheck, ReferenceCheck

CLIPS = {"question": "How many clips?", "answer": "48/2 = <<48/2=24>>24\nSum 72.\n#### 1,072"}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("kind", "row", "text", "answer"),
    [
        (DatasetKind.GSM8K, CLIPS, "How many clips?", "1072"),
        (DatasetKind.MATH, {"problem": "Find a+b.", "answer": "\\frac{1}{2}", "level": 5}, "Find a+b.", "\\frac{1}{2}"),
        (DatasetKind.MATH, {"problem": "Find a.", "answer": [3]}, "Find a.", "3"),
        (DatasetKind.FIELDS, {"q": "Say 2.", "gold": 2, "n": 7}, "Say 2.", "2"),
    ],
)
def test_math_sets_become_problems_with_references(tmp_path, kind, row, text, answer):
    (found,) = problems(write(tmp_path / "set.jsonl", row), kind, Fields("q", "gold", "n"))
    assert (found.text, found.check) == (text, ReferenceCheck(answer))
    assert read_problems([to_json(found)], "x") == (found,)


def test_only_rows_with_the_named_values_are_taken(tmp_path):
    levels = [1, 2.0, "3", "Level 4", 5]
    rows = [{"problem": f"Add {n}.", "answer": n, "id": n, "level": level} for n, level in enumerate(levels)]
    source, out = write(tmp_path / "set.jsonl", *rows), tmp_path / "out.jsonl"
    convert = ["convert", str(source), "--kind", "math", "--out", str(out)]
    ran = CliRunner().invoke(app, [*convert, "--where", "level=1,2,3,Level 4", "--where", "id=1,2,3"])
    assert ran.exit_code == 0, ran.output
    assert [one.id for one in read_problems(out.read_text().splitlines(), "x")] == ["set-1", "set-2", "set-3"]
    for wrong, said in (
        ("level", "write FIELD=VALUE"),
        ("=1", "write FIELD=VALUE"),
        ("grade=1", "there is no field 'grade'"),
        ("level=9", "no problem is left"),
    ):
        refused = CliRunner().invoke(app, [*convert, "--where", wrong])
        assert refused.exit_code == 2
        assert said in refused.output


@pytest.mark.parametrize(
    ("value", "spelled", "others"),
    [
        (1234567, "1234567", ["1.23457e+06", "1234568"]),
        (12345678.0, "12345678", ["12345679"]),
        (10**400, f"1{'0' * 400}", ["1"]),
        (True, "true", ["1"]),
        (0.5, "0.5", ["0"]),
    ],
    ids=["int", "float", "huge", "bool", "fraction"],
)
def test_a_value_is_named_in_all_its_digits(value, spelled, others):
    assert Where.parse(f"n={spelled}").takes({"n": value}, "row 1")
    assert not any(Where.parse(f"n={other}").takes({"n": value}, "row 1") for other in others)


def test_the_same_rows_are_read_from_every_kind_of_file(tmp_path):
    rows = [{"problem": f"Add {n} and 1.", "answer": str(n + 1), "id": n} for n in range(3)]
    write(tmp_path / "set.jsonl", *rows)
    (tmp_path / "set.json").write_text(json.dumps(rows))
    (tmp_path / "set.jsonl.gz").write_bytes(gzip.compress((tmp_path / "set.jsonl").read_bytes()))
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "set.parquet")
    read = [list(problems(path, DatasetKind.MATH)) for path in sorted(tmp_path.iterdir())]
    assert len(read) == 4
    assert all(one == read[0] for one in read)
    assert [one.id for one in read[0]] == ["set-0", "set-1", "set-2"]


def test_programs_are_judged_by_their_assertions(tmp_path):
    row = {"task_id": 3, "text": "Add.", "test_setup_code": "import math", "test_list": ["assert add(1, 2) == 3"]}
    (found,) = problems(write(tmp_path / "mbpp.jsonl", row), DatasetKind.MBPP)
    assert found.check == ProgramCheck((AssertCase("import math\nassert add(1, 2) == 3"),))
    assert found.text.endswith("assert add(1, 2) == 3")
    assert found.id == "mbpp-3"


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (DatasetKind.GSM8K, {"question": "x", "answer": "72"}, r"set\.jsonl: row 1: field 'answer' does not end"),
        (DatasetKind.MATH, {"problem": "x"}, "no answer in field 'answer'"),
        (
            DatasetKind.MATH,
            {"question": "x", "answer": "1"},
            "no text in field 'problem'; the row has answer, question",
        ),
        (DatasetKind.MBPP, {"text": "x", "test_list": []}, "no assertions in field 'test_list'"),
        (DatasetKind.MATH, {"problem": "x", "answer": math.inf}, "row 1: no answer in field 'answer'"),
        (DatasetKind.MATH, {"problem": "x", "answer": "\ud800"}, "row 1: field 'answer' has half of a surrogate pair"),
        (DatasetKind.MATH, {"problem": "\ud800", "answer": "1"}, "row 1: text has half of a surrogate pair"),
        (DatasetKind.MATH, {"problem": "x", "answer": "1", "id": "x" * 300}, "row 1: id has 304 characters"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, kind, row, message):
    with pytest.raises(DatasetError, match=message):
        list(problems(write(tmp_path / "set.jsonl", row), kind))


def test_rows_whose_answer_is_empty_are_left_out_and_told(tmp_path):
    told: list[int] = []
    rows = [{"problem": "x", "answer": None}, {"problem": "y", "answer": "1"}, {"problem": "z", "answer": math.nan}]
    path = write(tmp_path / "set.jsonl", *rows)
    assert [one.text for one in problems(path, DatasetKind.MATH, unanswered=told.append)] == ["y"]
    assert told == [1, 3]


def test_an_id_that_two_rows_have_is_refused_and_an_empty_one_is_the_number_of_the_row(tmp_path):
    """Every reader of the file refuses an id that it has twice."""
    rows = [{"problem": text, "answer": "1", "id": name} for text, name in (("x", None), ("y", math.nan), ("z", 7))]
    path = write(tmp_path / "set.jsonl", *rows)
    assert [one.id for one in problems(path, DatasetKind.MATH)] == ["set-1", "set-2", "set-7"]
    again = write(tmp_path / "set.jsonl", *rows, rows[-1])
    with pytest.raises(DatasetError, match=r"row 4: the id 'set-7' is also that of row 3"):
        list(problems(again, DatasetKind.MATH))
    assert len(list(problems(again, DatasetKind.MATH, Fields(id="no such field")))) == 4


@pytest.mark.bwrap
def test_expected_values_are_what_the_canonical_solution_returns(tmp_path):
    row = {
        "task_id": "HumanEval/0",
        "prompt": "def half(n):\n",
        "entry_point": "half",
        "canonical_solution": "    print('noise')\n    return {1} if n == 1 else n / 2\n",
        "base_input": [[4]],
        "plus_input": "[[1], [0], [(1, 2)], ['a']]",
    }
    source = write(tmp_path / "plus.jsonl", row)
    ran = CliRunner().invoke(app, ["convert", str(source), "--kind", "evalplus", "--out", str(tmp_path / "out.jsonl")])
    assert ran.exit_code == 0, ran.output
    (found,) = read_problems((tmp_path / "out.jsonl").read_text().splitlines(), "x")
    assert found.check.cases == (CallCase("half", "[4]", "2.0"), CallCase("half", "[0]", "0.0"))
    assert "3 inputs without a JSON value" in ran.stderr


@pytest.mark.bwrap
def test_a_very_long_value_leaves_its_case_out_and_no_other_one(tmp_path):
    row = {"task_id": "HumanEval/15", "prompt": "def stars(n):\n", "entry_point": "stars", "plus_input": []}
    solution = "    import sys; sys.set_int_max_str_digits(0)\n    return n * '*' if n > 0 else 10 ** -n\n"
    inputs = [[60_000]] * 20 + [[1 << 20], [-5_000], [2]]
    source = write(tmp_path / "plus.jsonl", row | {"canonical_solution": solution, "base_input": inputs})
    ran = CliRunner().invoke(app, ["convert", str(source), "--kind", "evalplus", "--out", str(tmp_path / "out.jsonl")])
    assert ran.exit_code == 0, ran.output
    (found,) = read_problems((tmp_path / "out.jsonl").read_text().splitlines(), "x")
    assert [len(case.expected_json) for case in found.check.cases] == [60_002] * 20 + [4]


@pytest.mark.bwrap
def test_a_row_of_evalplus_without_plus_inputs_has_its_base_inputs(tmp_path):
    row = {"task_id": "Mbpp/793", "prompt": "def half(n):\n", "entry_point": "half", "plus_input": {}}
    source = write(tmp_path / "plus.jsonl", row | {"canonical_solution": "    return n / 2\n", "base_input": [[4]]})
    ran = CliRunner().invoke(app, ["convert", str(source), "--kind", "evalplus", "--out", str(tmp_path / "out.jsonl")])
    assert ran.exit_code == 0, ran.output
    (found,) = read_problems((tmp_path / "out.jsonl").read_text().splitlines(), "x")
    assert found.check.cases == (CallCase("half", "[4]", "2.0"),)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"a": 1}\n{"a"\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "no.parquet").write_text("x")
    for name, message in (("broken.jsonl", r"broken\.jsonl"), ("empty.jsonl", "no row"), ("no.parquet", "no.parquet")):
        with pytest.raises(DatasetError, match=message):
            list(problems(tmp_path / name, DatasetKind.MATH))


STORY = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."


def test_a_run_of_words_gives_a_held_out_problem_away_whatever_its_punctuation():
    held_out = HeldOut.of({"test": [Problem("1", STORY + " How many did she sell?")]})
    assert held_out.found_in("Note: NATALIA sold clips to 48 of her friends - in April and then she left.") == {"test"}
    assert not held_out.found_in("Natalia sold clips to 47 of her friends in April, and she sold no clips in May.")


def test_a_short_problem_is_found_whole():
    held_out = HeldOut.of({"test": [Problem("1", "What is 2 plus 3 times 4?")]})
    assert held_out.found_in("Quick: what is 2 plus 3 times 4, my friend? Think before you say anything at all.") == {
        "test"
    }
    assert not held_out.found_in("What is 2 plus 3?")
    assert len(grams("a b c", 13)) == 1


def test_a_problem_of_few_words_is_found_where_it_is_all_of_the_text():
    held_out = HeldOut.of({"test": [Problem("1", "Compute $12!$."), Problem("2", "求12的阶乘。")]})
    assert held_out.found_in(" compute  $12!$.") == held_out.found_in("求12的阶乘。") == {"test"}
    assert not held_out.found_in("Compute $12! + 1$.")


def test_overlaps_are_left_out_and_counted_by_set():
    held_out = HeldOut.of({"one": [Problem("1", STORY)], "two": [Problem("2", "Nothing alike in here at all.")]})
    kept, counts = split([Problem("a", STORY), Problem("b", "Something else.")], held_out)
    assert [problem.id for problem in kept] == ["b"]
    assert counts == {"one": 1, "two": 0}


def test_the_command_leaves_held_out_problems_out_and_overlap_says_so(tmp_path):
    row = {"question": STORY, "answer": "#### 72"}
    source = write(tmp_path / "train.jsonl", row, CLIPS, {"question": "far too many words " * 9, "answer": "#### 1"})
    test = tmp_path / "test.jsonl"
    test.write_text(to_json(Problem("t", STORY, ReferenceCheck("72"))) + "\n")
    options = ["--kind", "gsm8k", "--out", str(tmp_path / "out.jsonl"), "--max-words", "30"]
    ran = CliRunner().invoke(app, ["convert", str(source), *options, "--held-out", str(test)])
    assert ran.exit_code == 0, ran.output
    assert "1 share 13 words with a held-out problem and are left out: test 1" in ran.stderr
    assert "1 of 3 problems" in ran.output
    assert CliRunner().invoke(app, ["overlap", str(test), "--against", str(test)]).exit_code == 1
    other = tmp_path / "other" / "test.jsonl"  # named alike: both count
    other.parent.mkdir()
    other.write_text(to_json(Problem("o", "Nothing alike in here at all.")) + "\n")
    found = CliRunner().invoke(app, ["overlap", str(test), "--against", str(test), "--against", str(other)])
    assert (found.exit_code, found.output) == (1, f"{other}: 0 of 1\n{test}: 1 of 1\n")
    assert CliRunner().invoke(app, ["overlap", str(tmp_path / "out.jsonl"), "--against", str(test)]).exit_code == 0
