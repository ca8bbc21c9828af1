"""Exactness, speed and memory of native parallel reasoning inside SGLang, on a model with random weights.

    python benchmarks/sglang_gpu.py                                # Qwen3-4B's shape in bfloat16 on a GPU
    python benchmarks/sglang_gpu.py --only kernels                 # decode attention alone: needs no server
    python benchmarks/sglang_gpu.py --only pressure --layers 8 --tokens 16000
    python benchmarks/sglang_gpu.py --only exactness,trees --layers 8 --ranks 2 --trees 16x8
    python benchmarks/sglang_gpu.py --model tiny --device cpu      # everything at small size, to try the script

Starts one SGLang server with the plugin and with a second plugin that puts tags where a script wants them
(sglang_forcing/): tags are forced, everything else is sampled. That plugin also captures every decode graph twice, with
tree attention (`tree`) and with SGLang's own kernel (`plain`), and changes between them while the server is idle; the
numbers of replays of each kind are checked. One problem is a prompt and two blocks with steps of unequal length, then
an answer. Measured:

* kernels: decode attention of one layer over prefixes that rows share, in CUDA graphs, against SGLang's Triton kernel,
  FlashInfer's cascade if it can be compiled, and against the floor (all keys and values of the forest read once, at the
  bandwidth of a copy); layers take turns, so that no layer finds its keys in the cache;
* fa3: the same without shared reads by FlashAttention 3, from the wheel `flash-attn3-jax`;
* trees: the same problems both ways, and by a client that does without the plugin: it samples the plans, then one
  request a step on the cached prefix, then goes on behind all steps. That is the same work, though not the function
  that the model was trained on (every step would see the ones before it);
* candidates: many candidates of one prompt, with branches and without, both ways;
* exactness: log-probability of every sampled token against one dense forward pass in float32 with the layout's mask and
  positions, beside that of stock decoding against its own (causal) pass, and beside the pass with a wrong, causal mask;
* pressure: the same for more problems than the key-value memory has room for (`--tokens`): requests are taken back and
  parked rows go to the host;
* profile: what a decode step costs the scheduler's thread at the largest number of rows, what of it tree attention's
  tables are, how long the thread waits for the GPU and how long the GPU has nothing to do;
* speed: stock decoding of as many tokens as the linearised response has, against fork and join. The limit is the stock
  time per token times the tokens of the longest chain. `passes+` are passes of the model per block beyond those that
  the longest chain needs, `steps+` is the time beyond them, per block and in stock steps. With one branch nothing runs
  side by side, so there `steps+` is what fork and join cost; with more, wider batches are in it;
* memory: most slots of the key-value memory in use by k candidates of one prompt, against every branch of every
  candidate with a copy of its own.

Every result is written to --out as a line of JSON as soon as it is there, a measurement that fails as a line that says
so; --only runs a part. CUDA graphs stay on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import torch

FORCING = Path(__file__).parent / "sglang_forcing"
sys.path.insert(0, str(FORCING))

import espalier_forcing as forcing  # noqa: E402

from espalier.runtime.grammar import EIGHT_TAGS, Tag, Vocabulary  # noqa: E402
from espalier.runtime.layout import dense_mask, layout, pack  # noqa: E402
from espalier.runtime.sglang.client.server import Server, session  # noqa: E402
from espalier.runtime.sglang.launch import Launch, Served, served  # noqa: E402
from espalier.runtime.sglang.plugin.tree_attention.backend import VARIABLE  # noqa: E402
from espalier.runtime.sglang.plugin.vocabulary import vocabulary_to_json  # noqa: E402
from espalier.runtime.sglang.protocol import FORCED, KEY, TAGS_VARIABLE, Summary  # noqa: E402

SHAPES: dict[str, dict[str, int]] = {
    "qwen3-4b": {
        "vocab_size": 151_936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
    },
}

GPU_FLAGS = (
    "--dtype bfloat16 --attention-backend triton --sampling-backend pytorch --grammar-backend none "
    "--mem-fraction-static 0.85 --max-running-requests 256 --skip-tokenizer-init --skip-server-warmup --random-seed 1 "
    "--cuda-graph-max-bs-prefill 256 --cuda-graph-bs-prefill 4 8 16 24 32 64 128 256 "
    "--cuda-graph-bs-decode 1 2 4 5 8 12 16 24 32 48 64 80 96 112 128"
)
CPU_FLAGS = (
    "--device cpu --dtype float32 --attention-backend torch_native --sampling-backend pytorch --grammar-backend none "
    "--max-running-requests 256 --disable-decode-cuda-graph --disable-prefill-cuda-graph "
    "--skip-tokenizer-init --skip-server-warmup --random-seed 1"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of one problem's parts, and what is measured. `long` are longer steps, where the plans weigh less.

    Attributes:
        pool: Tokens of the key-value memory.
        exact: Problems whose log-probabilities are compared.
        pressure: Problems at a time in a small pool; `exact` of them are compared.
        trees: Default of --trees.
    """

    prompt: int
    plan: int
    step: int
    long: int
    takeaway: int
    answer: int
    blocks: int
    problems: tuple[int, ...]
    branches: tuple[int, ...]
    candidates: tuple[int, ...]
    exact: int
    pressure: int
    pool: int
    trees: str


