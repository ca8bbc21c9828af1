"""Passes of few fixed shapes, which a GPU records once and then replays.

A pass of a small model is some hundred kernels that take longer to start one by one than to run. Recorded as a CUDA
graph they start together. A recording is of one shape; therefore every token becomes a row of its own with the pages
that it sees (of a run of forced tokens each), and rows and pages are padded to the next shape.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from espalier.runtime.local.batch import Int64Array, pack, padded
from espalier.runtime.local.scheduler import Chunk

ROWS = (8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
PAGES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Shapes: the least that holds a pass is taken. Passes beyond the last are computed as they come."""

SLOTS = 1 << 20
"""Most slots that the rows of a recorded pass see together: what is gathered of each layer has to fit into memory."""

Numbers = TypeVar("Numbers", Int64Array, torch.Tensor)


def views(chunks: Sequence[Chunk]) -> tuple[Int64Array, Int64Array]:
    """What every token of the chunks sees: (N, P) pages, and how far into each. O(tokens x pages)."""
    counts = np.array([len(chunk) for chunk in chunks])
    row = np.repeat(np.arange(len(chunks)), counts)
    behind = counts.cumsum()[row] - 1 - np.arange(len(row))
    pages = padded([chunk.pages for chunk in chunks])[row]
    fills = padded([chunk.fills for chunk in chunks])[row]
    if behind.any():  # a token does not see those of its own chunk that come after it
        before = fills.cumsum(1) - fills
        fills = np.clip((fills.sum(1) - behind)[:, None] - before, 0, fills)
    return pages, fills


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a recorded pass: N rows that see P pages each. Its numbers travel in one tensor."""

    rows: int
    pages: int

    @property
    def size(self) -> int:
        """Numbers of a pass."""
        return (4 + 2 * self.pages) * self.rows

    def parts(self, numbers: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers, Numbers]:
        """Views of (size,) numbers: tokens, positions, slots, kept (N,); pages, fills (N, P)."""
        columns, n = numbers[: 4 * self.rows].reshape(4, self.rows), 4 * self.rows
        wide = numbers[n:].reshape(2, self.rows, self.pages)
        return columns[0], columns[1], columns[2], columns[3], wide[0], wide[1]


def shape_of(rows: int, pages: int, size: int) -> Shape | None:
    """The least shape for N rows of P pages of `size` slots; None: there is none."""
    fitting = next((n for n in ROWS if n >= rows), None)
    wide = next((p for p in PAGES if p >= pages), None)
    if fitting is None or wide is None or fitting * wide * size > SLOTS:
        return None
    return Shape(fitting, wide)


Compute = Callable[[tuple[torch.Tensor, ...]], torch.Tensor]
"""From the parts of a shape, on the device, to (N, vocabulary) logits of the kept rows."""


class _Recording:
    """A shape with its tensors and, on a GPU, its graph."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.shape = shape
        self.host = torch.zeros(shape.size, dtype=torch.int64, pin_memory=device.type == "cuda")
        self.numbers = self.host.to(device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def fill(self, chunks: Sequence[Chunk], page: int, size: int) -> None:
        """Put a pass in place. Padding writes to the scratch page and sees one slot of it."""
        values, (seen, far) = pack(chunks), views(chunks)
        tokens, positions, slots, kept, pages, fills = self.shape.parts(self.host.numpy())
        count, width = seen.shape
        self.host.zero_()
        slots[:] = page * size
        pages[count:] = page
        fills[count:, 0] = 1
        tokens[:count], positions[:count], slots[:count] = values.tokens, values.positions, values.slots
        kept[: len(values.last)] = values.last
        pages[:count, :width], fills[:count, :width] = seen, far
        self.numbers.copy_(self.host)


class CudaGraphRunner:
    """Computes passes of fixed shapes with one function.

    Not thread-safe: one thread decodes. What a pass returns is overwritten by the next one.
    """

    def __init__(self, compute: Compute, device: torch.device, page_size: int, scratch: int) -> None:
        """
        Args:
            compute: The pass: a function of tensors alone, with no look at their values.
            device: Where it runs.
            page_size: Slots of a page.
            scratch: A page that no branch sees.
        """
        self._compute = compute
        self._device = device
        self._page_size = page_size
        self._scratch = scratch
        self._recordings: dict[Shape, _Recording] = {}
        self._logits: torch.Tensor | None = None
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def __call__(self, chunks: Sequence[Chunk]) -> tuple[torch.Tensor, list[Chunk]] | None:
        """Compute a pass: (C, vocabulary) logits of the C chunks that want a token, and those chunks.

        None where no shape holds it.
        """
        count = sum(map(len, chunks))
        shape = shape_of(count, max(len(chunk.pages) for chunk in chunks), self._page_size)
        if shape is None:
            return None
        recording = self._recordings.get(shape)
        if recording is None:
            recording = self._recordings[shape] = _Recording(shape, self._device)
        recording.fill(chunks, self._scratch, self._page_size)
        wanting = [chunk for chunk in chunks if chunk.wanted is not None]
        return self._run(recording)[: len(wanting)], wanting

    def _run(self, recording: _Recording) -> torch.Tensor:
        parts = recording.shape.parts(recording.numbers)
        if self._pool is None:
            return self._compute(parts)
        with torch.cuda.device(self._device):
            if recording.graph is None:
                try:
                    self._record(recording, parts)
                except RuntimeError as error:
                    self._pool = None
                    warnings.warn(f"passes of this model cannot be recorded, so they are slower: {error}", stacklevel=1)
                    return self._compute(parts)
            assert recording.graph is not None  # noqa: S101 (it was recorded)
            recording.graph.replay()
        assert self._logits is not None  # noqa: S101 (it was recorded)
        return self._logits

    def _record(self, recording: _Recording, parts: tuple[torch.Tensor, ...]) -> None:
        """Compute the pass once, which loads kernels and fills workspaces, and record it.

        The warm-up writes the keys and values that the replay will write again.
        """
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            logits = self._compute(parts)
        torch.cuda.current_stream().wait_stream(side)
        if self._logits is None:  # one for all recordings: a large vocabulary's logits are large
            shape = (ROWS[-1], logits.shape[1])
            self._logits = torch.empty(shape, dtype=logits.dtype, device=logits.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads (a trainer's) may go on: only what this one does is recorded.
        with torch.no_grad(), torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
            self._logits[: len(logits)].copy_(self._compute(parts))
        recording.graph = graph
