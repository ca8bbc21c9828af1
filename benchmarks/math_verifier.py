# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Compare the math verifier with math-verify on the same strings: accuracy on rewritings, near misses and hard pairs,
and throughput.

    python benchmarks/math_verifier.py --benchmarks DIRECTORY [--pairs tests/verifiers/math_cases.jsonl] [--json FILE]

DIRECTORY holds JSON lines files with the fields `problem` and `answer`. Each gold answer is compared with itself, with
rewritings that mean the same, and with near misses that do not; both verifiers read `\\boxed{…}` around every string.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

from math_verify import parse, verify
from rich.console import Console
from rich.progress import track
from rich.table import Table

from espalier.verifiers.check import Claim, MathOptions, ReferenceCheck
from espalier.verifiers.math import MathVerifier, PoolLimits
from espalier.verifiers.verdict import Status

_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d+))")
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_UNIT = re.compile(r"^(?P<value>.+?)\s*(?P<unit>\^\\circ|\\(?:text|mbox)\{\s*[a-z]+\}(?:\^\d)?)$")


@dataclass(frozen=True, slots=True)
class Variants:
    """Strings that mean the same as a gold answer, and strings that do not."""

    same: tuple[str, ...]
    different: tuple[str, ...]


def variants(gold: str) -> Variants:
    """Rewrite a gold answer by its form; every form has at least five of each kind."""
    text = gold.replace(r"\left", "").replace(r"\right", "").strip()
    for rule in (_choice, _words, _matrix, _union, _collection, _equation, _quantity, _based, _list, _integer, _scalar):
        found = rule(text)
        if found is not None:
            same = tuple(dict.fromkeys(part for part in found.same if part != gold))
            different = tuple(dict.fromkeys(part for part in found.different if part != gold))
            return Variants(same, different)
    raise ValueError(f"no rule for {gold!r}")


def _choice(text: str) -> Variants | None:
    match = re.fullmatch(r"\\text\{\(([A-E])\)\}", text)
    if match is None:
        return None
    letter = match[1]
    others = tuple(f"({other})" for other in "ABCDEF" if other != letter)
    return Variants((letter, f"({letter})", rf"\textbf{{({letter})}}", rf"\mathrm{{({letter})}}", f"{letter}."), others)


def _words(text: str) -> Variants | None:
    match = re.fullmatch(r"\\text\{([A-Za-z]{2,})\}", text)
    if match is None:
        return None
    word = match[1]
    same = (word, rf"\textbf{{{word}}}", rf"\mathrm{{{word}}}", rf"\textit{{{word}}}", word.capitalize(), f"{word}.")
    return Variants(same, ("north", "odd", "hyperbola", "Maria", f"not {word}", word[::-1]))


def _matrix(text: str) -> Variants | None:
    match = _MATRIX.fullmatch(text)
    if match is None:
        return None
    rows = [[entry.strip() for entry in row.split("&")] for row in match[1].split(r"\\")]

    def written(name: str, change: Callable[[str], str], grid: Sequence[Sequence[str]] = rows) -> str:
        body = r" \\ ".join(" & ".join(change(entry) for entry in row) for row in grid)
        return rf"\begin{{{name}}} {body} \end{{{name}}}"

    def keep(entry: str) -> str:
        return entry

    same = (
        written("bmatrix", keep),
        written("pmatrix", lambda entry: f"{entry}+1-1"),
        written("pmatrix", lambda entry: rf"\frac{{2({entry})}}{{2}}"),
        r"\frac{1}{2}" + written("pmatrix", lambda entry: f"2({entry})"),
        "-" + written("pmatrix", lambda entry: f"-({entry})"),
    )
    bumped = [[f"{rows[0][0]}+1", *rows[0][1:]], *rows[1:]]
    different = (
        written("pmatrix", keep, bumped),
        written("pmatrix", keep, rows[:-1]),
        written("pmatrix", keep, [*rows, rows[0]]),
        "-" + written("pmatrix", keep),
        "2" + written("pmatrix", keep),
        written("pmatrix", keep, rows[::-1])
        if rows[::-1] != rows and len(rows[0]) == 1
        else written("pmatrix", keep, [[*row, "1"] for row in rows]),
    )
    return Variants(same, different)


def _ends(text: str) -> tuple[str, str, str] | None:
    for opening, closing in ((r"\{", r"\}"), ("(", ")"), ("(", "]"), ("[", ")"), ("[", "]")):
        if text.startswith(opening) and text.endswith(closing):
            return opening, text[len(opening) : -len(closing)], closing
    return None


