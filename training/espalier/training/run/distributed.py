"""The processes of a run: one, or many under `torchrun`, with the same training loop.

Parameters are sharded with FSDP2. A rank's loss is the sum over its own tokens divided by the *global* number of
tokens, and gradients are summed over ranks, not averaged: ranks and micro-batches give the gradient of one big batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from espalier.training.run.torchrun import launched

PATIENCE = timedelta(days=30)
"""How long a process may keep the others waiting. One that fails ends them all at once: `torchrun` sees to that."""


@dataclass(frozen=True, slots=True)
class TrainingGroup:
    """The processes that train one model together.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        device: Where this process computes.
        mesh: The processes as a mesh; None in a run of one process, which needs no torch.distributed.
        control: A group of the same processes whose operations may wait as long as rollouts and verifiers take.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    mesh: DeviceMesh | None = None
    control: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, elementwise; a new tensor."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def maximum(self, values: Tensor) -> Tensor:
        """Maximum over all processes, elementwise; a new tensor."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def total(self, value: float) -> float:
        """Sum of a number over all processes."""
        return value if self.mesh is None else self.sum(torch.tensor(value, dtype=torch.float64)).item()

    def largest(self, value: float) -> float:
        """Largest of a number over all processes: what they go by where each has a clock of its own."""
        return value if self.mesh is None else self.maximum(torch.tensor(value, dtype=torch.float64)).item()

    def barrier(self) -> None:
        """Wait for all processes, however long the work of one takes: collective operations on tensors have a limit."""
        if self.control is not None:
            dist.barrier(group=self.control)

    def shard(self, model: nn.Module) -> nn.Module:
        """Put the model on the device, its parameters shared out over the processes (FSDP2).

        Every decoder layer is one unit of communication, the rest another. On CUDA parameters are gathered in bfloat16;
        gradients are always summed in float32. Call it once, before optimisers are made.
        """
        model.to(self.device)
        if self.mesh is None:
            return model
        compute = torch.bfloat16 if self.device.type == "cuda" else None
        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for module in (*_layers(model), model):
            sharded: FSDPModule = fully_shard(module, mesh=self.mesh, mp_policy=policy)
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no scaled sum
        return model

    def _reduced(self, values: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        result = values.detach().clone().to(self.device)
        if self.mesh is not None:
            dist.all_reduce(result, operation)
        return result


ALONE = TrainingGroup()
"""One process on the CPU."""


@contextmanager
def training_group(device: str) -> Iterator[TrainingGroup]:
    """This process and its peers, as `torchrun` has started them; without `torchrun`, this process alone.

    A block that ends well ends in all processes together, so that none closes its connections while another still uses
    them. A process that has been part of a group should end with `torchrun.leave`.

    Args:
        device: "cpu" or "cuda"; under `torchrun` each process of a host takes the GPU of its local rank.
    """
    if not launched():
        yield TrainingGroup(device=torch.device(device))
        return
    own = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", device_id=own if own.type == "cuda" else None)
    try:
        mesh = init_device_mesh(own.type, (dist.get_world_size(),))
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        group = TrainingGroup(dist.get_rank(), dist.get_world_size(), own, mesh, control)
        yield group
        group.barrier()
    finally:
        dist.destroy_process_group()


def _layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers: the members of the largest list of modules."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])
