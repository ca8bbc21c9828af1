"""The page of a recorded solve: opened from disk, read with mouse and keyboard, on any screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from espalier.solver.trace.reader import path_of
from tests.solver.viewer.browser.conftest import Seen

Entries = list[dict[str, Any]]


@pytest.fixture
def told(trace: Path) -> Entries:
    return [json.loads(line) for line in trace.read_text().splitlines()]


def result(told: Entries) -> dict[str, Any]:
    last: dict[str, Any] = told[-1]["solved"]
    return last


def new_tokens(usage: dict[str, int]) -> int:
    return usage["sampled_tokens"] + usage["forced_tokens"]


def test_the_summary_says_how_it_was_solved_and_what_it_cost(page: Page, opened: Path, told: Entries) -> None:
    page.goto(opened.as_uri())
    summary = page.get_by_role("region", name="Summary")
    solved = result(told)
    expect(summary).to_contain_text("Using the numbers 19, 36, 55 and 7")
    expect(summary).to_contain_text(solved.get("answer", "Unsolved"))
    expect(summary).to_contain_text("verified" if solved["outcome"] == "OUTCOME_VERIFIED" else "unsolved")
    tokens = sum(new_tokens(solved["spent"][fate]) for fate in ("accepted", "failed", "aborted"))
    expect(summary).to_contain_text(f"{tokens / solved['spent']['critical_path_tokens']:.1f}\u00d7")
    expect(summary).to_contain_text(f"{tokens:,}")
    answers = {candidate.get("answer") for candidate in solved["candidates"]} - {None}
    votes = page.get_by_role("figure", name="Answers by votes").get_by_role("listitem")
    expect(votes).to_have_count(len(answers))


def test_the_page_loads_nothing_and_its_policy_holds(seen: Seen, opened: Path) -> None:
    seen.page.goto(opened.as_uri())
    expect(seen.page.get_by_role("heading", name="Timeline")).to_be_visible()
    assert seen.requests == [opened.as_uri()]
    with pytest.raises(Exception, match=r"Content Security Policy|unsafe-eval|Failed to fetch"):
        seen.page.evaluate("fetch('https://example.org')")
    seen.faults.clear()


def test_a_branch_opens_from_the_table_and_shows_text_verdict_and_evidence(
    page: Page, opened: Path, told: Entries
) -> None:
    page.goto(opened.as_uri())
    judged = next(line["answer_judged"] for line in told if "answer_judged" in line)
    index, path = judged["candidate"], path_of(judged)[:1]
    page.get_by_role("button", name=f"Details of candidate {index}", exact=True).click()
    detail = page.get_by_role("complementary", name="Details")
    items = detail.locator(".steps button")
    opened_branches = [line["branch_opened"] for line in told if "branch_opened" in line]
    forked = [path_of(branch) for branch in opened_branches if branch["candidate"] == index]
    steps = sorted(place for place in forked if len(place) == 1)
    expect(items).to_have_count(len(steps))
    if path:
        items.nth(steps.index(path)).click()
        expect(detail.get_by_role("heading", level=2)).to_contain_text("step")
    expect(detail.locator(".verdict").first).to_contain_text(
        judged["verdict"]["status"].removeprefix("STATUS_").lower()
    )
    for evidence in judged["verdict"]["evidence"]:
        expect(detail.locator(".evidence").first).to_contain_text(evidence["detail"])
    deltas = [line["delta"] for line in told if "delta" in line]
    own = [delta for delta in deltas if (delta["candidate"], path_of(delta)) == (index, path)]
    expect(detail).not_to_contain_text("<step>")
    detail.get_by_label("as written").check()
    assert detail.locator(".raw").first.text_content() == "".join(line["text"] for line in own)
    expect(detail).to_contain_text(f"{own[0]['positions'][0]} \u2013 {own[-1]['positions'][-1]}")


def test_everything_can_be_reached_with_the_keyboard(page: Page, opened: Path, told: Entries) -> None:
    page.goto(opened.as_uri())
    picture = page.get_by_role("listbox")
    for _ in range(40):
        page.keyboard.press("Tab")
        if picture.evaluate("element => element === document.activeElement"):
            break
    expect(picture).to_be_focused()
    page.keyboard.press("ArrowDown")
    lane = page.get_by_role("option")
    expect(lane).to_contain_text("Candidate 0, response")
    page.keyboard.press("ArrowDown")
    expect(lane).to_contain_text("Candidate 0, step 1")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    expect(lane).to_contain_text("Candidate 1, response")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    detail = page.get_by_role("complementary", name="Details")
    expect(detail.get_by_role("heading", level=2)).to_be_focused()
    expect(detail).to_contain_text("step 1")
    page.keyboard.press("Escape")
    expect(detail).to_have_count(0)
    expect(picture).to_be_focused()


@pytest.mark.parametrize(("width", "height", "larger"), [(400, 800, 1.0), (1280, 900, 1.0), (3840, 2160, 1.4)])
def test_a_click_on_a_lane_shows_it_and_hovering_tells_what_it_is(
    page: Page, opened: Path, width: int, height: int, larger: float
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(opened.as_uri())
    page.locator("canvas").scroll_into_view_if_needed()
    box = page.locator("canvas").bounding_box()
    assert box is not None
    axis, gap, lane, step = 28 * larger, 6 * larger, 26 * larger, 22 * larger
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + axis + gap + lane / 2)
    tip = page.locator(".tip")
    expect(tip).to_contain_text("Candidate 0")
    told = tip.bounding_box()
    assert told is not None
    assert told["y"] > box["y"] + axis + gap + lane / 2, "it does not lie under the pointer"
    assert 0 <= told["x"] <= told["x"] + told["width"] <= width
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + axis + gap + lane + step / 2)
    expect(page.get_by_role("complementary", name="Details")).to_contain_text("step 1")


def test_the_table_sorts_and_filters(page: Page, opened: Path, told: Entries) -> None:
    page.goto(opened.as_uri())
    table = page.get_by_role("region", name="Candidates").last
    by_tokens = sorted(result(told)["candidates"], key=lambda candidate: -new_tokens(candidate["usage"]))
    table.get_by_role("button", name="Tokens").click()
    shown = table.locator("tbody tr:not([aria-hidden]) td.index").all_text_contents()
    assert shown == [str(candidate["spec"]["index"]) for candidate in by_tokens]
    chip = table.locator(".chip").first
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    count = int(chip.locator(".count").inner_text())
    expect(table.locator("tbody tr:not([aria-hidden])")).to_have_count(count)


@pytest.mark.parametrize(("width", "height"), [(400, 800), (3840, 2160)])
def test_it_fits_small_and_large_screens(page: Page, opened: Path, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(opened.as_uri())
    page.get_by_role("button", name="Details of candidate 0", exact=True).click()
    detail = page.get_by_role("complementary", name="Details")
    expect(detail).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    cut = "element => element.scrollWidth > element.clientWidth"
    assert not detail.locator(".body").evaluate(cut), "nothing of the details is cut off"
    answer = page.locator("td.answer").first.bounding_box()
    assert answer is not None
    assert answer["width"] >= 100, "there is room for an answer"


def test_the_theme_follows_the_system_until_it_is_chosen(page: Page, opened: Path) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(opened.as_uri())
    body = page.locator("body")
    expect(body).to_have_css("background-color", "rgb(16, 20, 18)")
    page.get_by_role("button", name="Theme").click()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    expect(body).to_have_css("background-color", "rgb(246, 246, 243)")
