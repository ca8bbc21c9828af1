#!/usr/bin/env python3
"""Draws the pictures of the documentation into docs/images; layout and policies from the code itself.

.venv/bin/python scripts/docs_figures.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from espalier.runtime.layout import Layout, LayoutBuilder, dense_mask, pack
from espalier.solver.core.policies import POLICIES, policy
from espalier.solver.core.policy import Outcome
from espalier.verifiers.verdict import Status

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

INK, SOFT, LINE, PAPER = "#243027", "#5b6b60", "#b9c7bd", "#fbfdfb"
TRUNK = "#2f6f4f"
STEPS = ("#3b82c4", "#c2703d", "#8a5bb0")
GOOD, BAD, UNSURE, BROKEN = "#2f8f4e", "#c0483f", "#8b8f8c", "#c79a1e"


class Drawing:
    """An SVG picture on paper, so that it reads on light and dark pages."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size = width, height
        self._title = title
        self._parts: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, *, stroke: str = "none", r: int = 4
    ) -> None:
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{r}" fill="{fill}" '
            f'stroke="{stroke}"/>'
        )

    def text(self, x: float, y: float, text: str, *, fill: str = INK, size: int = 13, anchor: str = "start") -> None:
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{fill}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def line(
        self, points: Iterable[tuple[float, float]], colour: str = SOFT, width: float = 2, *, arrow: bool = False
    ) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-linejoin="round"{end}/>'
        )

    def save(self, name: str) -> None:
        width, height = self._size
        arrow = (
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{SOFT}"/></marker></defs>'
        )
        body = "\n".join(self._parts)
        (IMAGES / name).write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="system-ui, sans-serif"><title>{escape(self._title)}</title>{arrow}\n'
            f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>\n{body}\n</svg>\n',
            encoding="utf-8",
        )


def fork_join() -> None:
    """One response over time."""
    draw = Drawing(760, 250, "A response forks into steps, which are decoded side by side, and joins again")
    draw.text(20, 28, "time: one decoding step of the engine after the other →", fill=SOFT)
    draw.box(20, 106, 150, 34, TRUNK)
    draw.text(95, 128, "<guideline> 3 plans", fill="white", anchor="middle")
    lengths = (225, 262, 198)
    for number, (colour, length) in enumerate(zip(STEPS, lengths, strict=True)):
        y = 50 + 56 * number
        draw.line([(170, 123), (190, 123), (200, y + 17), (210, y + 17)])
        draw.box(210, y, length, 34, colour)
        draw.text(220, y + 22, f"<step> {number + 1}: plan {number + 1} worked out", fill="white", size=12)
        draw.line(
            [(210 + length, y + 17), (520, y + 17), (535, 123), (550, 123)], LINE if length < max(lengths) else SOFT
        )
        draw.text(216 + length, y + 10, ("64 ✗", "65 ✓", "65 ✓")[number], fill=SOFT, size=12)
    draw.box(550, 106, 190, 34, TRUNK)
    draw.text(645, 128, "<takeaway> … answer", fill="white", anchor="middle")
    draw.text(
        20,
        232,
        "Critical path: guideline + longest step + takeaway. The other steps cost no time of their own.",
        fill=SOFT,
    )
    draw.save("fork-join.svg")


def example() -> Layout:
    """A prompt of 2, a guideline of 2, steps of 3, 4 and 2 tokens, a takeaway of 3."""
    builder = LayoutBuilder()
    builder.text(4)
    builder.fork()
    for length in (3, 4, 2):
        builder.open()
        builder.text(length)
        builder.close()
    builder.join()
    builder.text(3)
    return builder.layout()


