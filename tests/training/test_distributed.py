from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import AdamW

from espalier.training.model.network import PolicyNetwork
from espalier.training.model.weights import full_weights
from espalier.training.run.checkpoint import Progress, restore, save
from espalier.training.run.distributed import ALONE, training_group
from tests.training.conftest import ROOT
from tests.training.synthetic import policy, rows
from tests.training.two_ranks import SEQUENCES, step


def test_a_step_on_two_ranks_is_the_step_on_one_and_its_checkpoint_goes_back(tmp_path: Path) -> None:
    """One process saves, two load and make a step with activation checkpointing, one loads what they have saved.

    AdamW's first moment is linear in the gradient, so it shows whether gradients are equal; the ranks get two rows and
    one row.
    """
    model, optimizer = _trained_one_step()
    save(tmp_path / "one", model.network, {"adam": optimizer}, Progress(1, position=SEQUENCES))
    loss = step(model, optimizer, rows(SEQUENCES), ALONE)

    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(ROOT / "tests" / "training" / "two_ranks.py")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [*launch, script, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr

    assert float((tmp_path / "loss").read_text()) == pytest.approx(loss, rel=1e-6)
    other = policy(seed=6)
    theirs = AdamW(other.parameters(), lr=1e-2)
    assert restore(tmp_path / "two", other.network, {"adam": theirs}) == Progress(2, position=SEQUENCES)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        moment = optimizer.state[one]["exp_avg"]
        assert (moment - theirs.state[two]["exp_avg"]).abs().max() <= 2e-6 * moment.abs().max()
        assert torch.equal(optimizer.state[one]["step"], theirs.state[two]["step"])
        assert torch.allclose(one, two, atol=1e-4)
    gathered = load_file(tmp_path / "weights.safetensors")
    assert gathered.keys() == dict(model.network.named_parameters()).keys()
    for name, parameter in other.network.named_parameters():
        assert torch.equal(gathered[name], parameter.detach().bfloat16())


def test_without_torchrun_the_group_is_this_process() -> None:
    with training_group("cpu") as group:
        assert (group.rank, group.size, group.is_main) == (0, 1, True)
        assert group.sum(torch.tensor([1.5, 2.0])).tolist() == [1.5, 2.0]
        model = policy(seed=0)
        assert group.shard(model) is model


def test_weights_for_engines_are_gathered_one_at_a_time() -> None:
    network = policy(seed=0).network
    weights = full_weights(network)
    name, weight = next(weights)
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight, network.get_parameter(name).bfloat16())
    assert len(list(weights)) + 1 == len(list(network.parameters()))


def _trained_one_step() -> tuple[PolicyNetwork, AdamW]:
    model = policy(seed=0)
    optimizer = AdamW(model.parameters(), lr=1e-2)
    step(model, optimizer, rows(SEQUENCES), ALONE)
    return model, optimizer
