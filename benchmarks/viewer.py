"""How long a page of a large solve takes to make, to load and to scroll, in Chromium.

    python -m benchmarks.viewer [--candidates 1000] [--tokens 600]

The trace has the shape of real ones (a guideline, four steps, a takeaway; verdicts with evidence), with made-up text.
The picture's peer is the same page with 10 candidates: what is left there is the cost of the page itself.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from espalier.solver.viewer.page import traces_page

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
STEPS = 4
RUNS = 3
FRAMES = 120
FRAME_MS = 1000 / 60


def trace(candidates: int, tokens: int) -> Iterator[dict[str, Any]]:
    """Lines of a trace: all candidates side by side, a token of each branch every 15 ms."""
    draw = random.Random(0)
    problem = {"id": "p", "text": "Using the numbers 19, 36, 55 and 7, each once, make 65"}
    accepted = {"problem": problem, "policy": "best_of_k", "budget": {"candidates": candidates}, "seed": "1"}
    yield _event(0.0, "accepted", accepted)
    judged = []
    for index in range(candidates):
        yield from _candidate(index, tokens, draw)
        answer = str(draw.choice([65, 64, 63, 66, 12]))
        status = "STATUS_PASS" if index == candidates // 2 else "STATUS_FAIL"
        evidence = [
            {"rule": "parse", "detail": f"claim {answer}"},
            {"rule": "constraint", "detail": f"65 is not {answer}"},
        ]
        verdict = {"status": status, "score": 0.0, "decided_by": "constraints", "evidence": evidence, "feedback": "no"}
        said = {"candidate": index, "path": {"turns": []}, "answer": answer, "verdict": verdict}
        yield _event(9.0, "answer_judged", {**said, "already_judged": False})
        candidate = {
            "spec": _spec(index),
            "text": "",
            "answer": answer,
            "branch_answers": [],
            "finish_reason": "stop",
            "detail": "",
            "usage": _usage(tokens),
            "verdict": verdict,
            "well_formed": True,
            "forked": True,
            "seconds": 9.0,
        }
        judged.append(_event(9.1, "candidate_finished", {"candidate": candidate}))
    yield from judged
    fates = {fate: _usage(candidates * tokens) for fate in ("accepted", "failed", "aborted")}
    result = {
        "outcome": "OUTCOME_VERIFIED",
        "answer": "65",
        "decided_by": "DECIDED_BY_CHECK",
        "reason": "satisfied",
        "candidate": candidates // 2,
        "stopped": "passed",
        "candidates": [],
        "spent": {**fates, "critical_path_tokens": candidates * tokens, "seconds": 9.2},
        "seed": "1",
    }
    yield _event(9.2, "solved", result)


def _event(seconds: float, kind: str, told: dict[str, Any]) -> dict[str, Any]:
    return {"seconds": seconds, "solve_id": "s", kind: told}


def _spec(index: int) -> dict[str, Any]:
    return {"index": index, "round": 0, "seed": index, "temperature": 1.0, "hint": ""}


def _usage(tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": 40,
        "sampled_tokens": tokens,
        "forced_tokens": 20,
        "critical_path_tokens": tokens // 3,
    }


def _candidate(index: int, tokens: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    yield _event(0.0, "candidate_started", {"spec": _spec(index), "question": "?", "prompt": [1] * 40})
    each = tokens // (STEPS + 2)
    fork = each * 0.015 + draw.random() / 4
    yield from _tokens(index, [], 0.01, each, 40)
    for step in range(1, STEPS + 1):
        path = [{"block": 0, "step": step}]
        place = {"candidate": index, "path": {"turns": path}}
        yield _event(fork, "branch_opened", {**place, "plan": f"{step}: end with +{step}", "plan_tokens": []})
        length = draw.randint(each // 2, each)
        yield from _tokens(index, path, fork, length, 40 + each)
        yield _event(fork + length * 0.015, "branch_closed", {**place, "cut": False})
    join = fork + each * 0.015
    yield _event(join, "joined", {"candidate": index, "path": {"turns": []}, "block": 0})
    yield from _tokens(index, [], join, each, 40 + 2 * each)


def _tokens(
    index: int, turns: list[dict[str, int]], start: float, count: int, position: int
) -> Iterator[dict[str, Any]]:
    for number in range(count):
        one = {"token_ids": [7], "logprobs": [-0.1], "forced": [False], "positions": [position + number]}
        place = {"candidate": index, "path": {"turns": turns}}
        yield _event(start + 0.015 * number, "delta", {**place, "text": " 36-7", **one})


def measure(browser: Browser, page_file: Path) -> dict[str, float]:
    """Milliseconds to the first painted picture, longest task while scrolling, frames that came late."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    began = time.perf_counter()
    page.goto(page_file.as_uri(), wait_until="commit")
    page.wait_for_selector(".picture canvas")
    page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    load = 1000 * (time.perf_counter() - began)
    gaps: list[float] = page.evaluate(
        """frames => new Promise(done => {
          const frame = document.querySelector('.picture .frame');
          const gaps = [];
          let last = performance.now();
          const step = now => {
            gaps.push(now - last);
            last = now;
            frame.scrollTop += 150;
            if (gaps.length < frames) requestAnimationFrame(step); else done(gaps.slice(1));
          };
          requestAnimationFrame(step);
        })""",
        FRAMES,
    )
    nodes = page.evaluate("document.querySelectorAll('*').length")
    page.close()
    late = sum(gap > 2 * FRAME_MS for gap in gaps) / len(gaps)
    return {"load": load, "median": statistics.median(gaps), "worst": max(gaps), "late": 100 * late, "nodes": nodes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=600, help="of a candidate")
    options = parser.parse_args()
    print(
        "| candidates | tokens | trace | page | made in | loaded in | frame, median / worst | late frames | elements |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for candidates in (10, options.candidates):
            print(_row(browser, Path(name), candidates, options.tokens), flush=True)
        browser.close()


def _row(browser: Browser, folder: Path, candidates: int, tokens: int) -> str:
    lines = [json.dumps(entry) for entry in trace(candidates, tokens)]
    count = sum('"delta": ' in line for line in lines)
    (folder / "t.jsonl").write_text("\n".join(lines))
    began = time.perf_counter()
    (folder / "t.html").write_text(traces_page([folder / "t.jsonl"]), encoding="utf-8")
    made = time.perf_counter() - began
    runs = [measure(browser, folder / "t.html") for _ in range(RUNS)]
    seen = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    sizes = [(folder / f"t.{kind}").stat().st_size / 1e6 for kind in ("jsonl", "html")]
    return (
        f"| {candidates} | {count:,} | {sizes[0]:.1f} MB | {sizes[1]:.1f} MB | {made:.1f} s | {seen['load']:.0f} ms "
        f"| {seen['median']:.1f} / {seen['worst']:.0f} ms | {seen['late']:.0f} % | {seen['nodes']:.0f} |"
    )


if __name__ == "__main__":
    main()
