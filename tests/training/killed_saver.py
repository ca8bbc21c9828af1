"""Run by `test_checkpoint.py`: a process that saves without end is killed at random moments.

    killed_saver.py FOLDER ROUNDS    prints the step that was found whole after every kill

Every parameter of step N holds N, so a checkpoint that mixes steps is found out. Steps count from 1, as checkpoints do;
so a checkpoint of a higher number than the last step is a new one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from itertools import count
from pathlib import Path
from random import Random

import torch
from torch.optim import SGD

from espalier.training.run.checkpoint import CheckpointError, Progress, restore, save
from tests.training.synthetic import policy


def save_without_end(folder: Path, first: int) -> None:
    """Never returns."""
    network = policy(seed=0).network
    for step in count(first):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(step)
        save(folder, network, {"sgd": SGD(network.parameters())}, Progress(step))


def whole_step(folder: Path) -> int:
    """The step of the checkpoint in the folder, 0 if there is none."""
    network = policy(seed=0).network
    try:
        step = restore(folder, network, {"sgd": SGD(network.parameters())}).step
    except CheckpointError:
        return 0
    assert all(bool((parameter == step).all()) for parameter in network.parameters())
    return step


def main(folder: Path, rounds: int) -> None:
    """See the module."""
    draw = Random(0)
    step = 0
    for _ in range(rounds):
        child = os.fork()
        if child == 0:
            save_without_end(folder, step + 1)
        while not any(int(path.name) > step for path in folder.glob("[0-9]*")):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        step = whole_step(folder)
        print(step, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))
