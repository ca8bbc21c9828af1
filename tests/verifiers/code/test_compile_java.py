"""Where a Java source belongs, and which of its classes is started; a table in java_names.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.verifiers.code.harness.compile_java import names

CASES = [json.loads(line) for line in Path(__file__).with_name("java_names.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_file_and_the_class_that_is_started_are_read_out_of_the_source(case: dict[str, str]) -> None:
    assert names(case["source"]) == (case["file"], case["main"])


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["{", "}", '"', '"""', "/*", "'", "public ", "static ", "class A {", "final "])
def test_long_sources_are_read_to_their_end(unit: str) -> None:
    names(unit * 20_000)