def _split(text: str) -> list[str]:
    """The parts of a text between its commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def _bumped(text: str) -> str:
    return "0" if r"\infty" in text else f"{text}+1"


def _union(text: str) -> Variants | None:
    if r"\cup" not in text:
        return None
    pieces = [piece.strip() for piece in text.split(r"\cup")]
    plain = text.replace(r"\infty", "oo")
    ends = [_ends(piece) for piece in pieces]
    inequalities: list[str] = []
    for end in ends:
        assert end is not None
        low, high = _split(end[1])
        parts = ([] if "infty" in low else [low]) + ["x"] + ([] if "infty" in high else [high])
        inequalities.append(" < ".join(parts))
    same = (
        r" \cup ".join(reversed(pieces)),
        plain.replace(r"\cup", "∪"),
        plain.replace(r"\cup", "U"),
        r"x \in " + text,
        r" \text{ or } ".join(inequalities),
    )
    different = (
        pieces[0],
        pieces[1],
        r" \cup ".join([pieces[0], pieces[1][:-1] + "]" if "infty" not in pieces[1] else "[" + pieces[1][1:]]),
        r" \cap ".join(pieces),
        r" \cup ".join([pieces[0], "(1000, 1001)"]),
        r" \text{ and } ".join(inequalities),
    )
    return Variants(same, different)


def _collection(text: str) -> Variants | None:
    ends = _ends(text)
    prefix = ""
    if ends is None and text.startswith(r"x \in "):
        prefix, ends = r"x \in ", _ends(text.removeprefix(r"x \in ").strip())
    if ends is None:
        return None
    opening, body, closing = ends
    parts = _split(body)
    if len(parts) < 2:
        return None

    def written(items: Sequence[str], left: str = opening, right: str = closing) -> str:
        return f"{left}{', '.join(items)}{right}"

    finite = [part for part in parts if r"\infty" not in part and r"\pm" not in part]
    same = [
        prefix + rf"\left{opening} " + ", ".join(parts) + rf" \right{closing}",
        written([part.replace(r"\infty", "oo") for part in parts]),
        written([f"{part}+1-1" if part in finite else part for part in parts]),
        written([rf"\frac{{2({part})}}{{2}}" if part in finite else part for part in parts]),
        written([f"-(-({part}))" if part in finite else part for part in parts]),
        written([rf"\dfrac{{{part}}}{{1}}" if part in finite else part for part in parts]),
    ]
    different = [
        written([_bumped(parts[0]), *parts[1:]]),
        written([*parts[:-1], _bumped(parts[-1])]),
        written([*parts, "1234"]) if opening == r"\{" or len(parts) > 2 else written([*parts, parts[0]]),
        written([f"-({parts[0]})", *parts[1:]]) if parts[0] not in ("0",) else written(["7", *parts[1:]]),
        written([*parts[:-1], rf"{parts[-1]} + 10^{{-9}}" if "infty" not in parts[-1] else "10^9"]),
    ]
    if opening == r"\{":
        same.append(written(parts[::-1]))
        different.append(written(parts[:-1]))
    else:
        different.append(written(parts[::-1]))
        if opening != closing.translate(str.maketrans(")]", "([")) or "infty" in body:
            different.append(
                written(parts, "(" if opening == "[" else "[", closing)
                if "infty" not in parts[0]
                else written(parts, opening, ")" if closing == "]" else "]")
            )
    return Variants(tuple(same), tuple(different))


def _equation(text: str) -> Variants | None:
    if "=" not in text:
        return None
    left, right = (side.strip() for side in text.split("="))
    same = [f"{right} = {left}", f"{left} = {right} + 0", f"{left} = {right} + 1 - 1", f"{left} = -(-({right}))"]
    if re.fullmatch(r"[a-z]", left):
        same += [right, rf"{left} = \frac{{2({right})}}{{2}}"]
    if left == "y":
        same += [f"{left} - ({right}) = 0", f"2{left} = 2({right})", f"-{left} = -({right})"]
    if right == "0":
        same += [f"2({left}) = 0", f"-({left}) = 0"]
    different = [
        f"{left} = {right} + 1",
        f"{left} = {right} - 1",
        f"{left} + 3 = {right}",
        f"{left} = {right} + 10^{{-9}}",
    ]
    different += [f"{left} = 2({right}) + 5", f"{left}^2 = {right}" if right != "0" else f"{left} = x"]
    return Variants(tuple(same), tuple(different))


def _quantity(text: str) -> Variants | None:
    if text.startswith(r"\$"):
        value = text.removeprefix(r"\$").replace(r",\!", "")
        same = (
            value,
            f"{value} dollars",
            rf"{value}\text{{ dollars}}",
            rf"\${value}.00" if "." not in value else rf"\${value}0",
            f"${value}",
            rf"{value}+0",
        )
        return Variants(
            same,
            (
                rf"\${value}1",
                f"{value} euros",
                rf"\${value}5",
                rf"\$1{value}",
                f"{value} cents",
            ),
        )
    match = _UNIT.match(text)
    if match is None:
        return None
    value, unit = match["value"], match["unit"]
    if "circ" in unit or "degrees" in unit:
        same = (
            value,
            f"{value}°",
            rf"{value}\text{{ degrees}}",
            rf"{value}^{{\circ}}",
            rf"\frac{{{value}\pi}}{{180}}",
            rf"{value} degrees",
        )
        different = (
            rf"({value}+1)^\circ",
            rf"({value}-1)^\circ",
            rf"(2\cdot {value})^\circ",
            rf"\frac{{{value}\pi}}{{90}}",
            f"{value} radians + 1",
            rf"-{value}^\circ",
        )
        return Variants(same, different)
    word = re.sub(r"\\(?:text|mbox)|[{}]", "", unit)
    same = (
        value,
        f"{value} {word.strip()}",
        f"{value}.0{unit}" if "." not in value else f"{value}0{unit}",
        rf"{value}\,\mathrm{{{word.split('^')[0].strip()}}}" + unit[unit.find("}") + 1 :],
        rf"\frac{{{value}}}{{1}} {unit}",
    )
    different = (
        f"{value}1{unit}",
        f"1{value}{unit}",
        rf"{value} \text{{ kg}}",
        rf"{value} \text{{ seconds}}",
        f"-{value}{unit}",
        rf"{value}{unit}^3" if "^" not in unit else rf"{value}\text{{ {word.split('^')[0].strip()}}}^3",
    )
    return Variants(same, different)


def _based(text: str) -> Variants | None:
    match = re.fullmatch(r"(\d+)_\{?(\d)\}?", text)
    if match is None:
        return None
    digits, base = match.groups()
    value = int(digits, int(base))
    same = (
        f"{digits}_{base}",
        f"{digits}_{{{base}}}",
        digits,
        rf"{{{digits}}}_{{{base}}}",
        f"0{digits}_{base}",
        f"{value:b}_2",
    )
    other = int(base) + 1
    return Variants(
        same,
        (
            f"{digits}_{other}",
            f"{digits}0_{base}",
            f"1{digits}_{base}",
            f"{value + 1:b}_2",
            str(value),
            f"{digits[::-1]}_{base}" if digits != digits[::-1] else f"{digits}1_{base}",
        ),
    )


def _list(text: str) -> Variants | None:
    joined = re.sub(r",\\!\s*", "", text)
    parts = _split(joined)
    if len(parts) < 2 or re.fullmatch(r"\d{1,3}(,\d{3})+", joined):
        return None
    same = (
        ", ".join(parts[::-1]),
        r"\{" + ", ".join(parts) + r"\}",
        r" \text{ and } ".join(parts),
        ", ".join(f"{part}+1-1" for part in parts),
        ", ".join(rf"\frac{{2({part})}}{{2}}" for part in parts),
    )
    different = (
        ", ".join(parts[:-1]),
        ", ".join([*parts, "1234"]),
        ", ".join([f"{parts[0]}+1", *parts[1:]]),
        ", ".join([*parts[:-1], f"{parts[-1]}+10^{{-9}}"]),
        ", ".join(f"-({part})" for part in parts) if sorted(parts) != sorted(f"-{part}" for part in parts) else "0, 0",
        ", ".join([parts[0]] * len(parts)),
    )
    return Variants(same, different)


def _integer(text: str) -> Variants | None:
    joined = re.sub(r",\\!\s*|(?<=\d),(?=\d{3})", "", text)
    if not re.fullmatch(r"-?\d+", joined):
        return None
    n = int(joined)
    root = rf"\sqrt{{{n * n}}}"
    same = (
        f"{n}.0",
        rf"\frac{{{2 * n}}}{{2}}",
        f"{n - 1}+1",
        rf"{n}\cdot 1",
        f"{3 * n}/3",
        root if n >= 0 else f"-{root}",
        f"{n:,}",
        f"x = {n}",
    )
    different = (
        str(n + 1),
        str(n - 1),
        f"{10 * n + 1}",
        f"{n}.5",
        rf"\frac{{{n}}}{{7}}" if n else "7",
        f"{n}, {n + 1}",
        f"{n} + 10^{{-20}}",
        f"-{n}" if n > 0 else str(-n + 1),
    )
    return Variants(same, different)


def _scalar(text: str) -> Variants:
    same = [f"({text})+1-1", rf"\frac{{2({text})}}{{2}}", f"-(-({text}))", rf"1\cdot({text})", rf"({text})^1"]
    different = [f"({text})+1", f"2({text})", f"({text})+10^{{-9}}", rf"\frac{{{text}}}{{3}}", f"({text})-1"]
    if r"\pm" not in text:
        different.append(f"-({text})")
    if fraction := _FRACTION.fullmatch(text):
        sign, *digits = fraction.groups()
        over, under = (int(first or second) for first, second in (digits[:2], digits[2:]))
        value = Fraction(over, under) * (-1 if sign else 1)
        same += [
            f"{sign}{over}/{under}",
            rf"{sign}\dfrac{{{3 * over}}}{{{3 * under}}}",
            rf"{sign}{over}\cdot {under}^{{-1}}",
        ]
        if over > under and over % under:
            same.append(rf"{sign}{over // under}\frac{{{over % under}}}{{{under}}}")
        decimal = format(float(value), ".4f")
        (same if Fraction(decimal) == value else different).append(decimal)
        different += [rf"{sign}\frac{{{over + 1}}}{{{under}}}", rf"{sign}\frac{{{over}}}{{{under + 1}}}"]
        different += [rf"{sign}\frac{{{under}}}{{{over}}}"] if over != under else []
    if not re.match(r"-?\d+\s*\\frac", text):  # in a mixed number the fraction stands for itself
        same.append(re.sub(r"\\frac\{([^{}]+)\}\{([^{}]+)\}", r"(\1)/(\2)", text))
    same.append(text.replace(r"\frac", r"\dfrac"))
    return Variants(tuple(same), tuple(different))


@dataclass(slots=True)
class Tally:
    """How one verifier did on one kind of pair."""

    right: int = 0
    total: int = 0
    undecided: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, gold: str, answer: str, right: bool, verdict: str) -> None:
        self.total += 1
        self.right += right
        if not right:
            self.wrong.append(f"{gold}  |  {answer}  →  {verdict}")


def boxed(text: str) -> str:
    return rf"\boxed{{{text}}}"


def theirs(gold: str, answer: str) -> bool:
    return bool(verify(parse(boxed(gold)), parse(boxed(answer))))


async def ours(verifier: MathVerifier, gold: str, answer: str, options: MathOptions | None = None) -> Status:
    check = ReferenceCheck(boxed(gold), options or MathOptions())
    return (await verifier.verify(Claim(boxed(answer)), check)).status


def golds(directory: Path) -> list[str]:
    """Every distinct right answer of the JSON lines files of a directory, in order; of a solution what follows ####."""
    found: dict[str, None] = {}
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            found[str(json.loads(line)["answer"]).rpartition("####")[2].strip()] = None
    if not found:
        raise SystemExit(f"--benchmarks: no .jsonl file with answers in {directory}")
    return list(found)


