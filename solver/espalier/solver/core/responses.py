"""Responses on disk, so that they can be made in one place and judged in another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from espalier.common.files import drop_cut_line, whole_lines
from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec
from espalier.solver.core.generation import Generation

Key = tuple[str, str, int]
"""Task, problem and number of the sample."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How all responses of a file were made; responses made otherwise do not belong into it.

    Defaults are what files were made with that do not name the field yet.

    Attributes:
        model: As the engine named it.
        seed: Of problems and sampling.
        temperature: Of sampling.
        max_tokens: Of one response.
        constrained: Whether responses were kept to the grammar.
        max_plans: Of a block.
        max_depth: Of blocks inside one another.
        max_branch_tokens: Of one step; None: no such limit.
        mode: Whether responses fork; empty where a file does not say.
    """

    model: str
    seed: int
    temperature: float
    max_tokens: int
    constrained: bool = False
    max_plans: int = 8
    max_depth: int = 5
    max_branch_tokens: int | None = None
    mode: str = ""

    @classmethod
    def of(cls, model: str, generation: Generation, seed: int, temperature: float) -> Self:
        """Of responses that a model generates this way."""
        limits = generation.limits
        return cls(
            model,
            seed,
            temperature,
            limits.max_tokens,
            generation.constrained,
            limits.grammar.max_plans,
            limits.grammar.max_depth,
            limits.max_branch_tokens,
            generation.mode.value,
        )


class ResponseFile:
    """JSON lines: how the responses were made, then one line a response, in any order.

    Attributes:
        sampling: How they were made.
        known: What the file holds.

    Raises:
        ValueError: The file holds something else, or responses made otherwise; the message names it.
    """

    def __init__(self, path: Path, sampling: Sampling) -> None:
        self._path = path
        self.sampling = sampling
        self.known: dict[Key, Candidate] = {}
        if not path.exists() or not path.stat().st_size:
            path.write_text(json.dumps({"sampling": asdict(sampling)}) + "\n", encoding="utf-8")
            return
        self.sampling, found = read(path)
        for name in (field.name for field in fields(sampling) if field.name != "model"):
            theirs, ours = getattr(self.sampling, name), getattr(sampling, name)
            if theirs != ours and theirs != "":
                raise ValueError(f"{path} holds responses made with {name} {theirs}, not {ours}; give another file")
        self.known = dict(found)
        drop_cut_line(path)

    def add(self, task: str, problem: str, candidate: Candidate) -> None:
        """Store a response."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_to_json(task, problem, candidate), ensure_ascii=False) + "\n")


def read(path: Path) -> tuple[Sampling, Sequence[tuple[Key, Candidate]]]:
    """All responses of a file. A last line without its end was cut off and is left out. Of two with the same key, which
    two processes that write to one file leave behind, the later one counts.

    Raises:
        ValueError: The file holds something else; the message names the line.
    """
    try:
        lines = whole_lines(path)
        sampling = Sampling(**json.loads(lines[0])["sampling"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} does not hold responses ({error})") from None
    return sampling, list(dict(_responses(path, lines[1:])).items())


def require_distinct(paths: Sequence[Path]) -> None:
    """
    Raises:
        ValueError: A file is given twice.
    """
    taken: set[Path] = set()
    for path in paths:
        if path.resolve() in taken:
            raise ValueError(f"{path} is given twice: its responses would have two votes each")
        taken.add(path.resolve())


def _responses(path: Path, lines: Sequence[str]) -> Iterator[tuple[Key, Candidate]]:
    for number, line in enumerate(lines, start=2):
        try:
            yield _from_json(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a response ({error})") from None


def _to_json(task: str, problem: str, candidate: Candidate) -> dict[str, Any]:
    return {
        "task": task,
        "problem": problem,
        "spec": asdict(candidate.spec),
        "text": candidate.text,
        "answer": candidate.answer,
        "branch_answers": [[found.path, found.answer] for found in candidate.branch_answers],
        "reason": candidate.reason.value,
        "usage": asdict(candidate.usage),
        "forked": candidate.forked,
        "well_formed": candidate.well_formed,
        "detail": candidate.detail,
    }


def _from_json(row: dict[str, Any]) -> tuple[Key, Candidate]:
    candidate = Candidate(
        spec=Spec(**row["spec"]),
        text=row["text"],
        answer=row["answer"],
        branch_answers=tuple(
            BranchAnswer(tuple((block, step) for block, step in path), answer) for path, answer in row["branch_answers"]
        ),
        reason=FinishReason(row["reason"]),
        usage=Usage(**row["usage"]),
        seconds=0.0,
        forked=row["forked"],
        well_formed=row["well_formed"],
        detail=row["detail"],
    )
    return (row["task"], row["problem"], candidate.spec.index), candidate
