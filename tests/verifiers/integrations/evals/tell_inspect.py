"""inspect_ai evaluates what was said: prints each sample's score as JSON.

usage: tell_inspect.py math|program SAID LOGS, where SAID is a JSON list of [completion, target]
"""

from __future__ import annotations

import json
import sys
from typing import Any

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput
from inspect_ai.solver import Generate, TaskState, solver

from espalier.verifiers.integrations.inspect_scorers import math_scorer, program_scorer
from tests.verifiers.integrations.evals.scripted import scripted_unless

kind, said, logs = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]


@solver
def tells() -> Any:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output = ModelOutput.from_content("told", said[int(state.sample_id)][0])
        return state

    return solve


with scripted_unless(kind in ("math", "program")):
    (log,) = eval(
        Task(
            dataset=[Sample(input="?", target=target, id=str(number)) for number, (_, target) in enumerate(said)],
            solver=tells(),
            scorer=program_scorer() if kind == "program" else math_scorer(),
        ),
        model="mockllm/model",
        log_dir=logs,
        display="none",
    )
if log.status != "success":
    raise SystemExit(str(log.error and log.error.message))
samples = sorted(log.samples or [], key=lambda sample: int(sample.id))
scores = [next(iter((sample.scores or {}).values())) for sample in samples]
print(
    json.dumps(
        {
            "values": [str(score.value) for score in scores],
            "answers": [score.answer for score in scores],
            "accuracy": log.results.scores[0].metrics["accuracy"].value if log.results else None,
        }
    )
)