async def accuracy(verifier: MathVerifier, answers: list[str]) -> dict[str, dict[str, Tally]]:
    """Both verifiers on each gold against itself, its rewritings and its near misses."""
    kinds = ("itself", "rewritings", "near misses")
    tallies = {name: {kind: Tally() for kind in kinds} for name in ("espalier", "math-verify")}
    for gold in track(answers, description="golds"):
        found = variants(gold)
        for kind, strings in zip(kinds, ((gold,), found.same, found.different), strict=True):
            for answer in strings:
                status = await ours(verifier, gold, answer)
                wanted = Status.PASS if kind != "near misses" else Status.FAIL
                right = status is wanted or (kind == "near misses" and status is Status.UNKNOWN)
                tallies["espalier"][kind].add(gold, answer, right, status.value)
                tallies["espalier"][kind].undecided += status is Status.UNKNOWN
                verdict = theirs(gold, answer)
                tallies["math-verify"][kind].add(gold, answer, verdict == (kind != "near misses"), str(verdict))
    return tallies


async def hard_pairs(verifier: MathVerifier, lines: list[str]) -> dict[str, dict[str, Tally]]:
    """False positives and negatives of both on the hand-written pairs without options.

    Pairs that nobody can decide are among the different ones: they must not be accepted.
    """
    tallies = {name: {kind: Tally() for kind in ("equal", "different")} for name in ("espalier", "math-verify")}
    for line in track(lines, description="hard pairs"):
        case = json.loads(line)
        if "options" in case:
            continue
        equal = bool(case["equal"])
        kind = "equal" if equal else "different"
        status = await ours(verifier, case["gold"], case["answer"])
        tallies["espalier"][kind].add(case["gold"], case["answer"], (status is Status.PASS) == equal, status.value)
        verdict = theirs(case["gold"], case["answer"])
        tallies["math-verify"][kind].add(case["gold"], case["answer"], verdict == equal, str(verdict))
    return tallies


