#!/usr/bin/env python
"""Training at length: packed rows with a block mask against dense masks, and log-probabilities in chunks.

    python benchmarks/training.py                       # a small model on a CPU
    python benchmarks/training.py --size 4b             # Qwen3-4B's shape, random weights, on a GPU
    python benchmarks/training.py --size 4b --layers 4 --parts step --lengths 32768 --branches 5

Every part works on `--row` tokens, cut into samples of each of the `--lengths`. `packed` is this project's way: one row
holds all samples, and FlexAttention has a block mask. `dense` is the way of the public NPR trainer: one sample after
the other, each with an additive n x n mask, through scaled dot-product attention. It makes the mask on the device, in
the model's type; `public` makes it as the public trainer does, on the host in float32, and moves it. So `dense` says
what the attention itself costs, and `public` what its users wait for. On a CPU `packed` falls back to a dense mask of
the whole row, so times say nothing there. All ways score tokens in chunks and keep only the inputs of the layers for
the backward pass.

  attention  one layer of attention, forward and backward
  step       a training step: forward, backward, AdamW
  logprobs   log-probabilities of a row and their gradient: in chunks, and from all logits at once

A line comes as soon as it is measured. `us/token` is the best of `--repeats`, masks included; `mask MiB` is the memory
of what says who sees whom in one pass; `peak MiB` is what stands in the GPU's memory at most on top of the model, the
optimiser's state and the inputs; `x first` is the time over that of the first way on the same work; `difference` is
|first - this| / |this|, norms over all gradients together. Out of memory is a result.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.training.synthetic import Words, forked, random_sequence

from espalier.runtime.layout import Layout, mask_mod, pack
from espalier.training.data.packing import PackedSequence
from espalier.training.model.logprobs import token_logprobs
from espalier.training.model.network import ATTENTION, MicroBatch, checkpoint_layers, collate, compile_layers, score
from recipes.seedling.network import build
from recipes.seedling.settings import ModelConfig

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: a model and rows of `row` tokens."""

    model: ModelConfig
    words: int
    dtype: torch.dtype
    row: int
    lengths: tuple[int, ...]
    branches: tuple[int, ...] = (5, 1)
    ways: tuple[str, ...] = ("packed", "dense", "public")
    compiled: bool = False
    device: torch.device = torch.device("cpu")
    repeats: int = 2


