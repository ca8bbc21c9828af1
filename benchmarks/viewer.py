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
    budget = {"candidates": candidates, "tokens": None, "seconds": None, "rounds": None}
    text = "Using the numbers 19, 36, 55 and 7, each once, make 65"
    yield {
        "at": 0.0,
        "event": "accepted",
        "text": text,
        "check": None,
        "policy": "best_of_k",
        "budget": budget,
        "seed": 1,
    }
    judged = []
    for index in range(candidates):
        yield from _candidate(index, tokens, draw)
        answer = str(draw.choice([65, 64, 63, 66, 12]))
        status = "pass" if index == candidates // 2 else "fail"
        evidence = [
            {"rule": "parse", "detail": f"claim {answer}"},
            {"rule": "constraint", "detail": f"65 is not {answer}"},
        ]
        verdict = {"status": status, "score": 0.0, "decided_by": "constraints", "evidence": evidence, "feedback": "no"}
        said = {"path": [], "answer": answer, "verdict": verdict, "repeated": False}
        yield {"at": 9.0, "event": "answer_judged", "candidate": index, **said}
        usage = {
            "prompt_tokens": 40,
            "sampled_tokens": tokens,
            "forced_tokens": 20,
            "critical_path_tokens": tokens // 3,
        }
        shared = {
            "answer": answer,
            "answer_class": None,
            "reason": "stop",
            "usage": usage,
            "seconds": 9.0,
            "detail": "",
        }
        candidate = {"spec": {"index": index}, "text": "", **shared, "forked": True, "well_formed": True}
        judged.append({"at": 9.1, "event": "candidate_finished", "candidate": candidate, "verdict": verdict})
    yield from judged
    names = ("new", "forced", "accepted", "failed", "aborted", "critical_path")
    usage = {f"{name}_tokens": candidates * tokens for name in names} | {"parallel_speedup": 3.0, "seconds": 9.2}
    result = {
        "answer": "65",
        "verified": True,
        "decided_by": "check",
        "reason": "satisfied",
        "candidate": candidates // 2,
    }
    yield {"at": 9.2, "event": "solved", "result": {**result, "stopped": "passed", "usage": usage}}


def _candidate(index: int, tokens: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    spec = {
        "index": index,
        "round": 0,
        "seed": index,
        "temperature": 1.0,
        "max_tokens": None,
        "hint": "",
        "repair": None,
    }
    yield {"at": 0.0, "event": "candidate_started", "spec": spec, "question": "?", "prompt": [1] * 40}
    each = tokens // (STEPS + 2)
    fork = each * 0.015 + draw.random() / 4
    yield from _tokens(index, [], 0.01, each, 40)
    for step in range(1, STEPS + 1):
        path = [[0, step]]
        yield {
            "at": fork,
            "event": "branch_opened",
            "candidate": index,
            "path": path,
            "text": f"{step}: end with +{step}",
        }
        length = draw.randint(each // 2, each)
        yield from _tokens(index, path, fork, length, 40 + each)
        yield {"at": fork + length * 0.015, "event": "branch_closed", "candidate": index, "path": path, "cut": False}
    join = fork + each * 0.015
    yield {"at": join, "event": "joined", "candidate": index, "path": [], "block": 0}
    yield from _tokens(index, [], join, each, 40 + 2 * each)


def _tokens(index: int, path: list[list[int]], start: float, count: int, position: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        one = {"tokens": [7], "logprobs": [-0.1], "forced": [False], "positions": [position + number], "text": " 36-7"}
        yield {"at": start + 0.015 * number, "event": "tokens", "candidate": index, "path": path, **one}


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
    lines = [json.dumps({"problem": "p", **entry}) for entry in trace(candidates, tokens)]
    count = sum('"event": "tokens"' in line for line in lines)
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
