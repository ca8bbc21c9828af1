"""A page holds its data so that nothing in it can get out, and runs nothing but the pages' own script."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from espalier.solver.cli.trace import app
from espalier.solver.viewer.page import NOTICES, STATIC, embedded, page, shell
from tests.solver.scripted import boxed
from tests.solver.viewer.tracing import traced


class Scripts(HTMLParser):
    """Script elements of a page, as a browser cuts them out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append((dict(attrs), ""))
            self._open = True

    def handle_data(self, data: str) -> None:
        if self._open:
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "script"


HOSTILE = st.one_of(
    st.text(st.characters()),
    st.sampled_from(["</script>", "<!--", "<!--<script>", "]]>", "\u2028", "&lt;/script&gt;", "\\u003c/script>"]),
)


@given(st.lists(HOSTILE))
def test_embedded_data_reads_back_equal_and_cannot_end_its_element(texts: list[str]) -> None:
    made = embedded(texts)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff]", made)
    assert json.loads(made) == texts


def test_the_page_has_two_scripts_its_data_and_the_bundle_and_the_policy_admits_only_the_bundle() -> None:
    parser = Scripts()
    text = page([{"id": "</script><script>alert(1)</script>", "source": "<!--", "entries": []}])
    parser.feed(text)
    (data, held), (bundle, script) = parser.found
    assert data == {"type": "application/json", "id": "solves"}
    assert json.loads(held)[0]["id"] == "</script><script>alert(1)</script>"
    assert bundle == {}
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = re.search('content="(default-src[^"]*)"', text)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    text = page([])
    script = text.rpartition("<script>")[2]
    rest = text.replace(script, "")
    assert not re.search(r"(src|href)=", rest)
    assert not re.search(r"url\((?!data:)|@import", rest)


def test_the_page_of_a_server_holds_no_data() -> None:
    assert 'id="solves"' not in shell()


async def test_trace_view_writes_a_page_beside_the_trace(tmp_path: Path) -> None:
    file = tmp_path / "solve.jsonl"
    await traced(file, boxed("41"))
    done = CliRunner().invoke(app, ["view", str(file)])
    assert done.exit_code == 0, done.output
    assert "solve.html" in done.output
    assert "What is 6 times 7?" in (tmp_path / "solve.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{no}"], "No such file"),
        (["{bad}"], "bad.jsonl:1: no line of a trace"),
        (["{good}", "-o", "{good}"], "is one of the traces"),
        (["{good}", "--serve", "-o", "x.html"], "--serve writes no file"),
        (["{good}", "-o", "{no}/x.html"], "No such file"),
    ],
)
async def test_trace_view_says_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    await traced(tmp_path / "good.jsonl", boxed("41"))
    (tmp_path / "bad.jsonl").write_text("none\n")
    names = {name: str(tmp_path / f"{name}.jsonl") for name in ("good", "bad")} | {"no": str(tmp_path / "no")}
    before = (tmp_path / "good.jsonl").read_text()
    done = CliRunner().invoke(app, ["view", *(argument.format(**names) for argument in arguments)])
    assert done.exit_code == 2
    assert said in done.output
    assert (tmp_path / "good.jsonl").read_text() == before


def test_the_notices_of_what_is_in_the_bundle_are_in_the_page_and_beside_it() -> None:
    notices = (STATIC / NOTICES).read_text("utf-8")
    for name in ("katex", "preact", "highlight.js", "uplot", "lowlight"):
        assert f"\n{name} " in notices
    for line in ("Permission is hereby granted", "Redistribution and use in source and binary forms"):
        assert line in notices
        assert line in page([])
