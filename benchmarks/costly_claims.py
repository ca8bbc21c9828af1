#!/usr/bin/env python
"""How long honest claims wait beside callers whose claims cost as much as they are allowed to.

    python benchmarks/costly_claims.py --attackers 8 --seconds 12

One honest caller asks for one comparison after the other, none of them cached; attackers ask for costly ones meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter

from espalier.verifiers.check import Claim, ReferenceCheck
from espalier.verifiers.math import MathVerifier

COSTLY = (
    r"\{" + ",".join(rf"\sqrt{{{n}}}+\sqrt{{{n + 1}}}" for n in range(2, 120)) + r"\}",
    "x^{64}+x^{63}-7x^{31}+3x^5-2 > x^{17}-5x^{11}+1",
    r"(x+y+z+1)^{60}",
    r"\Gamma(10^5+1/3)",
    "+".join(rf"\sin(x^{{{n}}})" for n in range(1, 60)),
    r"\sum_{k=1}^{9999} \frac{1}{k^3+k}",
    r"\int_0^1 \sin(x^5) e^{x} dx",
)
GOLDS = ("5", r"\{1,2,3\}", "x>3", "x^2+1", r"\frac12", "(0,1)")


async def measure(attackers: int, seconds: float) -> None:
    verdicts: Counter[str] = Counter()
    async with MathVerifier() as verifier:

        async def attack(number: int) -> None:
            source = random.Random(number)
            while True:
                text = source.choice(COSTLY).replace("9999", str(source.randrange(5000, 9999)))
                verdict = await verifier.verify(Claim(text, bare=True), ReferenceCheck(source.choice(GOLDS)))
                verdicts[f"{verdict.status.value} ({verdict.decided_by})"] += 1

        for count in (0, attackers):
            running = [asyncio.create_task(attack(number)) for number in range(count)]
            await asyncio.sleep(2)
            waits = await honest(verifier, seconds, seed=count)
            for task in running:
                task.cancel()
            at = {
                name: waits[int(share * (len(waits) - 1))] for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
            }
            shown = ", ".join(f"{name} {1000 * wait:.1f} ms" for name, wait in at.items())
            print(f"{count} attackers: {len(waits)} honest claims, {shown}")
    print(f"verdicts on the costly ones: {dict(verdicts)}")


async def honest(verifier: MathVerifier, seconds: float, seed: int) -> list[float]:
    """Waiting times of honest claims, ascending."""
    source = random.Random(1000 + seed)
    waits: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        n = source.randrange(10**6)
        start = time.perf_counter()
        verdict = await verifier.equivalent(
            f"{n}/7 + {n % 97 + 2}^{{1/2}}", rf"\frac{{{n}}}{{7}}+\sqrt{{{n % 97 + 2}}}"
        )
        waits.append(time.perf_counter() - start)
        if not verdict.passed:
            raise SystemExit(f"an honest claim did not pass: {verdict}")
        await asyncio.sleep(0.01)
    return sorted(waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attackers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each of the two measurements")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.attackers, arguments.seconds))


if __name__ == "__main__":
    main()
