"""The blocks of code in the documentation, and what the pages say of running them.

Words behind the language steer the tests: `sandbox` (needs one), `service` (runs against a shared service), `example`
(its output differs from run to run), and `not-run="it needs a GPU"`: its commands are parsed, and not run for that
reason.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "RESULTS.md",
    *sorted((ROOT / "examples").rglob("*.md")),
)

WORDS = {"sandbox", "service", "example"}
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<words>(?: \w+)*)(?: not-run=\"(?P<not_run>[^\"\n]+)\")?\n"
    r"(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
INDENTATION = "a command in a block by indentation"
INDENTED = re.compile(r"^    ((?:espalier|python|pip|make) .+)$", re.MULTILINE)
"""Commands that stand in blocks by indentation."""


def goes_on(command: str) -> bool:
    """Whether the next line still belongs to a command: it ends in a backslash, or inside quotes."""
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.

    Attributes:
        page: Where it stands.
        line: Its number there.
        language: What it is written in.
        words: Behind the language.
        body: The code.
        not_run: Why it is not run; empty when it is.
    """

    page: Path
    line: int
    language: str
    words: frozenset[str]
    body: str
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What a console block types, one command each; lines that go on belong to their command."""
        typed: list[str] = []
        for line in self.body.splitlines():
            if line.startswith("$ "):
                typed.append(line[2:])
            elif typed and goes_on(typed[-1]):
                typed[-1] += f"\n{line}"
        return typed

    @property
    def shown(self) -> list[str]:
        """What a console block prints."""
        typed = {line for command in self.commands for line in command.splitlines()[1:]}
        return [line for line in self.body.splitlines() if not line.startswith("$ ") and line not in typed]


def read(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        body = re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE)
        yield Block(
            page=page,
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            words=frozenset(found["words"].split()),
            body=body,
            not_run=found["not_run"] or "",
        )
    outside = FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    for found in INDENTED.finditer(outside):
        line = outside.count("\n", 0, found.start()) + 1
        yield Block(page, line, "console", frozenset(), f"$ {found[1]}", INDENTATION)


BLOCKS = [block for page in PAGES for block in read(page)]
