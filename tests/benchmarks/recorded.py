"""Small files of problems and of recorded responses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.responses import ResponseFile, Sampling

SAMPLING = Sampling(model="tiny", seed=0, temperature=1.0, max_tokens=64)
PROMPT_TOKENS = 7


def write_problems(path: Path, answers: Mapping[str, str]) -> Path:
    """Problems `What is ID?` with their answers, by id."""
    rows = [
        {"id": name, "text": f"What is {name}?", "check": f"reference:{answer}"} for name, answer in answers.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_responses(path: Path, texts: Mapping[str, Sequence[str]]) -> Path:
    """Responses by problem; one with n words has n tokens. `…` at its end: a limit has cut it."""
    kept = ResponseFile(path, SAMPLING)
    for problem, several in texts.items():
        for number, text in enumerate(several):
            reason = FinishReason.LENGTH if text.endswith("…") else FinishReason.STOP
            usage = Usage(PROMPT_TOKENS, len(text.split()), 0, len(text.split()))
            kept.add("file", problem, Candidate(Spec(number, 0, 0, 1.0), text, None, (), reason, usage, 0.0))
    return path
