"""Diffs are read strictly and applied where their lines are."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.patch.diff import PatchError, apply_hunks, read_diff

CASES = [json.loads(line) for line in (Path(__file__).parent / "diff_cases.jsonl").read_text("utf-8").splitlines()]

lines = st.lists(st.sampled_from(["a", "b", "-", "+", " ", "", "@", "--- a", "\\"]), max_size=12)
texts = st.builds(lambda found, end: "\n".join(found) + end, lines, st.sampled_from(["", "\n"]))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_table_of_cases(case: dict[str, Any]) -> None:
    if "gives" in case:
        (diff,) = read_diff(case["diff"])
        assert diff.path == "x"
        assert apply_hunks("x", case["text"], diff.hunks) == case["gives"]
    else:
        with pytest.raises(PatchError, match=case["refused"]):
            (diff,) = read_diff(case["diff"])
            apply_hunks("x", case["text"], diff.hunks)


@given(texts.filter(bool), texts)
def test_what_the_standard_library_calls_the_difference_makes_one_text_of_the_other(old: str, new: str) -> None:
    diff = "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), "a/x", "b/x")
    )
    if diff:
        (found,) = read_diff(diff)
        assert apply_hunks("x", old, found.hunks) == new


def test_one_diff_changes_creates_and_deletes() -> None:
    diffs = read_diff(
        "diff --git a/empty/__init__.py b/empty/__init__.py\nnew file mode 100644\nindex 000..e69\n"
        "diff --git a/run b/run\nnew file mode 100755\n--- /dev/null\n+++ b/run\n@@ -0,0 +1 @@\n+x\n"
        "--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    )
    assert [(diff.path, diff.created, diff.deleted, diff.executable) for diff in diffs] == [
        ("empty/__init__.py", True, False, False),
        ("run", True, False, True),
        ("old", False, True, None),
    ]


@given(
    st.lists(
        st.sampled_from(
            ["--- a/x", "+++ b/x", "@@ -1 +1 @@", "@@", "-a", "+b", " c", "", "\\ No", "x", "diff --git a/x b/x"]
        )
    )
)
def test_any_text_is_a_diff_or_refused(found: list[str]) -> None:
    try:
        for diff in read_diff("\n".join(found)):
            apply_hunks("x", "a\nc\n", diff.hunks)
    except PatchError:
        return


def test_what_repeats_itself_is_searched_in_linear_time() -> None:
    (diff,) = read_diff("--- a/x\n+++ b/x\n@@ @@\n" + " a\n" * 50_000 + "-b\n+c\n")
    text = "a\n" * 1_000_000 + "b\n"
    assert apply_hunks("x", text, diff.hunks).endswith("a\na\nc\n")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("a/b/c", "b/b/c", "b/c"),
        ("a/c", "a/c", "a/c"),
        ("/dev/null", "b/c", "c"),
        ("w/c", "/dev/null", "c"),
        ("c", "c", "c"),
    ],
)
def test_letters_before_names_are_those_of_git(old: str, new: str, path: str) -> None:
    (diff,) = read_diff(f"--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n")
    assert diff.path == path
