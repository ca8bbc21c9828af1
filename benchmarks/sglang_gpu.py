"""Exactness, speed and memory of native parallel reasoning inside SGLang, on a model with random weights.

    python benchmarks/sglang_gpu.py                                # Qwen3-4B's shape in bfloat16 on a GPU
    python benchmarks/sglang_gpu.py --only kernels                 # decode attention alone: needs no server
    python benchmarks/sglang_gpu.py --model tiny --device cpu      # everything at small size, to try the script

Starts two SGLang servers side by side, one with tree attention and one without (`plain`), both with the plugin and with
a second plugin that puts tags where a script wants them (sglang_forcing/): tags are forced, everything else is sampled.
One problem is a prompt and two blocks with steps of unequal length, then an answer. Measured:

* kernels: decode attention of one layer over prefixes that rows share, in CUDA graphs, against SGLang's Triton kernel
  and against the floor (all keys and values of the forest read once, at the bandwidth of a copy); layers take turns, so
  that no layer finds its keys in the cache;
* trees: the same problems on both servers, and on the plain one by a client that does without the plugin: it samples
  the plans, then one request a step on the cached prefix, then goes on behind all steps. That is the same work, though
  not the function that the model was trained on (every step would see the ones before it);
* candidates: many candidates of one prompt, with branches and without, on both servers;

* exactness: log-probability of every sampled token against one dense forward pass in float32 with the layout's mask and
  positions, beside that of stock decoding against its own (causal) pass, and beside the pass with a wrong, causal mask;
* speed: stock decoding of as many tokens as the linearised response has, against fork and join. The limit is the stock
  time per token times the tokens of the longest chain. `passes+` are passes of the model per block beyond those that
  the longest chain needs, `steps+` is the time beyond them, per block and in stock steps. With one branch nothing runs
  side by side, so there `steps+` is what fork and join cost; with more, wider batches are in it;
* memory: most slots of the key-value memory in use by k candidates of one prompt, against every branch of every
  candidate with a copy of its own.

Every result is written to --out as a line of JSON as soon as it is there; --only runs a part. CUDA graphs stay on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import torch

FORCING = Path(__file__).parent / "sglang_forcing"
sys.path.insert(0, str(FORCING))

from espalier_forcing import BANNED, COUNTERS, DECODES, EXTENDS, PEAK, POOL, SCRIPT  # noqa: E402

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
    "--mem-fraction-static 0.8 --max-total-tokens 160000 --cuda-graph-max-bs-prefill 256 "
    "--cuda-graph-bs-decode 1 2 4 6 8 12 16 24 32 40 48 64 80 96 112 128 --max-running-requests 256 "
    "--skip-tokenizer-init --random-seed 1"
)
CPU_FLAGS = (
    "--device cpu --dtype float32 --attention-backend torch_native --sampling-backend pytorch --grammar-backend none "
    "--max-total-tokens 60000 --max-running-requests 256 --disable-decode-cuda-graph --disable-prefill-cuda-graph "
    "--skip-tokenizer-init --random-seed 1"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of one problem's parts, and what is measured. `long` are longer steps, where the plans weigh less."""

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


FULL = Sizes(512, 24, 320, 1024, 64, 96, 2, (1, 4, 16), (5, 8, 2, 3), (4, 16), 4)
SMALL = Sizes(24, 4, 12, 24, 6, 8, 2, (1, 4), (5, 2), (4,), 3)


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
    """A running server and what is asked of it."""

    def __init__(self, server: Server, counters: Any, vocabulary: Vocabulary, size: int, sizes: Sizes) -> None:
        self.server = server
        self.counters = counters
        self.vocabulary = vocabulary
        self.size = size
        self.sizes = sizes
        self._seed = 0

    def prompt(self, length: int | None = None) -> list[int]:
        self._seed += 1
        return prompt(self.size, length or self.sizes.prompt, self._seed)

    async def parallel(self, ids: list[int], made: Tree, *, greedy: bool = False) -> dict[str, Any]:
        custom = {KEY: True, SCRIPT: json.dumps(made.script)}
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

    def reset(self) -> None:
        self.counters[:] = 0


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


