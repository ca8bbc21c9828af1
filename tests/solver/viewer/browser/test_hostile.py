"""Whatever a model writes is text: it runs nothing, links nowhere, loads nothing, and is shown as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from espalier.solver.viewer.page import traces_page
from espalier.verifiers.verdict import Evidence, Status, Verdict
from tests.solver.scripted import response
from tests.solver.viewer.browser.conftest import Seen
from tests.solver.viewer.browser.running import beside
from tests.solver.viewer.tracing import traced

PWN = "window.pwned=1"

TEXTS = [
    f"<script>{PWN}</script>",
    f"</script><script>{PWN}</script><!--",
    f"<!--<script>{PWN}//",
    f'<img src=x onerror="{PWN}"><svg onload="{PWN}">',
    f"[click](javascript:{PWN}) javascript:{PWN}",
    f'"><iframe srcdoc="<script>parent.{PWN}</script>"></iframe>',
    f"$\\href{{javascript:{PWN}}}{{x}}$ and $\\includegraphics{{https://evil.example/x.png}}$",
    f"$\\htmlStyle{{color:red}}{{x}}\\htmlData{{onclick={PWN}}}{{y}}$",
    "$\\def\\a{\\a\\a}\\a$ $\\unknown{$ \\boxed{\\rule{999em}{999em}}",
    f"```python\n</code><script>{PWN}</script>\n```",
    f"```<script>{PWN}</script>\nx\n```",
    "\u202eright to left\u202c \u0000 \ufeff \U0001f600" + "\u0301" * 500 + "\U000e0041" * 100,
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} &lt;b&gt;",
    "w" * 1000,
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solve whose problem, plans, texts, answers and evidence are all hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    answers = [f"</script><script>{PWN}</script>{number}" for number in range(len(TEXTS))]
    failed = {"passed": False, "reason": f"<b>{PWN}</b>", "input": TEXTS[0], "expected": TEXTS[1], "got": TEXTS[3]}
    evidence = (Evidence("case 1", json.dumps(failed)), Evidence("<i>rule</i>", TEXTS[3]))
    verdict = Verdict(Status.FAIL, 0.0, "<b>hostile</b>", evidence, TEXTS[1])
    responses = [
        response(f"so {text}", f"{text}\n\\boxed{{{answer}}}", takeaway=text, answer=f"\\boxed{{{answer}}}")
        for text, answer in zip(TEXTS, answers, strict=True)
    ]
    verdicts = dict.fromkeys(answers, verdict)
    beside(traced(folder / "t.jsonl", *responses, text=f"What is {TEXTS[1]}?", verdicts=verdicts))
    lines = (folder / "t.jsonl").read_text()
    (folder / "t.jsonl").write_text(lines.replace('"plan 1"', json.dumps(TEXTS[3])))
    (folder / "t.html").write_text(traces_page([folder / "t.jsonl"]), encoding="utf-8")
    return folder / "t.html"


def test_hostile_text_stays_text(seen: Seen, hostile: Path) -> None:
    page = seen.page
    page.goto(hostile.as_uri())
    expect(page.get_by_role("region", name="Summary")).to_contain_text(TEXTS[1])
    detail = page.get_by_role("complementary", name="Details")
    for number, text in enumerate(TEXTS):
        page.get_by_role("button", name=f"Details of candidate {number}", exact=True).click()
        expect(detail.get_by_role("heading", level=2)).to_contain_text(f"Candidate {number}")
        detail.get_by_label("as written").check()
        assert text in (detail.locator(".raw").first.text_content() or "")
        detail.get_by_label("as written").uncheck()
        detail.locator(".steps button").first.click()
        expect(detail.get_by_role("heading", level=2)).to_contain_text("step 1")
    assert page.evaluate("window.pwned") is None
    assert page.locator("script").count() == 2
    assert page.locator("img, iframe, object, embed, link, #app a:not(.brand), [onclick], [onerror]").count() == 0
    assert seen.requests == [hostile.as_uri()]


def test_a_failed_case_shows_input_expected_and_got(seen: Seen, hostile: Path) -> None:
    seen.page.goto(hostile.as_uri())
    seen.page.get_by_role("button", name="Details of candidate 0", exact=True).click()
    case = seen.page.locator(".case.fail").first
    expect(case).to_have_attribute("open", "")
    for name, text in (("Input", TEXTS[0]), ("Expected", TEXTS[1]), ("Got", TEXTS[3])):
        expect(case.locator(".side", has_text=name).first).to_contain_text(text)
