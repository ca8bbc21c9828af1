"""Rotary positions of forked and joined requests: index in the row plus an offset that changes only at a join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Positions:
    """Offsets by row, on the device.

    Every request enters a batch by an extend, which writes the offset of its row; a decode only gathers. Both happen on
    the stream of the forward pass, so a step costs one small kernel, no copy from the host and no wait.
    """

    def __init__(self) -> None:
        self._offsets: torch.Tensor | None = None

    def shift(self, forward: Any, offsets: Sequence[int] | None, rows: int) -> None:
        """Shift the positions of one forward pass.

        Args:
            forward: SGLang's `ForwardBatch`.
            offsets: One per request for an extend; None for a decode.
            rows: Size of the token table.
        """
        indices = forward.req_pool_indices
        if offsets is None:
            if self._offsets is not None:
                forward.positions = forward.positions + self._offsets[indices].to(forward.positions.dtype)
            return
        if self._offsets is None:
            if not any(offsets):
                return
            self._offsets = torch.zeros(rows, dtype=torch.int64, device=indices.device)
        new = torch.tensor(offsets, dtype=torch.int64, pin_memory=indices.is_cuda).to(indices.device, non_blocking=True)
        self._offsets[indices] = new
        total = forward.positions.shape[0]
        shifts = torch.repeat_interleave(new, forward.extend_seq_lens.to(torch.int64), output_size=total)
        forward.positions = forward.positions + shifts.to(forward.positions.dtype)
