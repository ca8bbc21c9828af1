"""Results as lines for people."""

from __future__ import annotations

from espalier.solver.core.result import Result
from espalier.verifiers.verdict import Status, Verdict

MANY = 3
"""Observations of one kind that are told one by one."""

LINE = 200
"""Characters of what a verdict rests on."""


def verdict_line(result: Result) -> str:
    """Whether and how the answer was verified, in one line."""
    selection = result.selection
    if selection.answer is None:
        return f"UNSOLVED: {selection.reason}; stopped by {result.stopped.value}"
    if selection.verified:
        passed = next(entry.verdict for entry in result.judged if entry.candidate.spec.index == selection.candidate)
        seen = _observations(passed)
        return f"verified: {selection.reason}" + (f": {seen}" if seen else "")
    sure = "" if selection.confidence is None else f"; right with probability {selection.confidence:.2f}"
    return f"not verified ({selection.decided_by.value.replace('_', ' ')}): {selection.reason}{sure}"


def _observations(verdict: Verdict) -> str:
    """What a verdict rests on, short enough for a line; many observations of one kind ("case 1", …) are counted."""
    seen: dict[str, list[str]] = {}
    for evidence in verdict.evidence:
        seen.setdefault(evidence.rule.partition(" ")[0], []).append(evidence.detail)
    told = [
        f"{len(details)} {kind}s" if len(details) > MANY else "; ".join(details)
        for kind, details in seen.items()
        if kind not in ("extraction", "parse", "patch")
    ]
    line = "; ".join(told)
    return line if len(line) <= LINE else line[: LINE - 1] + "…"


def usage_line(result: Result) -> str:
    """What it cost, in one line."""
    spent, total = result.spent, result.spent.total
    fates = [
        f"{usage.new_tokens} {fate}"
        for fate, usage in (
            ("accepted", spent.accepted),
            ("failed", spent.failed),
            ("aborted", spent.aborted),
            ("verification", spent.verification),
        )
        if usage.new_tokens
    ]
    again = sum(entry.candidate.spec.rejoin is not None for entry in result.judged)
    count = len(result.judged) - again
    sampled = f"{count} candidate{'' if count == 1 else 's'}"
    if again:
        sampled += f" and {again} re-join{'' if again == 1 else 's'}"
    return (
        f"{sampled} · {total.new_tokens} tokens ({', '.join(fates) or 'none'}; {total.forced_tokens} forced) · "
        f"critical path {spent.critical_path_tokens} · parallel speed-up {spent.speedup:.1f}x · {spent.seconds:.1f} s"
    )


def status_mark(status: Status) -> str:
    """A sign for a verdict."""
    return {Status.PASS: "✓", Status.FAIL: "✗", Status.UNKNOWN: "?", Status.ERROR: "!"}[status]
