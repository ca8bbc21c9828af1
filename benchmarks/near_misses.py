#!/usr/bin/env python
"""Near misses and rewritings of right answers through the math verifier: no near miss may pass, rewritings should.

    python benchmarks/near_misses.py --benchmarks DIRECTORY

DIRECTORY holds .jsonl files with the field `answer`; of worked solutions what follows "####" counts.
Exit status: 0 no near miss passed, 1 one did.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verifiers.near_misses import near_misses, rewritings

from espalier.verifiers.answer import answer_of
from espalier.verifiers.check import Claim, MathOptions
from espalier.verifiers.math.tasks import Parsed, compare, read


def golds(directory: Path) -> Iterator[tuple[str, str]]:
    """Files and right answers, each answer of a file once."""
    for path in sorted(directory.glob("*.jsonl")):
        seen: set[str] = set()
        for line in path.read_text(encoding="utf-8").splitlines():
            answer = json.loads(line).get("answer")
            text = str(answer).rpartition("####")[2].strip() if answer is not None else ""
            if text and text not in seen:
                seen.add(text)
                yield path.stem, text


def passes(gold: Parsed, claim: str) -> bool:
    """Whether the comparison of the worker calls a bare answer equal."""
    answer = answer_of(Claim(claim, bare=True), None)
    return answer is not None and compare(gold, read(answer.text), MathOptions()).equal is True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="directory of .jsonl files with the field `answer`"
    )
    parser.add_argument("--shown", type=int, default=40, help="faults that are printed")
    arguments = parser.parse_args()
    made: Counter[str] = Counter()
    missed: list[str] = []
    accepted = refused = unread = 0
    start = time.perf_counter()
    for name, gold in golds(arguments.benchmarks):
        reference = read(gold)
        if not reference.readings:
            unread += 1
            continue
        for kind, claim in near_misses(gold):
            made[kind] += 1
            if passes(reference, claim):
                missed.append(f"PASS of a near miss ({kind}) in {name}: {gold}  |  {claim}")
        for claim in rewritings(gold):
            if passes(reference, claim):
                accepted += 1
            else:
                refused += 1
                if refused <= arguments.shown:
                    print(f"refused in {name}: {gold}  |  {claim}")
    for line in missed[: arguments.shown]:
        print(line)
    print(f"{made.total()} near misses, {len(missed)} passed; {accepted} rewritings accepted, {refused} refused")
    print(f"{unread} answers cannot be read; {time.perf_counter() - start:.0f} s; near misses by kind: {dict(made)}")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