async def exactness(bench: Bench, plain_bench: Bench, load: Callable[[], Reference]) -> list[dict[str, Any]]:
    sizes, branches = bench.sizes, (8, 5, 2, 3, 4, 1)
    rows: dict[str, list[torch.Tensor]] = {"fork and join": [], "stock": [], "fork and join, causal mask (wrong)": []}
    made = [tree(bench.vocabulary, sizes, branches[number % 6], number) for number in range(sizes.exact)]
    prompts = [bench.prompt() for _ in made]
    forked = await asyncio.gather(*(bench.parallel(p, t, greedy=True) for p, t in zip(prompts, made, strict=True)))
    plain = await asyncio.gather(
        *(plain_bench.stock(p, t.critical, greedy=True) for p, t in zip(prompts, made, strict=True))
    )
    reference = load()
    for ids, parallel, stock in zip(prompts, forked, plain, strict=True):
        rows["fork and join"].append(difference(reference, ids, parallel, parallel=True, causal=False))
        rows["fork and join, causal mask (wrong)"].append(
            difference(reference, ids, parallel, parallel=True, causal=True)
        )
        rows["stock"].append(difference(reference, ids, stock, parallel=False, causal=True))
    joined = {name: torch.cat(values) for name, values in rows.items()}
    return [
        {"part": "exactness", "what": name, "tokens": len(each), "mean": float(each.mean()), "max": float(each.max())}
        for name, each in joined.items()
    ]


