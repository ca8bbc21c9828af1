"""`scripts/sglang_signatures.py`, with a wheel that is written from the table itself."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from espalier.runtime.sglang.plugin.compat import ATTENTION_SIGNATURES, SIGNATURES, SUPPORTED

SCRIPT = Path(__file__).parents[3] / "scripts" / "sglang_signatures.py"


def wheel(directory: Path, version: str, change: tuple[str, str] = ("", "")) -> Path:
    """A wheel with all functions of a version's table; `change` is a word of its source and what replaces it."""
    modules: dict[str, list[str]] = {}
    for target, parameters in (SIGNATURES[version] | ATTENTION_SIGNATURES[version]).items():
        words = target.split(".")
        inside = -2 if words[-2][0].isupper() else -1
        code = f"def {words[-1]}({parameters}): ..."
        code = f"class {words[-2]}:\n    {code}" if inside == -2 else code
        modules.setdefault("/".join(words[:inside]) + ".py", []).append(code)
    path = directory / f"sglang-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        for name, parts in modules.items():
            files.writestr(name, "\n".join(merged(parts)).replace(*change))
    return path


def merged(parts: list[str]) -> list[str]:
    """Methods of one class under one head."""
    heads = dict.fromkeys(part.partition("\n")[0] for part in parts)
    return ["\n".join([head, *(p.partition("\n")[2] for p in parts if p.startswith(head + "\n"))]) for head in heads]


def compare(*wheels: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, SCRIPT, *wheels], capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


def test_wheels_that_are_as_the_table_says_are_fine(tmp_path: Path) -> None:
    assert compare(*(wheel(tmp_path, version) for version in SUPPORTED)) == (0, "5 wheels, all as the table says\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("recv_req", "recv_req, hurry"), "takes (self, recv_req, hurry), the table says (self, recv_req)"),
        (("def check_decode_mem", "def check_memory"), "ScheduleBatch.check_decode_mem takes (None)"),
        (
            ("in_capture", "in_capture, stream"),
            "init_forward_metadata_out_graph takes (self, forward_batch, in_capture, st",
        ),
        (("class PrefillAdder", "class Adder"), "PrefillAdder.add_one_req takes (None)"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    status, told = compare(wheel(tmp_path, "0.5.21", change))
    assert status == 1
    assert said in told


def test_an_unknown_version_is_named(tmp_path: Path) -> None:
    unknown = wheel(tmp_path, "0.5.21").rename(tmp_path / "sglang-0.6.0-py3-none-any.whl")
    assert compare(unknown) == (1, "sglang-0.6.0-py3-none-any.whl: not in the table\n")