FULL_TREES = (
    "16x8,1x8,16x5,4x8,16x8x1024,1x5,4x5,16x2,4x2,1x2,4x8x1024,1x8x1024,16x5x1024,4x5x1024,1x5x1024,16x2x1024,4x2x1024,"
    "1x2x1024"
)
"""The most telling first."""

FULL = Sizes(512, 24, 320, 1024, 64, 96, 2, (1, 4, 16), (5, 8, 2, 3), (4, 16), 4, 12, 330_000, FULL_TREES)
SMALL = Sizes(24, 4, 12, 24, 6, 8, 2, (1, 4), (5, 2), (4,), 3, 12, 60_000, "4x5,1x5,1x2,4x5x24x1")

WAYS = ("tree", "plain", "client")


def ids(vocabulary_size: int) -> Vocabulary:
    """The last ids are the eight tags, the end of turn, the newline, and step labels of three tokens each."""
    first = vocabulary_size - 64
    tags = dict(zip(range(first, first + 8), EIGHT_TAGS, strict=True)) | {first + 8: Tag.END_OF_TURN}
    newline, colon = first + 9, first + 10
    labels = tuple((newline, first + 11 + number, colon) for number in range(16))
    return Vocabulary(tags, (newline,), labels)


@dataclass
class Tree:
    """A scripted problem.

    Attributes:
        script: By branch path, the token that each index of its row has to be.
        tokens: New tokens of all branches.
        critical: New tokens on the longest chain.
        passes: Passes of the model that the longest chain needs: its sampled tokens.
        held: Tokens that each branch's row would hold if it had a copy of its own, at the end of the last block.
        chain: What a client would ask for one after the other: tokens of the root, then steps side by side (opening,
            tokens), then the opening that follows them.
    """

    vocabulary: Vocabulary
    script: dict[str, dict[str, int]] = field(default_factory=lambda: {"": {}})
    tokens: int = 0
    critical: int = 0
    passes: int = 0
    held: int = 0
    chain: list[tuple[int, list[tuple[tuple[int, ...], int]], tuple[int, ...]]] = field(default_factory=list)
    _run: int = 0

    def _sample(self, count: int, ending: Tag | None = None) -> None:
        """`count` tokens of the root, of which the last may be a tag."""
        self.tokens += count
        self.critical += count
        self.passes += count
        self._run += count
        if ending is not None:
            self.script[""][str(self.tokens - 1)] = self.vocabulary.id_of(ending)

    def block(self, number: int, plan: int, steps: Sequence[int], takeaway: int) -> None:
        """Steps have so many sampled tokens, `</step>` included."""
        self._sample(1, Tag.GUIDELINE)
        for _ in steps:
            self._sample(1, Tag.PLAN)
            self._sample(plan)
            self._sample(1, Tag.END_PLAN)
        self._sample(1, Tag.END_GUIDELINE)
        openings = [len(self.vocabulary.step_opening(index)) for index in range(1, len(steps) + 1)]
        self.held = sum(self.tokens + opening + step for opening, step in zip(openings, steps, strict=True))
        for index, (opening, step) in enumerate(zip(openings, steps, strict=True), start=1):
            end = opening + step - 1
            self.script[f"{number}.{index}"] = {str(end): self.vocabulary.id_of(Tag.END_STEP)}
            self.tokens += opening + step
        self.critical += max(opening + step for opening, step in zip(openings, steps, strict=True))
        self.passes += max(steps)
        begun = [(tuple(self.vocabulary.step_opening(i)), step) for i, step in enumerate(steps, start=1)]
        self.chain.append((self._run, begun, tuple(self.vocabulary.takeaway_opening())))
        self._run = 0
        forced = len(self.vocabulary.takeaway_opening())
        self.tokens += forced
        self.critical += forced
        self._sample(takeaway, Tag.END_TAKEAWAY)

    def answer(self, count: int) -> None:
        self._sample(count, Tag.END_OF_TURN)
        self.chain.append((self._run, [], ()))


def tree(vocabulary: Vocabulary, sizes: Sizes, branches: int, seed: int) -> Tree:
    """Steps are 0.75 to 1 times the size, one of them the whole."""
    draw = np.random.default_rng(seed)
    made = Tree(vocabulary)
    for number in range(sizes.blocks):
        steps = [sizes.step, *(int(sizes.step * share) for share in draw.uniform(0.75, 1.0, branches - 1))]
        made.block(number, sizes.plan, steps, sizes.takeaway)
    made.answer(sizes.answer)
    return made


def prompt(vocabulary_size: int, length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, vocabulary_size - 64, length).tolist()


