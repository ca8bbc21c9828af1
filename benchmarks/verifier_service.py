#!/usr/bin/env python
"""Load the verifier service: latency and throughput per number of clients, lost or mixed-up replies, memory.

    python benchmarks/verifier_service.py                # 24 clients x 1,000 mixed verifications, memory over 10,000
    python benchmarks/verifier_service.py --programs 20  # every 20th verification runs a program (needs a sandbox)

The server is a process of its own with default settings, on loopback; each client has a connection of its own and sends
one call after the other. Every verification is different, so that no cache helps, and half of the answers are wrong.
Exit status: 0, or 1 when a reply was lost, mixed up or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.verifiers.process import ServerProcess, server_process
from tests.verifiers.workload import Report, run_clients


def quantile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(server: ServerProcess, clients: int, count: int, programs: int, first: int) -> dict[str, Any]:
    """Run the clients and say what came of it."""
    start = perf_counter()
    report: Report = asyncio.run(run_clients([server.address], clients, count, programs=programs, first=first))
    seconds = perf_counter() - start
    for item, verdict in report.wrong[:5]:
        print(f"WRONG: {item} got {verdict}", file=sys.stderr)
    return {
        "clients": clients,
        "verifications": clients * count,
        "lost": clients * count - len(report.seconds),
        "wrong_or_mixed_up": len(report.wrong),
        "statuses": {status.value: number for status, number in sorted(report.statuses.items())},
        "per_second": round(clients * count / seconds, 1),
        "p50_ms": round(1000 * quantile(report.seconds, 0.50), 2),
        "p99_ms": round(1000 * quantile(report.seconds, 0.99), 2),
        "max_ms": round(1000 * max(report.seconds), 2),
        "server_mib_after": round(server.resident_mib(), 1),
    }


def main() -> int:
    """Measure, print one JSON line a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--each", type=int, default=1000, help="verifications of each client")
    parser.add_argument("--memory", type=int, default=10_000, help="verifications over which memory is watched")
    parser.add_argument("--programs", type=int, default=0, metavar="N", help="every N-th verification runs a program")
    arguments = parser.parse_args()
    only = ["--only", "math", *(["--only", "code"] if arguments.programs else [])]
    runs = []
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder) / "log", *only) as server:
        first = 0
        for clients in (1, 8, arguments.clients):
            each = arguments.each if clients == arguments.clients else max(1, arguments.each // 2)
            runs.append(measure(server, clients, each, arguments.programs, first))
            first += clients * each
            print(json.dumps(runs[-1]), flush=True)
        before = server.resident_mib()
        samples = []
        for _ in range(10):
            runs.append(measure(server, 8, max(1, arguments.memory // 80), arguments.programs, first))
            first += arguments.memory // 10
            samples.append(round(server.resident_mib(), 1))
        memory = {"verifications": arguments.memory, "mib_before": round(before, 1), "mib_each_tenth": samples}
        print(json.dumps({"memory": memory}), flush=True)
    return int(any(run["lost"] or run["wrong_or_mixed_up"] for run in runs))


if __name__ == "__main__":
    sys.exit(main())
