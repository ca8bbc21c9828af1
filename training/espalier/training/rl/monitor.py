"""What can be seen of a run while it goes on: rollouts, held-out problems, the best model so far."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from espalier.common.files import whole_lines
from espalier.solver.core.problem import Problem
from espalier.training.export import finish
from espalier.training.loop import Run
from espalier.training.rl.credit import TokenCredit
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.measure import measure, summarise
from espalier.training.rl.rollout import Collector
from espalier.training.run.directory import write

ROLLOUTS = "rollouts.jsonl"
BEST = "best"
STEPS = "steps"


@dataclass(frozen=True, slots=True)
class RolloutLog:
    """Writes a share of a run's rollouts to `rollouts.jsonl`, one JSON object a line.

    Attributes:
        path: The file.
        share: Of the prompts of this process.
        tokenizer: Of the model.
    """

    path: Path
    share: float
    tokenizer: Any

    def begin(self, step: int) -> None:
        """Drop what an interrupted part has written beyond `step`; all of it where a run begins anew."""
        lines = whole_lines(self.path) if step and self.path.exists() else []
        write(self.path, "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step))

    def write(
        self, step: int, groups: Sequence[Sequence[JudgedRollout]], credits: Sequence[Sequence[TokenCredit]]
    ) -> None:
        """The rollouts of the first prompts of a batch, with the mean advantage of their trained tokens."""
        shown = math.ceil(self.share * len(groups))
        with self.path.open("a", encoding="utf-8") as file:
            for members, given in zip(groups[:shown], credits[:shown], strict=True):
                for one, credit in zip(members, given, strict=True):
                    file.write(json.dumps(self._line(step, one, credit)) + "\n")

    def _line(self, step: int, one: JudgedRollout, credit: TokenCredit) -> dict[str, Any]:
        evidence = one.verdict.evidence if one.verdict else ()
        advantages = credit.advantages[credit.trained]
        return {
            "step": step,
            "problem": one.problem.id,
            "prompt": one.problem.text,
            "response": str(self.tokenizer.decode(list(one.rollout.tokens), skip_special_tokens=False)),
            "status": one.status.value,
            "evidence": evidence[0].detail if evidence else one.finished.detail,
            "branches": [branch.verdict.status.value for branch in one.branches],
            "reward": one.reward.value,
            "advantage": round(float(advantages.mean()), 4) if len(advantages) else None,
            "tokens": one.finished.usage.new_tokens,
            "critical_path": one.finished.usage.critical_path_tokens,
        }


async def held_out_entry(collector: Collector, problems: Sequence[Problem], samples: int, seed: int) -> dict[str, Any]:
    """Accuracy, pass@k and form of the responses to held-out problems, the same requests at every step.

    Raises:
        EngineError: The engine failed on a response.
    """
    (groups,) = (await measure(collector, {"held_out": problems}, samples, seed)).values()
    found = summarise(groups)
    passed = [any(one.status.value == "passed" for one in group) for group in groups]
    return {
        "accuracy": found.accuracy,
        "error": found.error,
        f"pass_at_{samples}": sum(passed) / len(passed),
        "well_formed": found.well_formed,
        "parallel": found.parallel,
        "tokens": found.tokens,
        "critical_path": found.critical_path,
        "undecided": found.undecided,
    }


def keep_best(run: Run, accuracy: float | None, step: int, network: Any, tokenizer: Any) -> None:
    """Export the model to `best` if it is better than the one there. All processes must call it.

    Args:
        run: The run.
        accuracy: What the main process has measured; others give None.
        step: Steps behind the run.
        network: The trained model.
        tokenizer: The tokenizer to store beside it.
    """
    group, record = run.group, run.out / BEST / "held-out.json"
    known = json.loads(record.read_text(encoding="utf-8"))["accuracy"] if group.is_main and record.exists() else -1.0
    better = group.maximum(torch.tensor(int(accuracy is not None and accuracy > known))).item()
    if better:
        finish(run.out / BEST, network, tokenizer, run.initial, run.decoding, group)
        if group.is_main:
            write(record, json.dumps({"step": step, "accuracy": accuracy}) + "\n")


def forget_models(out: Path) -> None:
    """Delete the models that an earlier run has kept in a folder in which a run begins anew."""
    for name in (BEST, STEPS):
        shutil.rmtree(out / name, ignore_errors=True)


def export_step(run: Run, step: int, network: Any, tokenizer: Any) -> None:
    """Export the model to `steps/STEP`, and delete those of checkpoints that are not kept.

    All processes must call it.
    """
    steps = run.out / STEPS
    finish(steps / f"{step:06d}", network, tokenizer, run.initial, run.decoding, run.group)
    if run.group.is_main:
        for path in sorted(steps.iterdir())[: -run.keep_checkpoints]:
            shutil.rmtree(path, ignore_errors=True)
