"""Published candidates as files of problems and responses, for `best_of_k_peers.py --replay`.

    python benchmarks/published_candidates.py qwen2.5-math-cot-100x8.jsonl.gz --tokenizer MODEL \\
        --problems math.jsonl --responses math-words.jsonl

The file is as QwenLM/Qwen2.5-Math publishes it (`idx`, `question`, `gt`, `response`). It has texts only: tokens are
counted with a tokenizer, those of a prompt for the bare question, and one more for the end of a response. It does not
say how its responses were sampled; temperature 1 is written down, as some tools ask for no other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from transformers import AutoTokenizer

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.responses import ResponseFile, Sampling
from espalier.training.data.datasets import rows

MAX_TOKENS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tokenizer", required=True, help="directory of a model whose tokenizer counts")
    parser.add_argument("--problems", type=Path, required=True, help="file to write")
    parser.add_argument("--responses", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    for out in (arguments.problems, arguments.responses):
        if out.exists():
            parser.error(f"{out} exists; give another name")
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    kept = ResponseFile(arguments.responses, Sampling(arguments.file.name.partition(".json")[0], 0, 1.0, MAX_TOKENS))
    problems = []
    for row in rows(arguments.file):
        name = f"problem-{row['idx']}"
        problems.append({"id": name, "text": row["question"], "check": f"reference:{row['gt']}"})
        asked = len(tokenizer.encode(row["question"]))
        for number, text in enumerate(row["response"]):
            new = len(tokenizer.encode(text)) + 1
            usage = Usage(asked, new, 0, new)
            kept.add("file", name, Candidate(Spec(number, 0, 0, 1.0), text, None, (), FinishReason.STOP, usage, 0.0))
    arguments.problems.write_text("".join(json.dumps(one) + "\n" for one in problems), encoding="utf-8")


if __name__ == "__main__":
    main()