class Bench:
    """A running server and what is asked of it.

    Attributes:
        counters: See sglang_forcing.
        graphs: Decode passes replay CUDA graphs, of which there are some with each kernel.
        samples: Where samples of the stack are found.
    """

    def __init__(
        self,
        server: Server,
        counters: Any,
        vocabulary: Vocabulary,
        size: int,
        sizes: Sizes,
        *,
        graphs: bool,
        samples: Path,
    ) -> None:
        self.server = server
        self.counters = counters
        self.vocabulary = vocabulary
        self.size = size
        self.sizes = sizes
        self.graphs = graphs
        self.samples = samples
        self._seed = 0

    def prompt(self, length: int | None = None) -> list[int]:
        self._seed += 1
        return prompt(self.size, length or self.sizes.prompt, self._seed)

    async def parallel(self, ids: list[int], made: Tree, *, greedy: bool = False) -> dict[str, Any]:
        custom = {KEY: True, forcing.SCRIPT: json.dumps(made.script)}
        sampling = {"max_new_tokens": made.tokens + 64, "temperature": 0.0 if greedy else 1.0, "custom_params": custom}
        answer = await self._generate(ids, sampling, logprobs=greedy)
        summary = Summary.from_json(answer["meta_info"][KEY][-1])
        told = (summary.reason, len(answer["output_ids"]), summary.critical_path_tokens)
        assert told == ("stop", made.tokens, made.critical), (
            f"{told} {summary.detail}, not {made.tokens, made.critical}"
        )
        return answer

    async def stock(self, ids: list[int], tokens: int, *, greedy: bool = False) -> dict[str, Any]:
        sampling = {"max_new_tokens": tokens, "temperature": 0.0 if greedy else 1.0, "ignore_eos": True}
        return await self._generate(ids, sampling, logprobs=greedy)

    async def client_side(self, ids: list[int], made: Tree) -> dict[str, Any]:
        """The same problem by plain requests."""
        context = list(ids)
        for tokens, steps, opening in made.chain:
            context += (await self.stock(context, tokens))["output_ids"]
            requests = [self.stock([*context, *begin], count) for begin, count in steps]
            for (begin, _), answer in zip(steps, await asyncio.gather(*requests), strict=True):
                context += [*begin, *answer["output_ids"]]
            context += opening
        return {"output_ids": context[len(ids) :]}

    async def _generate(self, ids: list[int], sampling: dict[str, Any], *, logprobs: bool) -> dict[str, Any]:
        body = {"input_ids": ids, "sampling_params": sampling, "return_logprob": logprobs}
        return await self.server.post("/generate", body)

    @contextlib.asynccontextmanager
    async def decoding(self, way: str, profile: int = 0, min_rows: int = 1) -> AsyncIterator[None]:
        """Inside the block the server decodes with tree attention (`tree`) or without (every other way), and counts."""
        await asyncio.sleep(0.1)  # a pass that nobody waits for
        stock = way != "tree"
        self.counters[:] = 0
        self.counters[[forcing.STOCK, forcing.PROFILE, forcing.MIN_ROWS]] = stock, profile, min_rows
        yield
        self.counters[forcing.PROFILE] = 0
        if self.graphs:
            wanted, other = (forcing.STOCK_GRAPHS, forcing.TREE_GRAPHS)[:: 1 if stock else -1]
            assert self.counters[wanted] and not self.counters[other], f"{way} did not replay its own graphs"


class Reference:
    """The dense forward pass that defines what is right, in float32 on the same weights."""

    def __init__(self, module: Any, vocabulary: Vocabulary) -> None:
        self.module = module
        self.vocabulary = vocabulary

    @classmethod
    def load(cls, directory: Path, device: str, vocabulary: Vocabulary) -> Reference:
        from transformers import Qwen3ForCausalLM

        module: Any = Qwen3ForCausalLM.from_pretrained(directory, dtype=torch.float32)
        return cls(module.to(device).eval(), vocabulary)

    def logprobs(self, tokens: Sequence[int], prompt_length: int, *, parallel: bool, causal: bool) -> torch.Tensor:
        """(new tokens,) log-probability of each new token; the tags are no choice, as on the server."""
        found = layout(list(tokens), prompt_length, self.vocabulary)
        length = len(tokens)
        visible = np.tri(length, dtype=bool) if causal else dense_mask(pack([found]))
        positions = found.positions if parallel else np.arange(length)
        device = self.module.device
        with torch.inference_mode():
            seen = torch.from_numpy(np.ascontiguousarray(visible)).to(device)
            bias = torch.zeros(seen.shape, device=device).masked_fill(~seen, torch.finfo(torch.float32).min)
            given = torch.tensor([tokens], device=device)
            logits = self.module(
                input_ids=given,
                position_ids=torch.from_numpy(positions[None].astype(np.int64)).to(device),
                attention_mask=bias[None, None],
                use_cache=False,
                logits_to_keep=length - prompt_length + 1,
            ).logits[0, :-1]
            logits[:, list(self.vocabulary.tags)] = -torch.inf
            chosen = given[0, prompt_length:, None]
            return (logits.gather(1, chosen)[:, 0] - logits.logsumexp(-1)).cpu()


