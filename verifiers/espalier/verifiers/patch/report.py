"""A verdict on a patch as Markdown: what a person reads before they merge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from espalier.verifiers.verdict import Verdict

TITLES = {"fixed": "Fixed", "broken": "Broken", "failing": "Must pass, and does not"}


def report_of(verdict: Verdict, title: str = "Patch") -> str:
    """The evidence of a verdict on a patch. What a model or a test wrote stands in code blocks alone."""
    return "\n".join(_lines(verdict, title)) + "\n"


def _lines(verdict: Verdict, title: str) -> Iterator[str]:
    yield f"# {title}: {verdict.status.name}"
    yield ""
    yield f"Score {verdict.score:.3g}, decided by `{verdict.decided_by}`."
    for evidence in verdict.evidence:
        rule, _, rest = evidence.rule.partition(" ")
        match rule:
            case "tests":
                yield from _tests(json.loads(evidence.detail))
            case "hidden":
                yield from ("", "## Hidden tests", "", _counts(json.loads(evidence.detail)))
            case "test":
                record = json.loads(evidence.detail)
                yield from ("", f"### {_code(rest)}", "", f"{record['change']}: {record['before']} → {record['after']}")
                if record["detail"]:
                    yield from _block(record["detail"])
            case "patch":
                yield from ("", "## Patch", *_block(evidence.detail, "diff"))
            case _:
                yield from ("", f"## {rule.capitalize()} {_code(rest)}".rstrip(), *_block(evidence.detail))


def _tests(record: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Tests", "", _counts(record))
    for kind, title in TITLES.items():
        if record[kind]:
            yield from ("", f"{title}:", "", *(f"- {_code(test)}" for test in record[kind]))


def _counts(record: dict[str, Any]) -> str:
    (must, of_must), (kept, of_kept) = record["must_pass"], record["must_not_break"]
    return (
        f"{must} of {of_must} that must pass do; {kept} of {of_kept} that must not break still pass. "
        f"{record['cpu_seconds']:.2f} s of processor time, {record['seconds']:.2f} s on the clock."
    )


def _block(text: str, language: str = "") -> tuple[str, ...]:
    marks = _marks(text, 3)
    return ("", f"{marks}{language}", text.rstrip("\n"), marks)


def _code(text: str) -> str:
    if not text:
        return ""
    marks = _marks(text, 1)
    space = " " if "`" in text else ""
    return f"{marks}{space}{' '.join(text.split())}{space}{marks}"


def _marks(text: str, least: int) -> str:
    """More marks than there are side by side in a text."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])
