"""A patch is worked out in memory, and refused whole where it touches what it must not."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from espalier.verifiers.patch.changes import Change, changes_of, diff_of
from espalier.verifiers.patch.diff import PatchError
from espalier.verifiers.patch.repository import Repository, pack
from espalier.verifiers.paths import PROTECTED

REFUSALS = [json.loads(line) for line in (Path(__file__).parent / "refusals.jsonl").read_text("utf-8").splitlines()]
LONG = "".join(f"{number}\n" for number in range(3000))
CART = "one = 1\ntwo = 2\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "shop"
    for path in ("src/shop/cart.py", "src/shop/prices.py", "src/shop/selftest.py", "tests/test_cart.py", "bin/run"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(CART)
    (directory / "bin/run").chmod(0o755)
    (directory / "src/logo.png").write_bytes(b"\x89PNG\xff")
    (directory / "src/latest").symlink_to("shop")
    return directory


@pytest.fixture
def repository(directory: Path) -> Repository:
    return Repository(pack(directory))


@pytest.mark.parametrize("row", REFUSALS, ids=[row["name"] for row in REFUSALS])
@pytest.mark.parametrize("form", ["changed", "created", "whole"])
def test_what_must_not_be_touched(repository: Repository, row: dict[str, str], form: str) -> None:
    path = row["path"]
    patch = {
        "changed": f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-one = 1\n+one = 2\n",
        "created": f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+one = 2\n",
        "whole": f"```{path}\none = 2\n```\n",
    }[form]
    held = frozenset({"src/shop/selftest.py"})
    with pytest.raises(PatchError) as refused:
        changes_of(patch, repository, (*PROTECTED, "src/shop/prices*"), held)
    if not (form == "changed" and path == "src/shop"):  # there is no such file to change
        assert refused.match(row["why"])


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("tests/helper.py", "../src/shop/cart.py", "src/shop/cart.py"),
        ("src/held.py", "shop/cart.py", "src/shop/cart.py"),
        ("tests", "src/shop", "src/shop/cart.py"),
        ("tests", "src/latest", "src/shop/cart.py"),
        ("tests", "src/shop", "src/shop/new.py"),
        ("src/shop/tests", "..", "src/new.py"),
    ],
)
def test_what_tests_read_through_a_link_is_theirs(directory: Path, link: str, target: str, path: str) -> None:
    if (directory / link).is_dir():
        shutil.rmtree(directory / link)
    (directory / link).symlink_to(target)
    with pytest.raises(PatchError, match=f"must not touch {path}, which .* leads to"):
        changes_of(f"```{path}\none = 2\n```\n", Repository(pack(directory)), PROTECTED, frozenset({"src/held.py"}))


def test_whole_files_and_diffs_come_to_the_same(repository: Repository) -> None:
    diff = "--- a/src/shop/cart.py\n+++ b/src/shop/cart.py\n@@ -1,2 +1,2 @@\n one = 1\n-two = 2\n+two = 3\n"
    whole = "```src/shop/cart.py\none = 1\ntwo = 3\n```\n"
    expected = {"src/shop/cart.py": Change(CART, "one = 1\ntwo = 3\n")}
    assert changes_of(diff, repository, PROTECTED) == changes_of(whole, repository, PROTECTED) == expected


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("```src/shop/cart.py\none = 1\ntwo = 2\n```", "changes nothing"),
        ("--- a/src/shop/none.py\n+++ b/src/shop/none.py\n@@ -1 +1 @@\n-a\n+b\n", "there is no file"),
        ("--- /dev/null\n+++ b/src/shop/cart.py\n@@ -0,0 +1 @@\n+b\n", "exists"),
        ("```new.d\nx\n```\n```new.d/file.py\nx\n```", "a file and a directory"),
        ("```src/big.py\n" + "x" * (5 << 20) + "\n```", "more than 4 MiB"),
    ],
)
def test_patches_that_make_no_sense(repository: Repository, patch: str, why: str) -> None:
    with pytest.raises(PatchError, match=why):
        changes_of(patch, repository, PROTECTED)


def test_the_diff_of_changes_is_one_that_git_applies(repository: Repository, directory: Path) -> None:
    changes = {
        "bin/run": Change(CART, "one = 1\r\ntwo", was_executable=True),
        "src/shop/cart.py": Change(CART, None),
        "src/shop/new.py": Change(None, "x = '\x0c'\n"),
        "src/shop/empty.py": Change(None, ""),
        "src/shop/long.py": Change(LONG, LONG.replace("5\n", "five\n")),
        "src/shop/other.py": Change(LONG, LONG.replace("1", "one").replace("2", "two")),
    }
    for path in ("long.py", "other.py"):
        (directory / "src/shop" / path).write_text(LONG)
    subprocess.run(["git", "apply", "-"], cwd=directory, input=diff_of(changes).encode(), check=True)
    for path, change in changes.items():
        file = directory / path
        assert (file.read_bytes().decode() if file.exists() else None) == change.new
    assert not (directory / "bin/run").stat().st_mode & 0o100


def test_a_file_stays_executable_and_may_become_so(repository: Repository) -> None:
    patch = (
        "--- a/bin/run\n+++ b/bin/run\n@@ -1 +1 @@\n-one = 1\n+one = 2\n"
        "diff --git a/src/shop/cart.py b/src/shop/cart.py\nold mode 100644\nnew mode 100755\n"
    )
    found = changes_of(patch, repository, PROTECTED)
    assert {path: change.executable for path, change in found.items()} == {"bin/run": True, "src/shop/cart.py": True}
