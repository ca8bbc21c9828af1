"""A page of another site, in a real browser on the machine of a server without a token, starts and reads nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Playwright

from tests.solver.viewer.browser.running import CHROMIUM, FLAGS, serving

BODY = json.dumps({"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "k": 1})

FORGE = """async ([url, body, kind, mode]) => {
  const init = body === null ? {mode} : {method: "POST", mode, headers: {"Content-Type": kind}, body};
  try { const reply = await fetch(url, init); return [reply.type, reply.status, await reply.text()]; }
  catch (error) { return ["error", 0, String(error)]; }
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("served")) as address:
        yield address.removesuffix("/ui/")


@contextmanager
def other_site() -> Iterator[int]:
    """An empty page on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def solves(address: str) -> list[Any]:
    with urlopen(f"{address}/ui/api/solves") as reply:  # noqa: S310 (ours)
        listed: list[Any] = json.load(reply)["solves"]
    return listed


def ask(playwright: Playwright, page_url: str, *tries: list[Any], flags: tuple[str, ...] = ()) -> list[list[Any]]:
    """What a script of this page gets."""
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
    page = browser.new_page()
    page.goto(page_url)
    got = [page.evaluate(FORGE, one) for one in tries]
    browser.close()
    return got


def test_a_forged_request_starts_no_solve(playwright: Playwright, address: str) -> None:
    url = f"{address}/v1/chat/completions"
    with other_site() as port:
        got = ask(
            playwright,
            f"http://localhost:{port}/",
            [url, BODY, "text/plain", "no-cors"],
            [url, BODY, "application/json", "cors"],
            [f"{address}/v1/models", None, "", "cors"],
        )
    assert [kind for kind, _, _ in got] == ["opaque", "error", "error"]
    assert solves(address) == []


def test_a_name_that_is_pointed_at_this_machine_reads_nothing(playwright: Playwright, address: str) -> None:
    port = address.rpartition(":")[2]
    rebound = f"http://evil.example:{port}"
    got = ask(
        playwright,
        f"{rebound}/ui/",
        [f"{rebound}/v1/models", None, "", "cors"],
        [f"{rebound}/v1/chat/completions", BODY, "application/json", "cors"],
        [f"{rebound}/ui/api/solves", None, "", "cors"],
        flags=("--host-resolver-rules=MAP evil.example 127.0.0.1",),
    )
    assert [(status, json.loads(text)["error"]["code"]) for _, status, text in got] == [(403, "wrong_host")] * 3
    assert solves(address) == []


def test_our_own_page_may_ask(playwright: Playwright, address: str) -> None:
    ((_, status, text),) = ask(
        playwright, f"{address}/ui/", [f"{address}/v1/chat/completions", BODY, "application/json", "cors"]
    )
    assert status == 200, text
    assert len(solves(address)) == 1
