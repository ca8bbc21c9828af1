"""What the pages claim beside their code: links, options, defaults, pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from espalier.verifiers.check import MathOptions, ProgramLimits
from tests.docs.blocks import PAGES, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
VERIFIERS = (ROOT / "docs" / "verifiers.md").read_text(encoding="utf-8")
GENERATED = {"reference/cli.md", "reference/settings.md", "reference/metrics.md", "reference/proto.md"} | {
    f"reference/api/{room}.md" for room in ("solver", "verifiers", "runtime", "training")
}
"""Pages that are made when the site is built; `make docs` checks links to them."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        target = (page.parent / link).resolve()
        is_generated = target.is_relative_to(ROOT / "docs") and str(target.relative_to(ROOT / "docs")) in GENERATED
        assert target.exists() or is_generated, link


def test_every_page_of_the_site_is_there() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = set(re.findall(r"[\w/.-]+\.md$", text, re.MULTILINE))
    assert yaml.safe_load(text)["strict"] is True
    missing = {page for page in listed if not (ROOT / "docs" / page).exists()}
    assert missing == GENERATED | {"results.md", "contributing.md"}


def test_pictures_are_drawn_by_the_code_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    figures = import_module("docs_figures")
    drawn = figures.IMAGES
    monkeypatch.setattr(figures, "IMAGES", tmp_path)
    for draw in (figures.fork_join, figures.layout, figures.verdicts, figures.policies):
        draw()
    for picture in tmp_path.iterdir():
        assert picture.read_text() == (drawn / picture.name).read_text(), "run scripts/docs_figures.py"


def test_every_option_that_the_readme_mentions_exists() -> None:
    command = [sys.executable, "-m", "espalier.solver.cli.main", "solve", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"COLUMNS": "200"}).stdout
    table = README.split("| option | meaning |")[1].split("\n\n")[0]
    options = re.findall(r"`(--[a-z-]+)", table)
    assert len(options) >= 6
    assert not [option for option in options if option not in shown]


@pytest.mark.parametrize("kind", [MathOptions, ProgramLimits])
def test_every_option_of_a_check_is_documented_with_its_default(kind: type) -> None:
    default = kind()
    for field in fields(kind):
        assert f"| `{field.name}` | `{getattr(default, field.name)}` |" in VERIFIERS


def test_the_example_of_a_third_party_is_found_by_its_entry_point(tmp_path: Path) -> None:
    package = ROOT / "examples" / "third_party_verifier"
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, package]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def espalier(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "espalier.solver.cli.main", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    described = espalier("verifiers", "describe", "--only", "palindrome")
    assert described.stdout == "palindrome 1.0.0  healthy\n  judges: custom\n", described.stderr
    custom = ("verify", "custom", "palindrome", "--parameters", '{"min_letters": 5}')
    assert espalier(*custom, "Never odd or even").returncode == 0
    assert "does not read the same backwards" in espalier(*custom, "espalier").stdout
    wrong = espalier("verify", "custom", "palindrome", "--parameters", '{"min_letters": "x"}', "abba")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "espalier: check.custom.parameters_json: min_letters is not a whole number\n",
    )


def test_the_citation_says_what_the_package_is() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'version = "{citation["version"]}"' in project
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors", "references"} <= citation.keys()
    assert {author.keys() >= {"name"} or author.keys() >= {"family-names"} for author in citation["authors"]} == {True}
