"""Every block of code in the documentation is run, and prints what it shows; or says why it is not, and is parsed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import BLOCKS, INDENTATION, ROOT, WORDS, Block
from tests.docs.conftest import ENVIRONMENT, Service
from tests.docs.parsing import commands, fault

pytestmark = pytest.mark.slow

SECONDS = 600
"""A block that takes longer hangs; on a busy machine one may take minutes."""
READERS = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
PICTURES = {"text", "proto"}
RUN = [block for block in BLOCKS if not block.not_run]
PYTHON = [block for block in RUN if block.language == "python"]
CONSOLE = [block for block in RUN if block.language == "console"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of the block's own, beside which the repository's examples lie."""
    for name in ("examples", "recipes", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def prepared(block: Block, request: pytest.FixtureRequest) -> str:
    """The block's text with what it needs at hand."""
    if "sandbox" in block.words:
        request.getfixturevalue("sandbox")
    if "service" not in block.words:
        return block.body
    service: Service = request.getfixturevalue("service")
    return service.here(block.body)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_of_a_kind_that_is_run_or_read(block: Block) -> None:
    assert block.language in {"python", "console", *READERS, *PICTURES}, "give the block a language that is run"
    assert block.words <= WORDS


def test_all_kinds_are_there() -> None:
    assert PYTHON
    assert CONSOLE
    assert any(block.not_run for block in BLOCKS)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(block: Block, place: Path, request: pytest.FixtureRequest) -> None:
    program = prepared(block, request)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr


CONSOLES = {page: [block for block in CONSOLE if block.page == page] for page in {block.page for block in CONSOLE}}


@pytest.mark.parametrize("page", sorted(CONSOLES), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_print_what_they_show(page: Path, place: Path, request: pytest.FixtureRequest) -> None:
    """The blocks of a page, in their order and in one directory: as a reader would type them."""
    for block in CONSOLES[page]:
        text = prepared(block, request)
        typed = Block(block.page, block.line, block.language, block.words, text)
        done = subprocess.run(
            ["bash", "-c", "\n".join(typed.commands)],
            cwd=place,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        if "example" in block.words:  # as it came out once; 1 means that the model did not solve it this time
            assert done.returncode in (0, 1), f"{block} ended with {done.returncode}:\n{done.stdout}"
        elif typed.shown:
            assert matches(typed.shown, done.stdout), f"{block} printed:\n{done.stdout}"
        else:
            assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout}"


def matches(shown: list[str], printed: str) -> bool:
    """Whether output is as shown, where … stands for any text, and alone in a line for any lines."""
    pattern = "".join(
        "(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n" for line in shown
    )
    return re.fullmatch(pattern, printed if printed.endswith("\n") else f"{printed}\n") is not None


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in READERS], ids=str)
def test_data_can_be_read(block: Block) -> None:
    READERS[block.language](block.body)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.not_run], ids=str)
def test_what_is_not_run_is_said_to_be_and_exists(block: Block) -> None:
    if block.language == "python":
        ast.parse(block.body)
        return
    for command in block.commands:
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
        for words in commands(command):
            assert not fault(words), f"{block}: {' '.join(words)}: {fault(words)}"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("espalier solve --no-such-option x", "No such option"),
        ("espalier solv x", "No such command"),
        ("espalier batch submit", "Missing argument"),
        ("A=b espalier worker --slots many > log", "Invalid value"),
        ("make nothing", "no target"),
        ("python benchmarks/nothing.py", "no file"),
    ],
)
def test_commands_that_do_not_exist_are_found(command: str, wrong: str) -> None:
    assert any(wrong in fault(words) for words in commands(command))


def test_a_command_goes_on_over_lines_that_its_quotes_or_a_backslash_keep_open() -> None:
    body = "$ curl x -d '{\n  \"a\": 1}'\n$ echo a \\\n    b\nb\n"
    block = Block(ROOT / "README.md", 1, "console", frozenset(), body)
    assert block.commands == ["curl x -d '{\n  \"a\": 1}'", "echo a \\\n    b"]
    assert block.shown == ["b"]


def test_output_that_is_not_as_shown_is_found() -> None:
    assert matches(["a … c", "…", "z"], "a b c\nd\ne\nz\n")
    assert not matches(["a … c"], "a b d\n")
    assert not matches(["a"], "a\nb\n")


def test_every_fence_is_read() -> None:
    for page in {block.page for block in BLOCKS}:
        fences = re.findall(r"^ *```\w", page.read_text("utf-8"), re.MULTILINE)
        assert len(fences) == sum(block.page == page and block.not_run != INDENTATION for block in BLOCKS), page
