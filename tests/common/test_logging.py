"""Logs are JSON for machines, and lines that cannot steer it for a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from espalier.common.logging import configure_logging


@pytest.fixture(autouse=True)
def logging_of_others() -> Iterator[None]:
    """Logging is of the process; the next test finds it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def _logged(said: str) -> None:
    configure_logging("info")
    structlog.get_logger().info("solved", answer=said, tokens=7)
    try:
        raise ValueError(said)
    except ValueError:
        structlog.get_logger().exception("failed")
    logging.getLogger("other").warning("from the library: %s", said)


def test_without_a_terminal_every_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    _logged("\x1b[2J")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["solved", "failed", "from the library: \x1b[2J"]
    assert (lines[0]["answer"], lines[0]["tokens"]) == ("\x1b[2J", 7)


def test_on_a_terminal_lines_are_for_people_and_cannot_steer_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _logged("\x1b[2J\x07")
    said = capsys.readouterr().err
    assert "solved" in said
    assert not said.startswith("{")
    assert "\x1b[2J" not in said
    assert "\x07" not in said
    assert "ValueError" in said