def difference(reference: Reference, ids: list[int], answer: dict[str, Any], **how: bool) -> torch.Tensor:
    """Absolute differences of log-probabilities at the tokens that the model chose itself."""
    new = answer["output_ids"]
    told = torch.tensor([item[0] for item in answer["meta_info"]["output_token_logprobs"]])
    forced = answer["meta_info"].get(FORCED, [False] * len(new))
    tags = reference.vocabulary.tags
    free = torch.tensor([not mark and token not in tags for mark, token in zip(forced, new, strict=True)])
    right = reference.logprobs([*ids, *new], len(ids), **how)
    return (told - right).abs()[free]


async def exactness(bench: Bench, load: Callable[[], Reference]) -> AsyncIterator[dict[str, Any]]:
    async for row in compared(bench, load, bench.sizes.exact):
        yield {"part": "exactness", **row}


async def pressure(bench: Bench, load: Callable[[], Reference]) -> AsyncIterator[dict[str, Any]]:
    """The same where the problems at a time do not fit into the key-value memory."""
    async for row in compared(bench, load, bench.sizes.pressure):
        yield {"part": "pressure", **row}


async def compared(bench: Bench, load: Callable[[], Reference], count: int) -> AsyncIterator[dict[str, Any]]:
    """`count` problems at a time, of which the first few are compared with a dense pass."""
    sizes, branches = bench.sizes, (8, 5, 2, 3, 4, 1)
    made = [tree(bench.vocabulary, sizes, branches[number % 6], number) for number in range(count)]
    prompts = [bench.prompt() for _ in made]
    both = list(zip(prompts, made, strict=True))
    counted: dict[str, dict[str, Any]] = {}

    async def answers(way: str, requests: Sequence[Any]) -> list[dict[str, Any]]:
        async with bench.decoding(way):
            found = await asyncio.gather(*requests)
        names = {"retracted": forcing.RETRACTED, "saved": forcing.SAVED, "peak": forcing.PEAK, "pool": forcing.POOL}
        counted[way] = {name: int(bench.counters[number]) for name, number in names.items()}
        return found

    tree_answers = await answers("tree", [bench.parallel(p, t, greedy=True) for p, t in both])
    plain_answers = await answers("plain", [bench.parallel(p, t, greedy=True) for p, t in both])
    stock_answers = await answers("stock", [bench.stock(p, t.critical, greedy=True) for p, t in both])
    reference = load()
    forked = {"parallel": True, "causal": False}
    for what, way, found, how in (
        ("fork and join, tree", "tree", tree_answers, forked),
        ("fork and join, plain", "plain", plain_answers, forked),
        ("stock", "stock", stock_answers, {"parallel": False, "causal": True}),
        ("fork and join, causal mask (wrong)", "tree", tree_answers, {"parallel": True, "causal": True}),
    ):
        compare = zip(prompts[: sizes.exact], found, strict=False)
        each = torch.cat([difference(reference, ids, answer, **how) for ids, answer in compare])
        told = {"what": what, "problems": count, "tokens": len(each), "mean": float(each.mean())}
        yield told | {"max": float(each.max()), **counted[way]}


