"""lm-evaluation-harness evaluates what was said: prints its results as JSON.

usage: tell_lm_eval.py math|scripted SAID FOLDER, where SAID is a JSON list of [response, truth]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from tests.verifiers.integrations.evals.scripted import scripted_unless

TASK = """
task: told
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
process_results: !function utils.process_results
metric_list:
  - metric: verified
    aggregation: !function espalier.verifiers.integrations.lm_eval_metric.mean
    higher_is_better: true
generation_kwargs: {until: ["never"]}
"""
UTILS = """
from espalier.verifiers.integrations.lm_eval_metric import results_of

process_results = results_of("answer")
"""


class Told(LM):
    """Says what it is told."""

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [said[int(request.args[0])][0] for request in requests]

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


kind, said, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
rows = [json.dumps({"question": str(number), "answer": truth}) for number, (_, truth) in enumerate(said)]
(folder / "rows.jsonl").write_text("\n".join(rows))
(folder / "told.yaml").write_text(TASK % (folder / "rows.jsonl"))
(folder / "utils.py").write_text(UTILS)
with scripted_unless(kind == "math"):
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = simple_evaluate(Told(), tasks=["told"], task_manager=manager, bootstrap_iters=0, log_samples=True)
samples = sorted(results["samples"]["told"], key=lambda sample: int(sample["doc_id"]))
print(
    json.dumps(
        {
            "values": [str(sample["verified"]) for sample in samples],
            "mean": results["results"]["told"]["verified,none"],
        }
    )
)
