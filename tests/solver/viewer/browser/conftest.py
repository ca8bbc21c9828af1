from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, expect, sync_playwright

from tests.solver.viewer.browser.running import CHROMIUM, FLAGS

collect_ignore_glob = [] if os.environ.get("UI") else ["test_*.py"]


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One driver for all tests of the process: a second one cannot start beside it."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    expect.set_options(timeout=60_000)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


@dataclass
class Seen:
    """A page, and what went wrong in it or was asked for from elsewhere."""

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    """A page that must not say anything bad; tests that expect something clear it away."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    seen = Seen(context.new_page())
    yield seen
    context.close()
    assert seen.faults == []


@pytest.fixture
def page(seen: Seen) -> Page:
    return seen.page


@pytest.fixture(scope="session")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of a solve by the bundled model: three candidates."""
    file = tmp_path_factory.mktemp("trace") / "solve.jsonl"
    problem = "Using the numbers 19, 36, 55 and 7, each once, make 65"
    options = ["--policy", "best_of_k", "--k", "3", "--seed", "1", "--trace", str(file)]
    command = [sys.executable, "-m", "espalier.solver.cli.main", "solve", problem, *options]
    subprocess.run(command, check=False, capture_output=True, timeout=600)
    return file


@pytest.fixture(scope="session")
def opened(trace: Path) -> Path:
    """The page of that trace, made by the command."""
    subprocess.run(
        [sys.executable, "-m", "espalier.solver.cli.main", "trace", "view", str(trace)], check=True, timeout=300
    )
    return trace.with_suffix(".html")