async def speed(
    bench: Bench, problems: int, branches: int, step_tokens: int | None = None
) -> AsyncIterator[dict[str, Any]]:
    sizes = bench.sizes if step_tokens is None else replace(bench.sizes, step=step_tokens)
    made = [tree(bench.vocabulary, sizes, branches, seed) for seed in range(problems)]
    length = round(statistics.mean(each.tokens for each in made))

    async def timed(request: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        answer = await request
        return time.perf_counter() - start, answer

    async def together(requests: Sequence[Any]) -> tuple[float, float, int]:
        """Mean seconds to an answer, tokens a second, passes."""
        async with bench.decoding("tree"):
            start = time.perf_counter()
            answers = await asyncio.gather(*map(timed, requests))
            wall = time.perf_counter() - start
        tokens = sum(len(answer["output_ids"]) for _, answer in answers)
        passes = int(bench.counters[forcing.DECODES] + bench.counters[forcing.EXTENDS])
        return statistics.mean(seconds for seconds, _ in answers), tokens / wall, passes

    forked, rate, passes = await together([bench.parallel(bench.prompt(), each) for each in made])
    stock, stock_rate, stock_passes = await together([bench.stock(bench.prompt(), length) for _ in made])
    critical = statistics.mean(each.critical for each in made)
    step = stock / length
    limit = step * critical
    yield {
        "part": "speed",
        "problems": problems,
        "branches": branches,
        "step": sizes.step,
        "tokens": length,
        "critical": round(critical),
        "stock_seconds": stock,
        "seconds": forked,
        "stock_tokens_per_second": stock_rate,
        "tokens_per_second": rate,
        "gain": stock / forked,
        "gain_limit": stock / limit,
        "of_limit": limit / forked,
        "milliseconds_per_stock_step": 1000 * step,
        "extra_passes_per_block": (passes - made[0].passes) / bench.sizes.blocks if problems == 1 else None,
        "extra_steps_per_block": (forked / step - made[0].passes) / bench.sizes.blocks if problems == 1 else None,
        "stock_passes": stock_passes,
        "passes": passes,
    }


async def warm_up(bench: Bench) -> AsyncIterator[dict[str, Any]]:
    """Compile what is compiled at first use."""
    made = tree(bench.vocabulary, replace(bench.sizes, step=bench.sizes.step // 4), 2, 0)
    for way in ("tree", "plain"):
        async with bench.decoding(way):
            seconds, _ = await wall([bench.parallel(bench.prompt(), made) for _ in range(4)])
        yield {"part": "warm-up", "way": way, "seconds": seconds}


async def wall(requests: Sequence[Any]) -> tuple[float, float]:
    """Seconds until all are answered, and tokens a second."""
    start = time.perf_counter()
    answers = await asyncio.gather(*requests)
    seconds = time.perf_counter() - start
    return seconds, sum(len(answer["output_ids"]) for answer in answers) / seconds


async def trees(
    bench: Bench, problems: int, branches: int, step: int | None = None, blocks: int | None = None
) -> AsyncIterator[dict[str, Any]]:
    """A row a way."""
    sizes = replace(bench.sizes, step=step or bench.sizes.step, blocks=blocks or bench.sizes.blocks)
    made = [tree(bench.vocabulary, sizes, branches, seed) for seed in range(problems)]
    for way in WAYS:
        ask: Any = bench.client_side if way == "client" else bench.parallel
        async with bench.decoding(way):
            seconds, rate = await wall([ask(bench.prompt(), each) for each in made])
        yield {
            "part": "trees",
            "problems": problems,
            "branches": branches,
            "step": sizes.step,
            "blocks": sizes.blocks,
            "tokens": sum(each.tokens for each in made),
            "way": way,
            "seconds": seconds,
            "tokens_per_second": rate,
        }


async def candidates(bench: Bench, count: int, branches: int) -> AsyncIterator[dict[str, Any]]:
    """`count` candidates of one prompt; without branches they are stock requests. A row a way."""
    length = 4 * bench.sizes.prompt - 48 if bench.sizes is FULL else 2 * bench.sizes.prompt
    made = [tree(bench.vocabulary, bench.sizes, max(1, branches), seed) for seed in range(count)]
    for way in ("tree", "plain"):
        ids = bench.prompt(length)
        requests = [bench.parallel(ids, each) if branches else bench.stock(ids, each.critical) for each in made]
        async with bench.decoding(way):
            seconds, rate = await wall(requests)
        yield {
            "part": "candidates",
            "candidates": count,
            "branches": branches,
            "prompt": length,
            "way": way,
            "seconds": seconds,
            "tokens_per_second": rate,
        }


async def profile(bench: Bench) -> AsyncIterator[dict[str, Any]]:
    """Decode steps of the largest batches, in milliseconds of the scheduler's thread and of the GPU.

    `python` is what the thread does itself beside the tags that are forced here, `hidden` the share of it during which
    the GPU has something to do. The first level measures nothing but the steps,
    so the others show what measuring costs.
    """
    problems, branches = max(bench.sizes.problems), max(bench.sizes.branches)
    rows = problems * branches
    made = [tree(bench.vocabulary, replace(bench.sizes, blocks=1), branches, seed) for seed in range(problems)]
    for way, level in (("tree", 0), ("plain", 0), ("tree", 1), ("plain", 1), ("tree", 2), ("plain", 2)):
        bench.samples.unlink(missing_ok=True)
        async with bench.decoding(way, level, rows - rows // 16):
            await wall([bench.parallel(bench.prompt(), each) for each in made])
            await bench.stock(bench.prompt(), 2)  # a step with fewer rows, at which samples are written down
        steps, passes = (max(1, int(bench.counters[number])) for number in (forcing.STEPS, forcing.SPANS))
        names = ("WALL", "WAIT", "METADATA", "FORCING")
        spent = {name.lower(): int(bench.counters[getattr(forcing, name)]) / steps / 1e6 for name in names}
        device = {name.lower(): int(bench.counters[getattr(forcing, name)]) / passes / 1e6 for name in ("SPAN", "IDLE")}
        thread = spent["wall"] - spent["wait"] - spent["forcing"]
        yield {
            "part": "profile",
            "rows": rows,
            "way": way,
            "level": level,
            "steps": int(bench.counters[forcing.STEPS]),
            **spent,
            "python": thread if level else None,
            "hidden": max(0.0, 1 - device["idle"] / thread) if bench.counters[forcing.SPANS] else None,
            "device_passes": int(bench.counters[forcing.SPANS]),
            **device,
            "samples": json.loads(bench.samples.read_text()) if bench.samples.exists() else None,
        }


async def memory(bench: Bench, candidates: int, branches: int) -> AsyncIterator[dict[str, Any]]:
    ids = bench.prompt(2 * bench.sizes.prompt)
    made = [tree(bench.vocabulary, bench.sizes, branches, seed) for seed in range(candidates)]
    async with bench.server.http.post(bench.server.url + "/flush_cache") as flushed:
        flushed.raise_for_status()
    async with bench.decoding("tree"):
        await asyncio.gather(*(bench.parallel(ids, each) for each in made))
    peak = int(bench.counters[forcing.PEAK])
    naive = sum(branches * len(ids) + each.held for each in made)
    apart = sum(len(ids) + each.tokens for each in made)
    yield {
        "part": "memory",
        "candidates": candidates,
        "branches": branches,
        "prompt": len(ids),
        "peak": peak,
        "pool": int(bench.counters[forcing.POOL]),
        "every_branch_a_copy": naive,
        "every_candidate_a_copy": apart,
        "of_naive": peak / naive,
    }


def checkpoint(shape: dict[str, int], dtype: torch.dtype, device: str, directory: Path, vocabulary: Vocabulary) -> None:
    """Write a model with random weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    end = vocabulary.id_of(Tag.END_OF_TURN)
    config = Qwen3Config(**shape, tie_word_embeddings=True, rope_theta=1e6, eos_token_id=end, bos_token_id=None)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        module: Any = Qwen3ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    module.generation_config.eos_token_id = end
    module.save_pretrained(directory)
    del module
    if device == "cuda":
        torch.cuda.empty_cache()


LABELS = {
    "kernels": (
        ("rows", "rows", 6),
        ("context", "context", 9),
        ("shared by", "shared", 26),
        ("heads", "heads", 8),
        ("SGLang us", "stock", 11),
        ("tree us", "tree", 9),
        ("cascade us", "cascade", 12),
        ("floor us", "floor", 10),
        ("error", "error", 10),
        ("SGLang's", "stock_error", 10),
    ),
    "fa3": (
        ("rows", "rows", 6),
        ("context", "context", 9),
        ("shared by", "shared", 26),
        ("heads", "heads", 8),
        ("FA3 us", "fa3", 9),
        ("splits", "splits", 8),
        ("error", "error", 10),
    ),
    "trees": (
        ("problems", "problems", 10),
        ("branches", "branches", 10),
        ("step", "step", 7),
        ("blocks", "blocks", 8),
        ("tree s", "tree_seconds", 9),
        ("plain s", "plain_seconds", 9),
        ("client s", "client_seconds", 10),
        ("tree t/s", "tree_tokens_per_second", 10),
        ("plain t/s", "plain_tokens_per_second", 11),
        ("client t/s", "client_tokens_per_second", 12),
    ),
    "candidates": (
        ("candidates", "candidates", 12),
        ("branches", "branches", 10),
        ("prompt", "prompt", 8),
        ("tree s", "tree_seconds", 9),
        ("plain s", "plain_seconds", 9),
        ("tree t/s", "tree_tokens_per_second", 10),
        ("plain t/s", "plain_tokens_per_second", 11),
    ),
    "profile": (
        ("rows", "rows", 6),
        ("way", "way", 7),
        ("level", "level", 7),
        ("steps", "steps", 7),
        ("step ms", "wall", 9),
        ("waiting", "wait", 9),
        ("python", "python", 9),
        ("tables", "metadata", 9),
        ("(forcing)", "forcing", 10),
        ("GPU ms", "span", 9),
        ("GPU idle", "idle", 10),
        ("hidden", "hidden", 8),
    ),
}
"""Per part: headings, keys and widths of its columns."""


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float) or value == 0:
        return str(value)
    return f"{value:.0f}" if value >= 1000 else f"{value:.1e}" if value < 0.05 else f"{value:.2f}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All results as text."""
    lines: list[str] = []
    parts = ("kernels", "fa3", "trees", "candidates", "profile", "exactness", "pressure", "speed", "memory")
    failed = [row for row in rows if "failed" in row]
    of = {part: [row for row in rows if row["part"] == part and row not in failed] for part in parts}
    of["trees"] = one_row(of["trees"], ("problems", "branches", "step", "blocks"))
    of["candidates"] = one_row(of["candidates"], ("candidates", "branches", "prompt"))
    for part, labels in LABELS.items():
        if of[part]:
            lines += ["", "".join(f"{label:>{width}}" for label, _, width in labels)]
            lines += ["".join(f"{cell(row.get(key)):>{width}}" for _, key, width in labels) for row in of[part]]
    for part in ("exactness", "pressure"):
        if of[part]:
            names = "".join(f"{name:>11}" for name in ("retracted", "to host", "peak", "pool"))
            lines += ["", f"{f'|difference of log-probability|, {part}':46}{'tokens':>8}{'mean':>12}{'max':>12}{names}"]
            lines += [
                f"{row['what']:46}{row['tokens']:8}{row['mean']:12.2e}{row['max']:12.2e}"
                + "".join(f"{row[name]:11}" for name in ("retracted", "saved", "peak", "pool"))
                for row in of[part]
            ]
    if of["speed"]:
        names = (
            "problems",
            "branches",
            "step",
            "tokens",
            "critical",
            "stock s",
            "fork s",
            "stock t/s",
            "fork t/s",
            "gain",
        )
        lines += ["", "".join(f"{name:>10}" for name in (*names, "limit", "of limit", "passes+", "steps+"))]
    for row in of["speed"]:
        extra = [row["extra_passes_per_block"], row["extra_steps_per_block"]]
        lines.append(
            f"{row['problems']:10}{row['branches']:10}{row['step']:10}{row['tokens']:10}{row['critical']:10}"
            f"{row['stock_seconds']:10.2f}{row['seconds']:10.2f}{row['stock_tokens_per_second']:10.0f}"
            f"{row['tokens_per_second']:10.0f}{row['gain']:9.2f}x{row['gain_limit']:9.2f}x{row['of_limit']:10.1%}"
            + "".join(f"{'' if each is None else format(each, '.1f'):>10}" for each in extra)
        )
    if of["memory"]:
        names = ("candidates", "branches", "prompt", "peak", "branch copies", "cand. copies", "of naive")
        lines += ["", "".join(f"{name:>15}" for name in names)]
        lines += [
            f"{row['candidates']:15}{row['branches']:15}{row['prompt']:15}{row['peak']:15}"
            f"{row['every_branch_a_copy']:15}{row['every_candidate_a_copy']:15}{row['of_naive']:15.1%}"
            for row in of["memory"]
        ]
    lines += [f"failed: {row['part']} {row.get('what', '')} {row['failed']}" for row in failed]
    return "\n".join(lines)


def one_row(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The ways side by side."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        joined = found.setdefault(tuple(row[key] for key in keys), {key: row[key] for key in keys})
        joined |= {f"{row['way']}_{name}": row[name] for name in ("seconds", "tokens_per_second")}
    return list(found.values())


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass
class Report:
    """Collects rows and writes each down at once."""

    out: Path | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        line = json.dumps(row)
        tell(line)
        if self.out:
            with self.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


async def measure(
    bench: Bench, load: Callable[[], Reference], report: Report, parts: Sequence[str], pairs: Sequence[tuple[int, ...]]
) -> None:
    """Parts in the order in which they were named; the most telling first within each."""
    sizes = bench.sizes
    one, *more = sizes.problems
    most = max(sizes.branches)
    todo: dict[str, list[Any]] = {
        "exactness": [partial(exactness, bench, load)],
        "pressure": [partial(pressure, bench, load)],
        "trees": [partial(trees, bench, *pair) for pair in pairs],
        "candidates": [partial(candidates, bench, max(sizes.candidates), branches) for branches in (0, 5)],
        "profile": [partial(profile, bench)],
        "speed": [
            *(partial(speed, bench, one, branches) for branches in (*sizes.branches, 1)),
            partial(speed, bench, one, most, sizes.long),
            *(partial(speed, bench, problems, branches) for problems in more for branches in sizes.branches),
        ],
        "memory": [partial(memory, bench, count, 5) for count in sizes.candidates],
        "warm-up": [partial(warm_up, bench)],
    }
    for part in ("warm-up", *parts):
        for each in todo.get(part, ()):
            try:
                async for row in each():
                    report.add(row)
            except Exception as error:
                what = " ".join(str(word) for word in each.args[1:] if isinstance(word, int))
                report.add({"part": part, "what": what, "failed": f"{type(error).__name__}: {error}"[:500]})


async def by_script(part: str, name: str, report: Report) -> None:
    """Rows that a script beside this one prints as lines of JSON: a process that has the device for itself."""
    script = str(Path(__file__).with_name(name))
    process = await asyncio.create_subprocess_exec(sys.executable, script, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            report.add({"part": part, **json.loads(line)})
        if await process.wait():
            report.add({"part": part, "failed": f"{name} ended with status {process.returncode}"})
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def other_models() -> str:
    """All models of SGLang but the one that is served: it would import every one of them."""
    found = importlib.util.find_spec("sglang")
    places = found.submodule_search_locations if found is not None else None
    models = Path((places or [""])[0]) / "srt" / "models"
    return ",".join(sorted(path.stem for path in models.glob("*.py") if path.stem not in ("__init__", "qwen3")))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="qwen3-4b", help="shape of the random model")
    parser.add_argument("--layers", type=int, help="so many layers instead of the model's (exactness needs room)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--ranks", type=int, default=1, help="tensor-parallel ranks, one a GPU")
    parser.add_argument("--tokens", type=int, help="size of the key-value memory")
    parser.add_argument(
        "--only",
        default="kernels,trees,candidates,profile,speed,memory",
        help="parts to run, in this order, with commas; also fa3, exactness, pressure",
    )
    parser.add_argument(
        "--trees", help="problems x branches [x tokens of a step [x blocks]], with commas; 16x8,1x8x1024 (default: all)"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="end after this time, with what there is")
    parser.add_argument("--out", type=Path, help="append each result as a line of JSON")
    parser.add_argument("--log", type=Path, help="the server's log")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table on standard output")
    parser.add_argument("flags", nargs="*", help="further flags for SGLang, after --")
    arguments = parser.parse_args()
    report = Report(arguments.out)
    parts = arguments.only.split(",")
    scripts = {"kernels": "tree_attention.py", "fa3": "fa3_decode.py"}
    try:
        async with asyncio.timeout(arguments.seconds):
            for part in parts:
                if part in scripts and arguments.device == "cuda":
                    await by_script(part, scripts[part], report)
            if set(parts) - set(scripts):
                await on_server(arguments, parts, report)
    except TimeoutError:
        report.add({"part": "run", "failed": f"out of time after {arguments.seconds:.0f} s; the rest was not measured"})
    print(json.dumps(report.rows) if arguments.json else table(report.rows))


async def on_server(arguments: argparse.Namespace, parts: Sequence[str], report: Report) -> None:
    """Start the server and measure the parts that need it."""
    started = time.monotonic()
    cpu = arguments.device == "cpu"
    shape = SHAPES[arguments.model] | ({"num_hidden_layers": arguments.layers} if arguments.layers else {})
    sizes = SMALL if cpu else FULL
    vocabulary = ids(shape["vocab_size"])
    pairs = [tuple(map(int, words.split("x"))) for words in (arguments.trees or sizes.trees).split(",")]
    flags = [*(CPU_FLAGS if cpu else GPU_FLAGS).split(), "--max-total-tokens", str(arguments.tokens or sizes.pool)]
    if arguments.ranks > 1:
        flags += ["--tp-size", str(arguments.ranks), "--disable-custom-all-reduce"]
    if "pressure" in parts:
        flags += ["--schedule-conservativeness", "0.01"]
    lines: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = stack.enter_context(arguments.log.open("w", encoding="utf-8")) if arguments.log else None

        def log(line: str) -> None:
            lines.append(line)
            if file is not None:
                print(f"{time.monotonic() - started:7.2f} {line}", file=file, flush=True)

        checkpoint(shape, torch.float32 if cpu else torch.bfloat16, arguments.device, home / "model", vocabulary)
        saved = time.monotonic() - started
        counters = np.memmap(home / "counters", dtype=np.int64, mode="w+", shape=(forcing.SIZE,))
        environment = {
            "PYTHONPATH": f"{FORCING}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            TAGS_VARIABLE: vocabulary_to_json(vocabulary),
            forcing.BANNED: json.dumps(list(vocabulary.tags)),
            forcing.COUNTERS: str(home / "counters"),
            VARIABLE: "1" if cpu else "",
            "SGLANG_DISABLED_MODEL_ARCHS": other_models(),
        } | ({"SGLANG_USE_CPU_ENGINE": "1"} if cpu else {})
        launch = Launch(str(home / "model"), port=0, flags=(*flags, *arguments.flags), environment=environment)
        try:
            running = await stack.enter_async_context(served(launch, log))
            told = {"checkpoint": saved, "healthy": time.monotonic() - started, "sglang": running.profile.version}
            report.add({"part": "start", **told, "flags": flags})
            if not cpu and not any("tree attention is on" in line for line in lines):
                raise RuntimeError("tree attention is not on; the server's log says why")
            http = await stack.enter_async_context(session())
            bench = Bench(
                address(running, http),
                counters,
                vocabulary,
                shape["vocab_size"],
                sizes,
                graphs=not cpu,
                samples=Path(f"{home / 'counters'}{forcing.SAMPLES}"),
            )
            load = partial(Reference.load, home / "model", arguments.device, vocabulary)
            await measure(bench, load, report, parts, pairs)
        except BaseException:
            print(*lines[-60:], sep="\n", file=sys.stderr)
            raise
        finally:
            decodes = [line for line in lines if "Decode batch" in line]
            report.add(
                {
                    "part": "server",
                    "device": "cpu" if cpu else torch.cuda.get_device_name(),
                    "layers": shape["num_hidden_layers"],
                    "ranks": arguments.ranks,
                    "decode_reports_with_graph": sum("cuda graph: True" in line for line in decodes),
                    "decode_reports": len(decodes),
                }
            )


def address(running: Served, http: aiohttp.ClientSession) -> Server:
    return Server(re.sub("^sglang", "http", running.engine), http)


if __name__ == "__main__":
    asyncio.run(main())
