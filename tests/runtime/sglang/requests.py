"""Random requests with scripted structure, and what is checked of every answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from espalier.runtime.engine import FinishReason
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.layout import layout
from espalier.runtime.sglang.plugin.vocabulary import vocabulary_to_json
from espalier.runtime.sglang.protocol import KEY, Summary, format_path
from tests.runtime.dense import dense_logprobs
from tests.runtime.local.tiny import TinyTokenizer
from tests.runtime.scripted import Script, Shape, random_script
from tests.runtime.sglang.scripts import length, scripted_params

VOCABULARY = Vocabulary.of(TinyTokenizer(), max_plans=16)
IDS = {"ESPALIER_NPR_TAGS": vocabulary_to_json(VOCABULARY)}
CHECKED = {"SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_BUSY": "1"}
"""SGLang's own leak check after every step: it ends the scheduler when a slot is missing."""
TWO_RANKS: tuple[dict[str, Any], dict[str, str]] = (
    {"tp_size": 2},
    {"SGLANG_CPU_OMP_THREADS_BIND": "0|1", "SGLANG_ENABLE_TP_MEMORY_INBALANCE_CHECK": "0"},
)
"""Flags and environment of tensor parallelism. The check takes memory of other tests for an imbalance of the ranks."""


class Scripted(Protocol):
    """A request whose structure a script decides."""

    @property
    def prompt(self) -> list[int]: ...
    @property
    def input_ids(self) -> list[int]:
        """The prompt, and what is given of the response."""
        ...

    @property
    def expected(self) -> Script:
        """The script of what comes behind them, with what is forced there."""
        ...

    @property
    def joins_given(self) -> int:
        """Joins of steps that are given: without forks of this request."""
        ...

    def params(self, **more: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Case:
    prompt: list[int]
    script: Script
    joins_given = 0

    @property
    def input_ids(self) -> list[int]:
        return self.prompt

    @property
    def expected(self) -> Script:
        return self.script

    def params(self, **more: Any) -> dict[str, Any]:
        options = more.pop("npr", True)
        tokens = more.pop("max_new_tokens", length(self.script, VOCABULARY))
        custom = {KEY: options, **scripted_params(self.script, VOCABULARY)}
        return {"temperature": 0, "max_new_tokens": tokens, "custom_params": custom, **more}


def cases(seed: int, count: int, shape: Shape = Shape()) -> list[Case]:
    """Random trees; every fourth prompt is the one before it, so that the radix cache is hit."""
    rng = random.Random(seed)
    made: list[Case] = []
    for index in range(count):
        prompt = [rng.randrange(30, 64) for _ in range(rng.randint(1, 40))]
        made.append(Case(made[-1].prompt if index % 4 == 3 else prompt, random_script(rng, VOCABULARY, shape)))
    return made


def generate(engine: Any, requests: Sequence[Scripted], **more: Any) -> list[dict[str, Any]]:
    """All requests at once."""
    answers: list[dict[str, Any]] = engine.generate(
        input_ids=[case.input_ids for case in requests],
        sampling_params=[case.params(**more) for case in requests],
        return_logprob=True,
    )
    return answers


def check(module: Any, case: Scripted, answer: dict[str, Any]) -> int:
    """Compare an answer with one dense pass. Returns how many tokens the model chose freely."""
    meta, tokens = answer["meta_info"], list(answer["output_ids"])
    (summary,) = [Summary.from_json(record) for record in meta[KEY]]
    assert summary.reason is FinishReason.STOP, summary
    assert meta["finish_reason"]["type"] == "stop"
    start = len(case.input_ids)
    whole = case.input_ids + tokens
    found = layout(whole, len(case.prompt), VOCABULARY)
    assert len(tokens) == length(case.expected, VOCABULARY) == summary.sampled_tokens + summary.forced_tokens
    assert meta["npr_positions"] == found.positions[start:].tolist()
    assert meta["npr_paths"] == [format_path(found.branches[branch].path) for branch in found.branch[start:]]
    assert summary.forks == summary.joins == tokens.count(VOCABULARY.takeaway_opening()[0]) - case.joins_given
    assert summary.critical_path_tokens == found.critical_path - int(found.positions[start])
    logprobs = dense_logprobs(module, whole, found)
    logprobs[:, list(VOCABULARY.tags)] = -torch.inf
    logprobs = torch.log_softmax(logprobs, dim=-1)
    chosen = 0
    for index, token in enumerate(tokens):
        given, named, _ = meta["output_token_logprobs"][index]
        assert named == token
        if meta["npr_forced"][index] or token in VOCABULARY.tags:
            assert given == 0.0  # forced, or the only choice that the script left
            continue
        before = logprobs[start + index - 1]
        assert token == int(before.argmax()), index
        assert abs(float(before[token]) - given) < 1e-4, index
        chosen += 1
    return chosen