async def throughput(pairs: list[tuple[str, str]], workers: int) -> dict[str, float]:
    """Verifications a second: ours cold (nothing cached) and warm, from 64 callers; theirs in one process."""
    rates: dict[str, float] = {}
    async with MathVerifier(PoolLimits(workers=workers)) as verifier:
        await verifier.self_check()
        gate = asyncio.Semaphore(64)

        async def one(gold: str, answer: str) -> None:
            async with gate:
                await ours(verifier, gold, answer)

        for name in ("espalier, cold", "espalier, warm"):
            start = time.perf_counter()
            await asyncio.gather(*(one(gold, answer) for gold, answer in pairs))
            rates[name] = len(pairs) / (time.perf_counter() - start)
    for gold, answer in pairs[:50]:
        theirs(gold, answer)
    start = time.perf_counter()
    for gold, answer in pairs:
        theirs(gold, answer)
    rates["math-verify, one process"] = len(pairs) / (time.perf_counter() - start)
    return rates


def report(console: Console, title: str, tallies: dict[str, dict[str, Tally]], shown: int) -> None:
    kinds = list(next(iter(tallies.values())))
    table = Table(title=title)
    table.add_column("verifier")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for name, counts in tallies.items():
        table.add_row(name, *(f"{counts[kind].right} / {counts[kind].total}" for kind in kinds))
    console.print(table)
    for kind in kinds:
        if undecided := tallies["espalier"][kind].undecided:
            console.print(f"  espalier, {kind}: {undecided} of them undecided (UNKNOWN, not accepted)")
        for wrong in tallies["espalier"][kind].wrong[:shown]:
            console.print(f"  espalier, {kind}: {wrong}", markup=False, highlight=False)


