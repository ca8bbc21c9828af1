from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.optim import AdamW
from transformers import AutoModelForCausalLM

from espalier.training.model.network import PolicyNetwork
from espalier.training.run.checkpoint import CheckpointError, Progress, restore, save
from tests.training.conftest import ROOT
from tests.training.synthetic import policy


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write beyond this size, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _optimizer(model: PolicyNetwork) -> dict[str, torch.optim.Optimizer]:
    return {"adam": AdamW(model.parameters(), lr=1e-2)}


def test_a_run_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    script = str(ROOT / "tests" / "training" / "killed_saver.py")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, script, str(tmp_path), "12"], env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    steps = [int(line) for line in done.stdout.split()]
    assert len(steps) == 12
    assert all(before < after for before, after in pairwise([0, *steps]))


def test_a_full_disk_is_named_and_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    model = policy(seed=0)
    save(tmp_path, model.network, _optimizer(model), Progress(1))
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with files_of_at_most(10_000), pytest.raises(CheckpointError, match=r"cannot write .*: .*File too large.*are kept"):
        save(tmp_path, model.network, _optimizer(model), Progress(2))
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    assert restore(tmp_path, model.network, _optimizer(model)) == Progress(1)
    assert all(map(torch.equal, model.parameters(), expected))


def test_randomness_goes_on_where_it_was(tmp_path: Path) -> None:
    model = policy(seed=0)
    save(tmp_path, model.network, _optimizer(model), Progress(1))
    expected = torch.rand(4)
    restore(tmp_path, model.network, _optimizer(model))
    assert torch.equal(torch.rand(4), expected)


def test_only_the_latest_checkpoint_is_kept(tmp_path: Path) -> None:
    model = policy(seed=0)
    for step in (9, 10, 3):
        save(tmp_path, model.network, _optimizer(model), Progress(step))
    assert [path.name for path in tmp_path.iterdir()] == ["00000003"]
    assert restore(tmp_path, model.network, _optimizer(model)) == Progress(3)


@pytest.mark.parametrize("missing", ["progress.json", "*.safetensors"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, missing: str) -> None:
    model = policy(seed=0)
    save(tmp_path, model.network, _optimizer(model), Progress(1))
    for path in (tmp_path / "00000001").glob(missing):
        path.unlink()
    with pytest.raises(CheckpointError, match="00000001 holds no checkpoint of a model of this shape"):
        restore(tmp_path, model.network, _optimizer(model))


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model = policy(seed=0)
    save(tmp_path, model.network, _optimizer(model), Progress(1))
    config = model.network.config
    config.hidden_size = 64
    other = PolicyNetwork(AutoModelForCausalLM.from_config(config))
    with pytest.raises(CheckpointError, match="holds no checkpoint of a model of this shape"):
        restore(tmp_path, other.network, _optimizer(other))