SIZES = {
    "tiny": Setting(
        ModelConfig(64, 2, 4, 2, 16, 192, 32768, 1e6), 2_048, torch.float32, row=2048, lengths=(2048, 1024, 512)
    ),
    "4b": Setting(
        ModelConfig(2560, 36, 32, 8, 128, 9728, 32768, 1e6),
        151_936,
        torch.bfloat16,
        row=32768,
        lengths=(32768, 16384, 8192, 4096),
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """A measurement, as the module's table explains it; None where there is nothing to say."""

    part: str
    length: int
    branches: int
    way: str
    us_per_token: float | None = None
    mask_mib: float | None = None
    peak_mib: float | None = None
    times_first: float | None = None
    difference: float | None = None
    note: str = ""


Report = Callable[[Result], None]


# Work: the same tokens in one row, and one sample after the other


@dataclass(frozen=True, slots=True)
class Work:
    """Samples of one length that fill a row: the row with all of them, and each as a row of its own."""

    length: int
    branches: int
    packed: PackedSequence
    alone: list[PackedSequence]


def layout(length: int, branches: int) -> Layout:
    """A plain chain, or a tenth of the tokens, a block with steps of equal lengths, and another tenth."""
    if branches == 1:
        return forked(length, [], 0)
    edge = length // 10
    step = (length - 2 * edge) // branches
    return forked(edge, [step] * branches, length - edge - step * branches)


def work(setting: Setting, length: int, branches: int) -> Work:
    """As many samples as fit into the row."""
    one = layout(length, branches)
    count = setting.row // length
    packed = random_sequence([one] * count, count * length, 0, setting.words)
    parts = [slice(start, start + length) for start in range(0, count * length, length)]
    alone = [
        PackedSequence(packed.tokens[part], packed.trained[part], packed.task[part], pack([one])) for part in parts
    ]
    return Work(length, branches, packed, alone)


@dataclass(frozen=True, slots=True)
class Way:
    """How a work becomes passes through the model, and which attention function understands their masks."""

    name: str
    rows: Callable[[Work], list[PackedSequence]]
    batch: Callable[[PackedSequence, Setting], MicroBatch]
    attention: str


def dense_batch(one: PackedSequence, setting: Setting) -> MicroBatch:
    """A row with a (1, 1, n, n) mask: 0 where a token is seen, minus infinity elsewhere."""
    index = torch.arange(len(one.tokens), device=setting.device)
    seen = mask_mod(one.packed, setting.device)(index[0], index[0], index[:, None], index[None, :])
    mask = torch.zeros(seen.shape, dtype=setting.dtype, device=setting.device).masked_fill_(~seen, -torch.inf)
    return replace(collate([one], setting.device), visible=mask[None, None])


def public_batch(one: PackedSequence, setting: Setting) -> MicroBatch:
    """The same mask, made on the host in float32, with as few writes as can be, and moved."""
    size = len(one.tokens)
    mask = torch.full((size, size), -torch.inf).triu_(1)
    for start, until in zip(one.packed.hidden_from, one.packed.hidden_until, strict=True):
        edges = (np.flatnonzero((np.diff(start) != 0) | (np.diff(until) != 0)) + 1).tolist()
        for first, last in pairwise([0, *edges, size]):  # tokens that the same later ones do not see
            mask[start[first] : until[first], first:last] = -torch.inf
    return replace(collate([one], setting.device), visible=mask.to(setting.device).to(setting.dtype)[None, None])


def masked_attention(
    module: object,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _: object,
    *,
    visible: Tensor,
    scaling: float,
    **__: object,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention under an additive mask, as the public trainer's model computes it."""
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


DENSE = "espalier_benchmark_dense"
AttentionInterface.register(DENSE, masked_attention)

WAYS = {
    "packed": Way("packed", lambda work: [work.packed], lambda one, setting: collate([one], setting.device), ATTENTION),
    "dense": Way("dense", lambda work: work.alone, dense_batch, DENSE),
    "public": Way("public", lambda work: work.alone, public_batch, DENSE),
}


def mask_mib(visible: BlockMask | Tensor) -> float:
    """Size of the tensors that a mask is made of, those that its function looks into included."""
    if isinstance(visible, Tensor):
        return visible.nbytes / MIB
    inside = [cell.cell_contents for cell in visible.mask_mod.__closure__ or ()]
    return sum(item.nbytes for item in (*visible.as_tuple(), *inside) if isinstance(item, Tensor)) / MIB


# Measuring


@dataclass(slots=True)
class Peak:
    """Most memory in use, beyond what was in use at the beginning; None on a CPU, where nothing counts it."""

    mib: float | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch the GPU's memory."""
    peak = Peak()
    if device.type != "cuda":
        yield peak
        return
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    yield peak
    peak.mib = (torch.cuda.max_memory_allocated() - before) / MIB


def seconds(run: Callable[[], None], device: torch.device) -> float:
    """How long it takes on the device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def distance(first: Sequence[Tensor], this: Sequence[Tensor]) -> float:
    """|first - this| / |this| over all tensors together."""
    pairs = list(zip(first, this, strict=True))
    apart = sum(float((a.float() - b.float()).square().sum()) for a, b in pairs)
    return float((apart / sum(float(b.float().square().sum()) for _, b in pairs)) ** 0.5)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to do a piece of work: `run` leaves its gradients where `gradients` finds and removes them."""

    name: str
    run: Callable[[], None]
    gradients: Callable[[], list[Tensor]]
    mask_mib: float | None = None


def compare(
    part: str, length: int, branches: int, candidates: Sequence[Candidate], setting: Setting, report: Report
) -> None:
    """Measure each and report it, in comparison with the first."""
    first: Result | None = None
    expected: list[Tensor] = []
    for candidate in candidates:
        result = Result(part, length, branches, candidate.name, mask_mib=candidate.mask_mib)
        try:
            with peak_memory(setting.device) as peak:
                best = min(seconds(candidate.run, setting.device) for _ in range(setting.repeats))
        except torch.OutOfMemoryError:
            candidate.gradients()
            report(replace(result, note="out of memory"))
            continue
        found = candidate.gradients()
        result = replace(result, us_per_token=1e6 * best / setting.row, peak_mib=peak.mib)
        if first is None or first.us_per_token is None or result.us_per_token is None:
            first, expected = result, found
        else:
            times = result.us_per_token / first.us_per_token
            result = replace(result, times_first=times, difference=distance(expected, found))
        report(result)


def taken(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Their gradients, which they lose."""
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    for tensor in tensors:
        tensor.grad = None
    return gradients


Run = Callable[[Way, Work], None]


def compare_ways(part: str, setting: Setting, report: Report, run: Run, leaves: Sequence[Tensor]) -> None:
    """Measure the ways at every length, longest first, after a pass of each that compiles and loads kernels."""
    ways = [WAYS[name] for name in setting.ways]
    few = min(1024, *setting.lengths)
    for way in ways:
        row = setting.row if way.name == "packed" else few  # kernels of the packed way are compiled for one length
        run(way, work(replace(setting, row=row), few, setting.branches[0]))

    def candidate(way: Way, each: Work) -> Candidate:
        size = mask_mib(way.batch(way.rows(each)[0], setting).visible)
        return Candidate(way.name, lambda: run(way, each), lambda: taken(leaves), size)

    for length in setting.lengths:
        for branches in setting.branches:
            each = work(setting, length, branches)
            compare(part, length, branches, [candidate(way, each) for way in ways], setting, report)


# Parts


def attention(setting: Setting, report: Report) -> None:
    """One layer of attention, forward and backward."""
    shape = setting.model
    torch.manual_seed(0)

    def heads(count: int) -> Tensor:
        """(1, heads, row, dim), laid out as a model lays them out."""
        size = (1, setting.row, count, shape.head_dim)
        return torch.randn(size, dtype=setting.dtype, device=setting.device).transpose(1, 2).requires_grad_()

    leaves = query, key, value = heads(shape.heads), heads(shape.kv_heads), heads(shape.kv_heads)
    slope = torch.randn_like(query).transpose(1, 2)
    module = SimpleNamespace(num_key_value_groups=shape.heads // shape.kv_heads, is_causal=False)

    def run(way: Way, work: Work) -> None:
        taken(leaves)
        start = 0
        for one in way.rows(work):
            at = slice(start, start := start + len(one.tokens))
            parts = query[:, :, at], key[:, :, at], value[:, :, at]
            visible = way.batch(one, setting).visible
            out, _ = AttentionInterface()[way.attention](
                module, *parts, None, visible=visible, scaling=shape.head_dim**-0.5
            )
            out.backward(slope[:, at])

    compare_ways("attention", setting, report, run, leaves)


def step(setting: Setting, report: Report) -> None:
    """A training step of the whole model, at rate 0: every step begins with the same weights."""
    torch.manual_seed(0)
    torch.set_default_dtype(setting.dtype)
    with setting.device:
        network = build(setting.model, Words(setting.words)).train()
    torch.set_default_dtype(torch.float32)
    checkpoint_layers(network)
    if setting.compiled:
        compile_layers(network)
    leaves = list(network.parameters())
    optimizer = torch.optim.AdamW(leaves, lr=0.0, weight_decay=0.0, fused=True)

    def run(way: Way, work: Work) -> None:
        taken(leaves)
        network.set_attn_implementation(way.attention)
        trained = int(work.packed.trained.sum())
        for one in way.rows(work):
            loss = -score(network, way.batch(one, setting)).logprobs.sum() / trained
            loss.backward()
        optimizer.step()

    compare_ways("step", setting, report, run, leaves)


def logprobs(setting: Setting, report: Report) -> None:
    """Log-probabilities of a row and their gradient, in chunks and from all logits at once."""
    torch.manual_seed(0)
    options = {"dtype": setting.dtype, "device": setting.device}
    hidden = torch.randn(setting.row, setting.model.hidden, **options).requires_grad_()
    weight = (0.02 * torch.randn(setting.words, setting.model.hidden, **options)).requires_grad_()
    targets = torch.randint(setting.words, (setting.row,), device=setting.device)

    def in_chunks() -> Tensor:
        return token_logprobs(hidden, weight, targets).logprobs

    def at_once() -> Tensor:
        return F.log_softmax(F.linear(hidden, weight).float(), -1).gather(-1, targets[:, None])

    def candidate(name: str, function: Callable[[], Tensor]) -> Candidate:
        def run() -> None:
            taken((hidden, weight))
            function().mean().backward()

        return Candidate(name, run, lambda: taken((hidden, weight)))

    candidates = [candidate("chunks", in_chunks), candidate("all logits", at_once)]
    compare("logprobs", setting.row, 1, candidates, setting, report)


PARTS = {"step": step, "attention": attention, "logprobs": logprobs}

COLUMNS = (
    ("part", "{:<9}"), ("length", "{:>6}"), ("branches", "{:>8}"), ("way", "{:<10}"), ("us_per_token", "{:>9.2f}"),
    ("mask_mib", "{:>9.2f}"), ("peak_mib", "{:>9.1f}"), ("times_first", "{:>7.2f}"), ("difference", "{:>10.1e}"),
    ("note", "{}"),
)  # fmt: skip


def line(result: Result) -> str:
    """A line of the table."""
    values = asdict(result)
    blank = {name: len(form.format(0)) for name, form in COLUMNS if name != "note"}
    return "  ".join(
        form.format(values[name]) if values[name] is not None else " " * blank[name] for name, form in COLUMNS
    )


def main() -> int:
    """Measure, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--layers", type=int, help="of the model; default: all that the size has")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--lengths", nargs="+", type=int, metavar="TOKENS", help="of a sample")
    parser.add_argument("--row", type=int, metavar="TOKENS", help="of all samples together; default: the longest")
    parser.add_argument("--branches", nargs="+", type=int, default=[5, 1], help="steps of a sample's block; 1: none")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of masking")
    parser.add_argument("--compile", action="store_true", help="the layers of the step, and not only their attention")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    arguments = parser.parse_args()

    size = SIZES[arguments.size]
    lengths = tuple(arguments.lengths or size.lengths)
    setting = replace(
        size,
        model=replace(size.model, layers=arguments.layers or size.model.layers),
        lengths=lengths,
        row=arguments.row or max(lengths),
        branches=tuple(arguments.branches),
        ways=tuple(arguments.ways),
        compiled=arguments.compile,
        device=torch.device(arguments.device),
        repeats=arguments.repeats,
    )
    if any(setting.row % length for length in lengths):
        parser.error(f"--lengths: each has to divide the row of {setting.row} tokens")

    def report(result: Result) -> None:
        print(json.dumps(asdict(result)) if arguments.json else line(result), flush=True)

    if not arguments.json:
        name = torch.cuda.get_device_name() if setting.device.type == "cuda" else "CPU"
        print(f"{name}, torch {torch.__version__}, {arguments.size}, {setting.model.layers} layers, {setting.dtype}\n")
        print("part       length  branches  way          us/token   mask MiB   peak MiB  x first  difference")
    for part in arguments.parts:
        PARTS[part](setting, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
