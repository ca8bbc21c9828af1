"""Run by `test_distributed.py` under `torchrun`: go on from a checkpoint by one step, on any number of processes.

two_ranks.py FOLDER    reads FOLDER/one, writes FOLDER/two and FOLDER/weights.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from espalier.training.data.packing import PackedSequence, packed_sequence
from espalier.training.model.network import PolicyNetwork, checkpoint_layers, collate
from espalier.training.model.weights import full_weights
from espalier.training.run.checkpoint import Progress, restore, save
from espalier.training.run.distributed import TrainingGroup, training_group
from espalier.training.run.torchrun import leave
from tests.training.synthetic import policy, rows

SEQUENCES = 3
LENGTH = 96


def step(
    model: PolicyNetwork, optimizer: torch.optim.Optimizer, mine: list[PackedSequence], group: TrainingGroup
) -> float:
    """One optimiser step of a row at a time; the mean loss over the tokens of all processes."""
    batches = [collate([row], group.device) for row in mine]
    total = group.sum(torch.tensor(float(sum(batch.trained for batch in batches))))
    loss = torch.zeros(())
    for batch in batches:
        part = -model(batch).logprobs.sum() / total
        part.backward()
        loss += part.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    optimizer.zero_grad()
    return float(group.sum(loss))


def main(folder: Path) -> None:
    """See the module."""
    with training_group("cpu") as group:
        model = policy(seed=5)
        checkpoint_layers(model.network)
        group.shard(model)
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        progress = restore(folder / "one", model.network, {"adam": optimizer}, group)
        mine = rows(SEQUENCES, LENGTH)[group.rank :: group.size]
        most = int(group.maximum(torch.tensor(len(mine))))
        mine += [packed_sequence([], LENGTH)] * (most - len(mine))  # every process has to run as many passes
        loss = step(model, optimizer, mine, group)
        save(folder / "two", model.network, {"adam": optimizer}, Progress(progress.step + 1, position=SEQUENCES), group)
        weights = dict(full_weights(model.network))
        if group.is_main:
            assert group.size == 2
            (folder / "loss").write_text(repr(loss))
            save_file(weights, folder / "weights.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    leave()
