from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espalier.runtime.engine import Finished, FinishReason, Mode, Rollout, Usage
from espalier.runtime.structure import read
from espalier.training.config import BetaConfig, Form, ProblemsConfig, ServiceConfig, TrainerConfig
from espalier.training.data.example import TrainingExample, response_example
from espalier.training.data.responses import ExampleSource
from espalier.training.rejection_sampling import Kept, NothingKeptError, keep, sample
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import reward, status_of
from espalier.training.rl.segments import segments
from espalier.training.run.deadline import Deadline
from espalier.verifiers.verdict import Status, Verdict
from recipes.seedling.stream import Codec
from tests.training.test_reward import GOOD
from tests.training.test_rollout import problems

TRAINER = TrainerConfig(sequence_length=256, learning_rate=1e-3, micro_batch_size=2)
CONFIG = BetaConfig(
    seed=1,
    form=Form.PARALLEL,
    problems=ProblemsConfig(1, tasks={"gcd": 1.0}),
    count=20,
    max_tokens=64,
    epochs=1,
    batch_size=2,
    trainer=TRAINER,
    tries=4,
    keep=2,
    service=ServiceConfig(rows=16),
)


def _attempt(codec: Codec, text: str = GOOD, status: Status = Status.PASS) -> JudgedRollout:
    ids: tuple[int, ...] = tuple(codec.tokenizer.encode(text, add_special_tokens=False).ids)
    count = len(ids)
    rollout = Rollout((5, 6), ids, (0.0,) * count, (False,) * count, tuple(range(2, 2 + count)), ((),) * count)
    structure = read((5, 6, *ids), 2, codec.vocabulary)
    verdict, worth = Verdict(status, 0.0, "fake"), reward(status_of(FinishReason.STOP, status))
    ended = Finished("0", FinishReason.STOP, Usage(), rollout, structure=structure)
    return JudgedRollout(problems(1)[0], ended, segments(rollout.paths, structure, 2), verdict, worth)


def test_only_what_is_correct_and_well_formed_is_kept(codec: Codec) -> None:
    good, other = _attempt(codec), _attempt(codec, GOOD.replace("x", "w"))
    wrong = _attempt(codec, status=Status.FAIL)
    sloppy = _attempt(codec, GOOD.replace("</plan>", "", 1))
    undecided = _attempt(codec, status=Status.ERROR)
    third = _attempt(codec, GOOD.replace("x", "v"))
    assert keep([wrong, sloppy, undecided, good, good, other, third], 2) == [good, other]


def test_a_kept_response_is_laid_out_as_fork_and_join_decode_it(codec: Codec) -> None:
    rollout = _attempt(codec).rollout
    kept = Kept("0", rollout.prompt, rollout.tokens)
    parallel = response_example(kept.prompt, kept.tokens, Form.PARALLEL, codec.vocabulary)
    plain = response_example(kept.prompt, kept.tokens, Form.SEQUENTIAL, codec.vocabulary)
    assert parallel.tokens.tolist() == plain.tokens.tolist() == [*rollout.prompt, *rollout.tokens]
    assert parallel.layout.critical_path < plain.layout.critical_path == len(plain.tokens)
    opening = codec.vocabulary.step_opening(2)
    at = next(
        i for i in range(len(parallel.tokens)) if tuple(parallel.tokens[i : i + len(opening)].tolist()) == opening
    )
    assert not parallel.trained[at : at + len(opening)].any()
    assert plain.trained[at : at + len(opening)].all()
    assert not parallel.trained[:2].any() | plain.trained[:2].any()


def test_rows_go_on_at_any_position_and_every_pass_has_them_all(
    some_examples: list[tuple[int, TrainingExample]],
) -> None:
    source = ExampleSource([one for _, one in some_examples[:12]], 1024, seed=1)
    count = len(source)
    stream = [row.tokens.tobytes() for row in islice(source.packed_sequences(0), 3 * count)]
    assert set(stream[:count]) == set(stream[count : 2 * count]) == set(stream[2 * count :])
    assert [row.tokens.tobytes() for row in islice(source.packed_sequences(count + 1), count)] == stream[
        count + 1 : 2 * count + 1
    ]
    tokens = sum(int((row.tokens != 0).sum()) for row in islice(source.packed_sequences(0), count))
    assert tokens == sum(int((one.tokens != 0).sum()) for _, one in some_examples[:12])


class FakeCollector:
    """Stands in for engine and verifiers: what is tested is what is kept, and that nothing is sampled twice."""

    mode = Mode.SEQUENTIAL

    def __init__(self, codec: Codec, status: Status = Status.PASS) -> None:
        self.codec, self.status, self.asked = codec, status, 0

    async def collect(self, asked: Any, samples: int, seed: str, first: int) -> list[list[JudgedRollout]]:
        assert [one.id for one in asked] == [str(first + at) for at in range(len(asked))]
        self.asked += len(asked)
        return [[_attempt(self.codec, status=self.status)] * samples for _ in asked]


async def test_sampling_goes_on_where_it_was_stopped(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    collector: Any = FakeCollector(codec)
    some = problems(20)

    async def run(deadline: Deadline = Deadline()) -> list[Kept] | None:
        return await sample(CONFIG, collector, some.__getitem__, path, deadline, lambda entry: None)

    whole = await run()
    assert whole is not None
    assert (len(whole), collector.asked) == (20, 20)
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + lines[1][:30])  # killed while writing
    assert await run(Deadline.after(0)) is None
    assert await run() == whole
    assert collector.asked == 24
    assert len(path.read_text().splitlines()) == len(lines)
    assert json.loads(lines[0])["problems"] == 16


async def test_a_model_that_gets_nothing_right_is_named(codec: Codec, tmp_path: Path) -> None:
    collector: Any = FakeCollector(codec, Status.FAIL)
    with pytest.raises(NothingKeptError, match="of 80 samples none is correct and well-formed"):
        await sample(
            replace(CONFIG), collector, problems(20).__getitem__, tmp_path / "s.jsonl", Deadline(), lambda entry: None
        )


def test_the_mask_of_a_kept_response_is_that_of_a_written_trace(codec: Codec) -> None:
    rollout = _attempt(codec).rollout
    found = response_example(rollout.prompt, rollout.tokens, Form.PARALLEL, codec.vocabulary)
    assert found.trained.sum() == len(rollout.tokens) - np.sum(
        [len(codec.vocabulary.step_opening(i)) for i in (1, 2)] + [len(codec.vocabulary.takeaway_opening())]
    )