def layout() -> None:
    """Visibility and positions, as runtime/espalier/runtime/layout.py says them."""
    found = example()
    mask = dense_mask(pack([found]))
    count, cell, left, top = len(found), 24, 190, 84
    colours = [TRUNK, *STEPS]
    draw = Drawing(
        left + count * cell + 220, top + count * cell + 24, "Which token sees which, and where each one stands"
    )
    draw.text(left, 24, "token seen →   (top row: its position)", fill=SOFT)
    names = ["prompt and guideline", "step 1", "step 2", "step 3"]
    for index in range(count):
        colour = colours[found.branch[index]]
        x, y = left + index * cell, top + index * cell
        draw.box(x + 1, top - 46, cell - 2, cell - 2, colour, r=3)
        draw.text(x + cell / 2, top - 30, str(found.positions[index]), fill="white", size=12, anchor="middle")
        draw.box(left - 30, y + 1, cell - 2, cell - 2, colour, r=3)
        for seen in range(count):
            shown = colours[found.branch[seen]] if mask[index, seen] else "#eef2ef"
            draw.box(left + seen * cell + 1, y + 1, cell - 2, cell - 2, shown, r=2)
        first = index == 0 or found.branch[index] != found.branch[index - 1]
        if first:
            name = names[found.branch[index]] if index < count - 3 else "takeaway"
            draw.text(left - 38, y + 17, name, anchor="end", fill=SOFT, size=12)
    side = left + count * cell + 16
    for row, text in enumerate(
        (
            "Each row is a token, each",
            "coloured cell one that it sees.",
            "",
            "Steps do not see each other.",
            "All start at position 4.",
            "The takeaway sees everything",
            "and stands behind the",
            "longest step: at position 8.",
        )
    ):
        draw.text(side, top + 20 + 20 * row, text, size=12)
    draw.save("layout.svg")


def verdicts() -> None:
    """From an answer to a verdict."""
    draw = Drawing(760, 250, "How an answer gets one of four verdicts")
    draw.box(20, 98, 130, 50, "white", stroke=LINE)
    draw.text(85, 120, "answer", anchor="middle")
    draw.text(85, 138, "and the check", anchor="middle", fill=SOFT, size=12)
    draw.line([(150, 123), (196, 123)], arrow=True)
    draw.box(200, 88, 150, 70, TRUNK)
    draw.text(275, 118, "verifier", fill="white", anchor="middle")
    draw.text(275, 138, "math · programs · yours", fill="white", anchor="middle", size=11)
    rows = (
        ("PASS", GOOD, "it satisfies the check: the solve ends, losers are aborted"),
        ("FAIL", BAD, "it does not: no number of equal votes outweighs it"),
        ("UNKNOWN", UNSURE, "nothing could be checked: votes count"),
        ("ERROR", BROKEN, "the verifier failed: asked again, never a 0"),
    )
    for number, (name, colour, meaning) in enumerate(rows):
        y = 22 + 56 * number
        draw.line([(350, 123), (372, 123), (378, y + 18), (386, y + 18)], arrow=True)
        draw.box(390, y, 82, 36, colour)
        draw.text(431, y + 23, name, fill="white", anchor="middle", size=12)
        draw.text(482, y + 23, meaning.partition(":")[0], size=12)
        draw.text(482, y + 38, meaning.partition(":")[2].strip(), size=11, fill=SOFT)
    draw.save("verdicts.svg")


def rounds(name: str, k: int) -> Iterator[int]:
    """The sizes of a policy's rounds while every candidate fails."""
    past: tuple[Outcome, ...] = ()
    while (left := k - len(past)) and (size := policy(name).size(left, past)):
        yield size
        past += (Outcome(0, 0, 0, Status.FAIL, 0.0),) * size


def policies(k: int = 8) -> None:
    """The rounds of each policy, from the policies themselves."""
    draw = Drawing(760, 60 + 52 * len(POLICIES), f"Rounds of the policies with k = {k}")
    draw.text(20, 28, f"k = {k}: each box is a candidate, each group a round. After every round: enough?", fill=SOFT)
    for row, name in enumerate(POLICIES):
        y, x = 50 + 52 * row, 130.0
        draw.text(20, y + 21, name)
        for number, size in enumerate(rounds(name, k)):
            repaired = size // 2 if name == "refine" and number else 0
            for one in range(size):
                draw.box(x, y, 28, 32, STEPS[1] if one < repaired else STEPS[0])
                x += 32
            x += 40
            draw.text(x - 26, y + 21, "?", fill=SOFT)
    draw.text(130, 44 + 52 * len(POLICIES), "orange: repairs the best one so far", fill=SOFT, size=12)
    draw.save("policies.svg")


if __name__ == "__main__":
    fork_join()
    layout()
    verdicts()
    policies()
