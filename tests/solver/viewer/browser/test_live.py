"""The pages of a running server: a solve followed to its end, a dead job revived, a run that grows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from espalier.solver.batch.connection import connect
from espalier.solver.batch.handler import JobRefusedError
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import NoWork, ended, working
from tests.solver.viewer.browser.conftest import Seen
from tests.solver.viewer.browser.running import beside, serving

TOKEN = "a-token-for-the-pages"  # noqa: S105
PROBLEM = "Using the numbers 19, 36, 55 and 7, each once, make 65"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for run, reward in (("papo", 0.75), ("dapo", 0.25)):
        (folder / run).mkdir()
        records = [
            {
                "step": step,
                "reward": reward * step / 3,
                "accuracy": 0.1 * step,
                "accuracy_by_task": {"gcd": 0.2 * step, "countdown": 0.1},
                "well_formed": 0.9,
                "parallel": 0.8,
                "mismatch_kl": 0.001,
                "seconds_generate": 2.0,
                "seconds_train": 1.0,
            }
            for step in (1, 2, 3)
        ]
        (folder / run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def pages(server: RedisServer, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "token").write_text(TOKEN)
    options = ("--redis", server.url, "--runs", str(runs), "--token-file", str(folder / "token"))
    with serving(folder, *options) as address:
        yield address


@pytest.fixture
def known(page: Page, pages: str) -> Page:
    """A page that has been given the token."""
    page.add_init_script(f"sessionStorage.setItem('espalier-token', '{TOKEN}')")
    page.goto(pages)
    return page


def test_the_page_asks_for_the_token_and_takes_no_other(seen: Seen, pages: str) -> None:
    page = seen.page
    page.goto(pages)
    for token, heading in (("wrong-token-of-some-length", "This server asks for a token"), (TOKEN, "Solves")):
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Solves")).to_be_visible()
    assert all("401" in fault for fault in seen.faults), seen.faults
    seen.faults.clear()


def test_a_solve_is_followed_to_its_end_also_over_a_reload(known: Page) -> None:
    known.get_by_label("Problem").fill(PROBLEM)
    known.get_by_label("Candidates").fill("2")
    known.get_by_label("Policy").select_option("best_of_k")
    known.get_by_role("button", name="Solve", exact=True).click()
    expect(known.get_by_role("region", name="Summary")).to_contain_text("Solving…")
    expect(known.locator(".steps button, td.branches").first).not_to_have_text("0", timeout=60_000)
    known.reload()
    expect(known.get_by_role("status")).to_contain_text("ended", timeout=60_000)
    summary = known.get_by_role("region", name="Summary")
    expect(summary).to_contain_text("2candidates")
    expect(summary).to_contain_text("parallel speed-up")
    expect(known.locator("td.tokens").first).to_have_text(re.compile(r"^[1-9]\d+$"))
    known.get_by_role("link", name="Solves", exact=True).click()
    listed = known.get_by_role("region", name="Solves").get_by_role("listitem")
    expect(listed.filter(has_text="make 65").first).not_to_contain_text("solving")


def test_a_dead_letter_tells_why_and_is_revived_by_its_button(known: Page, server: RedisServer) -> None:
    async def refuse(_: pb.Job) -> None:
        raise JobRefusedError("</script> no worker can do this")

    async def work(how: NoWork) -> str:
        async with connect(server.url) as redis, working(server, how):
            submitted = await JobQueue(redis).submit([common_pb2.Problem(text="What is 1 + 1?")], key="monday")
            await ended(redis, submitted.job_ids[0])
            return submitted.job_ids[0]

    known.get_by_role("link", name="Queue").click()
    expect(known.get_by_role("region", name="Workers")).to_contain_text("No worker")
    job = beside(work(NoWork(before=refuse)))
    dead = known.get_by_role("region", name="Given up")
    expect(dead).to_contain_text("</script> no worker can do this")
    expect(dead).to_contain_text("What is 1 + 1?")
    expect(known.get_by_role("region", name="Batches")).to_contain_text("1 of 1, 1 given up")
    known.get_by_role("button", name=f"Retry {job}").click()
    expect(dead).to_have_count(0)
    line = known.get_by_role("region", name="Jobs").get_by_role("row").filter(has_text=job)
    expect(line).to_contain_text("queued")
    beside(work(NoWork()))
    expect(line).to_contain_text("done")
    line.get_by_role("link").click()
    expect(known.locator("main")).to_contain_text(job)  # no worker solved it, so there is nothing else to show


@pytest.mark.parametrize(("page_of", "said"), [("job", "none"), ("solve", "there is no such solve")])
def test_what_is_not_there_is_said_to_be(seen: Seen, known: Page, page_of: str, said: str) -> None:
    known.get_by_role("link", name="Queue").wait_for()
    known.evaluate(f"location.hash = '#/{page_of}/none'")
    expect(known.locator(".notice")).to_contain_text(said)
    assert all("404" in fault for fault in seen.faults), seen.faults
    seen.faults.clear()


def test_runs_are_compared_and_grow_while_one_looks(known: Page, runs: Path) -> None:
    known.get_by_role("link", name="Training").click()
    for name in ("papo", "dapo"):
        known.get_by_label(name).set_checked(True, force=True)
    reward = known.get_by_role("region", name="Reward")
    expect(reward).to_contain_text("papo0.75")
    expect(reward).to_contain_text("dapo0.25")
    titles = ("Accuracy", "Accuracy by task", "Well-formed and parallel", "Step time by phase")
    for title in (*titles, "Engine and trainer apart: mismatch kl"):
        expect(known.get_by_role("region", name=title, exact=True)).to_be_visible()
    with (runs / "papo/metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "reward": 0.875}\n')
    expect(reward).to_contain_text("papo0.875")


@pytest.mark.parametrize("name", ["Solves", "Queue", "Training"])
def test_live_pages_fit_a_small_screen(known: Page, name: str) -> None:
    known.set_viewport_size({"width": 400, "height": 800})
    known.get_by_role("link", name=name).click()
    expect(known.locator("main .card").first).to_be_visible()
    known.wait_for_timeout(300)
    assert known.evaluate("document.scrollingElement.scrollWidth") <= 400
    heads = [head.bounding_box() for head in known.locator("thead th").all()]
    assert all(box["height"] < 40 for box in heads if box), "no word is broken"