async def run(arguments: argparse.Namespace, answers: list[str], lines: list[str]) -> dict[str, object]:
    console = Console(stderr=False, width=120)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
                  f"math-verify {version('math-verify')}, {len(answers)} distinct golds")  # fmt: skip
    async with MathVerifier(PoolLimits(workers=arguments.workers)) as verifier:
        on_golds = await accuracy(verifier, answers)
        on_pairs = await hard_pairs(verifier, lines)
    pairs = [
        (gold, answer) for gold in answers for found in [variants(gold)] for answer in (*found.same, *found.different)
    ]
    random.Random(0).shuffle(pairs)
    rates = await throughput(pairs[: arguments.throughput], arguments.workers)
    report(console, "right verdicts on golds", on_golds, arguments.shown)
    report(console, "right verdicts on hard pairs", on_pairs, arguments.shown)
    table = Table(title=f"throughput over {len(pairs[: arguments.throughput])} pairs")
    table.add_column("verifier")
    table.add_column("verifications / s", justify="right")
    table.add_column("against math-verify", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / rates['math-verify, one process']:.1f}×")
    console.print(table)
    return {
        "golds": {name: {kind: asdict(tally) for kind, tally in counts.items()} for name, counts in on_golds.items()},
        "hard_pairs": {
            name: {kind: asdict(tally) for kind, tally in counts.items()} for name, counts in on_pairs.items()
        },
        "throughput": rates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="directory of .jsonl files with the field `answer`"
    )
    parser.add_argument("--pairs", type=Path, default=Path(__file__).parent.parent / "tests/verifiers/math_cases.jsonl")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of our pool (default: 2)")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many golds")
    parser.add_argument("--throughput", type=int, default=2000, help="pairs for the throughput (default: 2000)")
    parser.add_argument("--shown", type=int, default=20, help="wrong verdicts of ours to list per kind (default: 20)")
    parser.add_argument("--json", type=Path, help="write every number and every wrong verdict to this file, too")
    arguments = parser.parse_args()
    answers = golds(arguments.benchmarks)[: arguments.limit]
    result = asyncio.run(run(arguments, answers, arguments.pairs.read_text().splitlines()))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
