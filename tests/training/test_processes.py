"""A run of two processes under torchrun is the run of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM

from espalier.training.batch import Judged
from espalier.training.draw import Draw
from espalier.training.reward import Fate, reward
from espalier.training.rollout import Attempt
from tests.training import test_rl
from tests.training.test_rl import CONFIG, _by_parity, _train, model_folder, network

__all__ = ["model_folder", "network"]

WORKER = """
import sys
from pathlib import Path
from unittest import mock
import torch
torch.set_num_threads(1)
from espalier.training.distributed import process_group
from tests.training import test_processes, test_rl
by_parity = mock.patch.object(test_rl, "_by_parity", test_processes.without_the_last_problem)
with process_group("cpu") as group, by_parity:
    test_rl._train(test_processes.CONFIG_OF_TWO, Path(sys.argv[1]), Path(sys.argv[2]), group=group)
"""

CONFIG_OF_TWO = replace(CONFIG, steps=2, optimizer=replace(CONFIG.optimizer, rate=1e-4))


def without_the_last_problem(self: Draw, attempt: Attempt) -> Judged:
    """In the second batch, of problems 2 and 3, the second process has nothing to train on."""
    if attempt.problem.id == self.problems(3).id:
        return Judged(attempt, reward(Fate.VERIFIER_ERROR))
    return _by_parity(self, attempt)


def test_two_processes_take_the_steps_of_one(model_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run(
        [*command, str(model_folder), str(tmp_path / "two")],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        timeout=200,
    )
    with mock.patch.object(test_rl, "_by_parity", without_the_last_problem):
        one = _train(CONFIG_OF_TWO, model_folder, tmp_path / "one")
    two = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").open()]
    assert len(one) == len(two) == 2
    assert (
        [entry["dropped_too_few_valid"] for entry in one] == [entry["dropped_too_few_valid"] for entry in two] == [0, 1]
    )
    for alone, together in zip(one, two, strict=True):
        for name in ("loss", "gradient_norm", "deviation", "reward", "trained_tokens", "entropy"):
            assert together[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-6), name
    weights, expected = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("two", "one"))
    for name in expected:
        # bfloat16, and Adam's first steps are the signs of gradients, noise included
        close = (weights[name].float() - expected[name].float()).abs() < 1e-3
        assert close.float().mean() > 0.99, name
    Qwen3ForCausalLM.from_pretrained(tmp_path / "two" / "model")