async def speed(bench: Bench, problems: int, branches: int, step_tokens: int | None = None) -> dict[str, Any]:
    sizes = bench.sizes if step_tokens is None else replace(bench.sizes, step=step_tokens)
    made = [tree(bench.vocabulary, sizes, branches, seed) for seed in range(problems)]
    length = round(statistics.mean(each.tokens for each in made))

    async def timed(request: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        answer = await request
        return time.perf_counter() - start, answer

    async def together(requests: Sequence[Any]) -> tuple[float, float, int]:
        """Mean seconds to an answer, tokens a second, passes."""
        bench.reset()
        start = time.perf_counter()
        answers = await asyncio.gather(*map(timed, requests))
        wall = time.perf_counter() - start
        tokens = sum(len(answer["output_ids"]) for _, answer in answers)
        passes = int(bench.counters[DECODES] + bench.counters[EXTENDS])
        return statistics.mean(seconds for seconds, _ in answers), tokens / wall, passes

    forked, rate, passes = await together([bench.parallel(bench.prompt(), each) for each in made])
    stock, stock_rate, stock_passes = await together([bench.stock(bench.prompt(), length) for _ in made])
    critical = statistics.mean(each.critical for each in made)
    step = stock / length
    limit = step * critical
    return {
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


async def wall(requests: Sequence[Any]) -> tuple[float, float]:
    """Seconds until all are answered, and tokens a second."""
    start = time.perf_counter()
    answers = await asyncio.gather(*requests)
    seconds = time.perf_counter() - start
    return seconds, sum(len(answer["output_ids"]) for answer in answers) / seconds


async def trees(bench: Bench, plain: Bench, problems: int, branches: int, step: int | None = None) -> dict[str, Any]:
    sizes = bench.sizes if step is None else replace(bench.sizes, step=step)
    made = [tree(bench.vocabulary, sizes, branches, seed) for seed in range(problems)]
    seconds, rate = await wall([bench.parallel(bench.prompt(), each) for each in made])
    plain_seconds, plain_rate = await wall([plain.parallel(plain.prompt(), each) for each in made])
    client_seconds, client_rate = await wall([plain.client_side(plain.prompt(), each) for each in made])
    return {
        "part": "trees",
        "problems": problems,
        "branches": branches,
        "step": sizes.step,
        "tokens": sum(each.tokens for each in made),
        "seconds": seconds,
        "plain_seconds": plain_seconds,
        "client_seconds": client_seconds,
        "tokens_per_second": rate,
        "plain_tokens_per_second": plain_rate,
        "client_tokens_per_second": client_rate,
    }


async def candidates(bench: Bench, plain: Bench, count: int, branches: int) -> dict[str, Any]:
    """`count` candidates of one prompt; without branches they are stock requests."""
    length = 4 * bench.sizes.prompt - 48 if bench.sizes is FULL else 2 * bench.sizes.prompt
    made = [tree(bench.vocabulary, bench.sizes, max(1, branches), seed) for seed in range(count)]

    async def together(on: Bench) -> tuple[float, float]:
        ids = on.prompt(length)
        if branches:
            return await wall([on.parallel(ids, each) for each in made])
        return await wall([on.stock(ids, each.critical) for each in made])

    (seconds, rate), (plain_seconds, plain_rate) = await together(bench), await together(plain)
    return {
        "part": "candidates",
        "candidates": count,
        "branches": branches,
        "prompt": length,
        "seconds": seconds,
        "plain_seconds": plain_seconds,
        "tokens_per_second": rate,
        "plain_tokens_per_second": plain_rate,
    }


async def memory(bench: Bench, candidates: int, branches: int) -> dict[str, Any]:
    ids = bench.prompt(2 * bench.sizes.prompt)
    made = [tree(bench.vocabulary, bench.sizes, branches, seed) for seed in range(candidates)]
    async with bench.server.http.post(bench.server.url + "/flush_cache") as flushed:
        flushed.raise_for_status()
    bench.reset()
    await asyncio.gather(*(bench.parallel(ids, each) for each in made))
    peak = int(bench.counters[PEAK])
    naive = sum(branches * len(ids) + each.held for each in made)
    apart = sum(len(ids) + each.tokens for each in made)
    return {
        "part": "memory",
        "candidates": candidates,
        "branches": branches,
        "prompt": len(ids),
        "peak": peak,
        "pool": int(bench.counters[POOL]),
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
        ("floor us", "floor", 10),
        ("error", "error", 10),
        ("SGLang's", "stock_error", 10),
    ),
    "trees": (
        ("problems", "problems", 10),
        ("branches", "branches", 10),
        ("step", "step", 7),
        ("tree s", "seconds", 9),
        ("plain s", "plain_seconds", 9),
        ("client s", "client_seconds", 10),
        ("tree t/s", "tokens_per_second", 10),
        ("plain t/s", "plain_tokens_per_second", 11),
        ("client t/s", "client_tokens_per_second", 12),
    ),
    "candidates": (
        ("candidates", "candidates", 12),
        ("branches", "branches", 10),
        ("prompt", "prompt", 8),
        ("tree s", "seconds", 9),
        ("plain s", "plain_seconds", 9),
        ("tree t/s", "tokens_per_second", 10),
        ("plain t/s", "plain_tokens_per_second", 11),
    ),
}
"""Per part: headings, keys and widths of its columns."""


def cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 1000 else f"{value:.1e}" if value < 0.05 else f"{value:.2f}"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All results as text."""
    lines: list[str] = []
    parts = ("kernels", "exactness", "trees", "candidates", "speed", "memory")
    of = {part: [row for row in rows if row["part"] == part] for part in parts}
    for part, labels in LABELS.items():
        if of[part]:
            lines += ["", "".join(f"{label:>{width}}" for label, _, width in labels)]
            lines += ["".join(f"{cell(row[key]):>{width}}" for _, key, width in labels) for row in of[part]]
    if of["exactness"]:
        lines += ["", f"{'|difference of log-probability|':42}{'tokens':>8}{'mean':>12}{'max':>12}"]
        lines += [f"{row['what']:42}{row['tokens']:8}{row['mean']:12.2e}{row['max']:12.2e}" for row in of["exactness"]]
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
    return "\n".join(lines)


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
    bench: Bench,
    plain: Bench,
    load: Callable[[], Reference],
    report: Report,
    parts: Sequence[str],
    pairs: Sequence[tuple[int, ...]],
    deadline: float,
) -> None:
    """Most valuable first."""
    sizes = bench.sizes
    for each in {bench.server.url: bench, plain.server.url: plain}.values():  # kernels that are compiled at first use
        await each.parallel(each.prompt(), tree(each.vocabulary, replace(sizes, step=sizes.step // 4), 2, 0))
    one, *more = sizes.problems
    most = max(sizes.branches)
    todo: list[Any] = []
    if "exactness" in parts:
        todo.append(partial(exactness, bench, plain, load))
    if "trees" in parts:
        todo += [partial(trees, bench, plain, *pair) for pair in pairs]
    if "candidates" in parts:
        todo += [partial(candidates, bench, plain, max(sizes.candidates), branches) for branches in (0, 5)]
    if "speed" in parts:
        todo += [partial(speed, bench, one, branches) for branches in (*sizes.branches, 1)]
        todo.append(partial(speed, bench, one, most, sizes.long))
    if "memory" in parts:
        todo += [partial(memory, bench, count, 5) for count in sizes.candidates]
    if "speed" in parts:
        todo += [partial(speed, bench, problems, branches) for problems in more for branches in sizes.branches]
    for each in todo:
        if time.monotonic() > deadline:
            tell("out of time; the rest was not measured")
            return
        found = await each()
        for row in found if isinstance(found, list) else [found]:
            report.add(row)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="qwen3-4b", help="shape of the random model")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--only", default="kernels,trees,candidates,exactness,speed,memory", help="parts to run, with commas"
    )
    parser.add_argument(
        "--trees", help="problems x branches [x tokens of a step], with commas; 16x8,1x8x1024 (default: all)"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further measurement after this time")
    parser.add_argument("--out", type=Path, help="append each result as a line of JSON")
    parser.add_argument("--log", type=Path, help="the server's log")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table on standard output")
    parser.add_argument("flags", nargs="*", help="further flags for SGLang, after --")
    arguments = parser.parse_args()
    started = time.monotonic()
    deadline = started + arguments.seconds
    shape = SHAPES[arguments.model]
    sizes = SMALL if arguments.device == "cpu" else FULL
    dtype = torch.float32 if arguments.device == "cpu" else torch.bfloat16
    vocabulary = ids(shape["vocab_size"])
    report = Report(arguments.out)
    parts = arguments.only.split(",")
    pairs: list[tuple[int, ...]] = [(problems, branches) for problems in sizes.problems for branches in sizes.branches]
    pairs += [(problems, max(sizes.branches), sizes.long) for problems in sizes.problems]
    if arguments.trees:
        pairs = [tuple(map(int, words.split("x"))) for words in arguments.trees.split(",")]
    if "kernels" in parts and arguments.device == "cuda":
        from tree_attention import measurements

        for row in measurements():
            report.add(row)
    logs: dict[str, list[str]] = {"tree": [], "plain": []}
    if parts != ["kernels"]:
        async with contextlib.AsyncExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            checkpoint(shape, dtype, arguments.device, home / "model", vocabulary)
            load = partial(Reference.load, home / "model", arguments.device, vocabulary)
            tell(f"checkpoint after {time.monotonic() - started:.0f} s")
            os.environ |= {
                TAGS_VARIABLE: vocabulary_to_json(vocabulary),
                BANNED: json.dumps(list(vocabulary.tags)),
                "PYTHONPATH": f"{FORCING}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            }
            flags = ((CPU_FLAGS if arguments.device == "cpu" else GPU_FLAGS).split(), arguments.flags)
            http = await stack.enter_async_context(session())

            async def start(name: str, tree_attention: str) -> tuple[Bench, str]:
                counters = np.memmap(home / name, dtype=np.int64, mode="w+", shape=(4,))
                launch = Launch(
                    str(home / "model"),
                    port=0,
                    flags=tuple(word for words in flags for word in words),
                    environment={COUNTERS: str(home / name), VARIABLE: tree_attention},
                )
                running = await stack.enter_async_context(served(launch, logs[name].append))
                tell(f"{name} is healthy after {time.monotonic() - started:.0f} s")
                bench = Bench(address(running, http), counters, vocabulary, shape["vocab_size"], sizes)
                return bench, running.profile.version

            try:
                on = "1" if arguments.device == "cpu" else ""
                (bench, version), (plain, _) = await asyncio.gather(start("tree", on), start("plain", "0"))
                await measure(bench, plain, load, report, parts, pairs, deadline)
            except BaseException:
                for name, lines in logs.items():
                    print(f"--- {name}", *lines[-60:], sep="\n", file=sys.stderr)
                raise
            finally:
                if arguments.log:
                    arguments.log.write_text("\n".join(f"{n}: {line}" for n, lines in logs.items() for line in lines))
        decodes = [line for line in logs["tree"] if "Decode batch" in line]
        report.add(
            {
                "part": "server",
                "sglang": version,
                "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
                "decode_reports_with_graph": sum("cuda graph: True" in line for line in decodes),
                "decode_reports": len(decodes),
            }
        )
    print(json.dumps(report.rows) if arguments.json else table(report.rows))


def address(running: Served, http: aiohttp.ClientSession) -> Server:
    return Server(re.sub("^sglang", "http", running.engine), http)


if __name__ == "__main__":
    asyncio.run(main())
