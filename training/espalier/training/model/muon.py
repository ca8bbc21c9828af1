"""Muon (Jordan et al. 2024), for many small matrices at once.

`torch.optim.Muon` orthogonalises one matrix after the other; for the dozens of small matrices of a small model the
launches cost more than the arithmetic. Here matrices of equal shape are stacked and orthogonalised together; sharded
ones are gathered for it, on every process. Learning rates are on AdamW's scale (Liu et al. 2025: updates scaled to a
root mean square of 0.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximate orthogonal factors of a (count, rows, columns) stack by Newton-Schulz iterations.

    In bfloat16 on a GPU, where it is fast and enough; in float32 elsewhere: CPUs multiply stacks of bfloat16 matrices
    several times as slowly.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(Optimizer):
    """Momentum, orthogonalised, with decoupled weight decay.

    Args:
        matrices: Parameters with two dimensions.
        lr: Learning rate, on AdamW's scale.
        momentum: Of the (Nesterov) moving average of gradients.
        weight_decay: Decoupled, times the learning rate.
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient. Closures are not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            matrices = sorted((p for p in group["params"] if p.grad is not None), key=lambda p: tuple(p.shape))
            for shape, same in groupby(matrices, key=lambda p: tuple(p.shape)):
                self._update(list(same), 0.2 * max(shape) ** 0.5, group)

    def _update(self, matrices: list[Tensor], scale: float, group: dict[str, Any]) -> None:
        gradients = [p.grad for p in matrices if p.grad is not None]
        for p in matrices:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        averages = [self.state[p]["momentum"] for p in matrices]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])
        whole = orthogonalise(torch.stack([_whole(matrix) for matrix in ahead])).to(matrices[0].dtype).unbind()
        updates = [_shared_like(matrix, update) for matrix, update in zip(matrices, whole, strict=True)]
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, updates, alpha=-group["lr"] * scale)


def _whole(matrix: Tensor) -> Tensor:
    return matrix.full_tensor() if isinstance(matrix, DTensor) else matrix


def _shared_like(matrix: Tensor, update: Tensor) -> Tensor:
    """An update that every process has whole, shared out as its matrix is."""
    if not isinstance(matrix, DTensor):
        return update
    return distribute_tensor(update, matrix.device_mesh, matrix.placements, src_data_rank=None)
