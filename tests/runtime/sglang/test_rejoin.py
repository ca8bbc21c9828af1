"""On SGLang, too, requests begin with finished branches: exact, and computed once for all that begin alike."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from espalier.runtime.grammar import Tag
from espalier.runtime.sglang.protocol import KEY
from tests.budget import FULL
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.scripted import Script, Shape, random_script
from tests.runtime.sglang.memory import memory_when_idle, watch_memory
from tests.runtime.sglang.requests import CHECKED, IDS, TWO_RANKS, VOCABULARY, Case, cases, check, generate
from tests.runtime.sglang.scripts import follow_scripts, length, scripted_params
from tests.runtime.sglang.server import Server
from tests.runtime.sglang.test_memory import retract_often
from tests.runtime.sglang.test_tree_attention import TREES

TIMES = 3
OPENING = VOCABULARY.takeaway_opening()
EOT = VOCABULARY.id_of(Tag.END_OF_TURN)


@dataclass(frozen=True)
class Rejoin:
    """A conclusion that is drawn again.

    Attributes:
        prompt: Of the response.
        given: The response up to the end of the steps of one of its blocks.
        blocks: Own blocks of it.
        script: What the root does behind the join, and the steps of further blocks, which count from 0 here.
    """

    prompt: list[int]
    given: list[int]
    blocks: int
    script: Script
    joins_given = 1

    @property
    def input_ids(self) -> list[int]:
        return self.prompt + self.given

    @property
    def expected(self) -> Script:
        """The script with the forced opening of the takeaway in it."""
        return {**self.script, (): (*[None] * len(OPENING), *self.script[()])}

    def params(self, **more: Any) -> dict[str, Any]:
        options = {"given": len(self.given), **more.pop("npr", {})}
        scripted = scripted_params(self.expected, VOCABULARY)
        places = {self._shifted(path): at for path, at in json.loads(scripted["script"]).items()}
        custom = {KEY: options, **scripted, "script": json.dumps(places)}
        tokens = more.pop("max_new_tokens", length(self.expected, VOCABULARY))
        return {"temperature": 0, "max_new_tokens": tokens, "custom_params": custom, **more}

    def _shifted(self, path: str) -> str:
        block, _, rest = path.partition(".")
        return f"{int(block) + self.blocks}.{rest}" if path else path


def rejoins(case: Case, answer: dict[str, Any], rng: random.Random) -> list[Rejoin]:
    """`TIMES` other conclusions of a response, each with a takeaway of another length; one opens further blocks."""
    tokens, paths = list(answer["output_ids"]), answer["meta_info"]["npr_paths"]
    end = max(at for at, path in enumerate(paths) if path) + 1
    blocks = int(paths[end - 1].partition(".")[0]) + 1
    made = []
    for time in range(TIMES):
        script = random_script(rng, VOCABULARY, Shape(blocks=(1, 2), plans=(1, 3))) if time == 0 else {(): (EOT,)}
        takeaway = (*[None] * rng.randint(0, 9), VOCABULARY.id_of(Tag.END_TAKEAWAY), None)
        made.append(Rejoin(case.prompt, tokens[:end], blocks, {**script, (): (*takeaway, *script[()])}))
    return made


def check_rejoin(module: Any, wanted: Rejoin, answer: dict[str, Any]) -> int:
    """Compare the new tokens, which begin with what opens a takeaway, with one dense pass over the whole response."""
    assert tuple(answer["output_ids"][: len(OPENING)]) == OPENING
    return check(module, wanted, answer)


@pytest.mark.parametrize(
    ("seed", "flags", "environment"),
    [
        (1, {}, {}),
        (2, {"disable_overlap_schedule": True}, {}),
        (3, {"chunked_prefill_size": 16}, {}),
        (4, {}, TREES),
        pytest.param(5, *TWO_RANKS, marks=pytest.mark.slow),
    ],
    ids=["overlap", "no overlap", "chunked prefill", "prefixes read once", "two ranks"],
)
def test_every_token_behind_a_re_join_equals_the_dense_pass(model, tmp_path, seed, flags, environment):
    """On random trees with several and with nested blocks; nothing is left over in memory.

    The radix cache knows the same tokens from requests that saw them causally: these keys and values are others.
    """
    requests, rng, path = cases(seed, 48 if FULL else 14), random.Random(seed), tmp_path / "memory"

    def job(engine):
        firsts = generate(engine, requests)
        wanted = [one for case, first in zip(requests, firsts, strict=True) for one in rejoins(case, first, rng)]
        engine.generate(input_ids=[one.input_ids for one in wanted], sampling_params={"max_new_tokens": 1})
        answers = generate(engine, wanted)
        engine.flush_cache()
        return wanted, answers, memory_when_idle(path)

    server = Server(model, flags, IDS | CHECKED | environment, watch_memory(path, follow_scripts))
    wanted, answers, memory = server.run(job)
    module = tiny_qwen3(0)
    chosen = sum(check_rejoin(module, one, answer) for one, answer in zip(wanted, answers, strict=True))
    assert chosen > 400
    assert memory.clean, memory


def count_computed(path: Path, prepare: Callable[[], None]) -> Callable[[], None]:
    """`prepare`, and a hook that notes in a file how many tokens each forward pass computes."""

    def register() -> None:
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType

        def note(forward: Any, *_args: Any, **_kwargs: Any) -> None:
            with path.open("a") as file:
                file.write(f"{len(forward.input_ids)}\n")

        prepare()
        HookRegistry.register(
            "sglang.srt.model_executor.forward_batch_info.ForwardBatch.init_new", note, HookType.AFTER
        )

    return register


def test_re_joins_cost_their_conclusions_and_the_branches_once(model, tmp_path):
    """In tokens that the model computes: the given ones once for all, and decoded is nothing but conclusions."""
    rng, path = random.Random(7), tmp_path / "computed"
    (case,) = cases(7, 1, Shape(blocks=(2, 2), plans=(3, 4), text=(6, 9)))

    def job(engine):
        (first,) = generate(engine, [case])
        wanted = rejoins(case, first, rng)
        before = sum(map(int, path.read_text().split()))
        generate(engine, wanted)
        return wanted, sum(map(int, path.read_text().split())) - before

    # Without overlap: a step ahead of the last token would be counted, too.
    server = Server(model, {"disable_overlap_schedule": True}, IDS | CHECKED, count_computed(path, follow_scripts))
    wanted, computed = server.run(job)
    given = len(wanted[0].given)
    new = sum(length(one.expected, VOCABULARY) for one in wanted)
    assert given <= computed <= len(case.prompt) + given + new
    assert new < given


def test_short_memory_moves_what_re_joins_share_and_changes_nothing(model, tmp_path):
    requests, rng, path = cases(11, 12), random.Random(11), tmp_path / "memory"
    firsts = Server(model, {}, IDS, follow_scripts).run(lambda engine: generate(engine, requests))
    wanted = [one for case, first in zip(requests, firsts, strict=True) for one in rejoins(case, first, rng)]
    largest = max(len(one.input_ids) + length(one.expected, VOCABULARY) for one in wanted)

    def job(engine):
        answers = generate(engine, wanted)
        engine.flush_cache()
        return answers, memory_when_idle(path)

    small = {"max_total_tokens": largest + 8, "max_running_requests": 6}
    answers, memory = Server(model, small, IDS | CHECKED, watch_memory(path, retract_often)).run(job)
    module = tiny_qwen3(0)
    for one, answer in zip(wanted, answers, strict=True):
        check_rejoin(module, one, answer)
    assert memory.retracted > 10
    assert memory.saved > 5, memory
    assert memory.clean, memory


def test_aborts_at_random_moments_free_what_re_joins_share(model, tmp_path):
    requests, rng, path = cases(13, 10), random.Random(13), tmp_path / "memory"

    def job(engine):
        firsts = generate(engine, requests)
        wanted = [one for case, first in zip(requests, firsts, strict=True) for one in rejoins(case, first, rng)]

        async def one(number, rejoin):
            rid = f"random-{number:04}"
            made = asyncio.ensure_future(
                engine.async_generate(input_ids=rejoin.input_ids, sampling_params=rejoin.params(), rid=rid)
            )
            if number % 3:  # the others end by themselves, however slow the machine is
                await asyncio.sleep(rng.random() * 1.5)
                engine.tokenizer_manager.abort_request(rid=rid)
            return await made

        async def every():
            return await asyncio.wait_for(asyncio.gather(*(one(*item) for item in enumerate(wanted))), 120)

        answers = engine.loop.run_until_complete(every())
        engine.flush_cache()
        return answers, memory_when_idle(path)

    flags = {"chunked_prefill_size": 16, "max_total_tokens": 2000, "max_running_requests": 12}
    answers, memory = Server(model, flags, IDS | CHECKED, watch_memory(path, follow_scripts)).run(job)
    assert memory.clean, memory
    ends = [answer["meta_info"]["finish_reason"]["type"] for answer in answers]
    assert ends.count("abort") > 3
    assert ends.count("stop") > 3


def test_what_is_no_beginning_is_refused_and_the_server_lives_on(model):
    (case,) = cases(5, 1, Shape(blocks=(1, 1), plans=(2, 3)))

    def job(engine):
        (first,) = generate(engine, [case])
        tokens = list(first["output_ids"])
        good = rejoins(case, first, random.Random(5))[1]
        bad = [
            (good.input_ids[:-1], len(good.given) - 1),
            (case.prompt + tokens, len(tokens)),
            (good.given, len(good.given)),
            (good.input_ids, -1),
        ]
        said = []
        for ids, count in bad:
            try:
                engine.generate(input_ids=ids, sampling_params={"custom_params": {KEY: {"given": count}}})
                said.append("served")
            except ValueError as error:
                said.append(str(error))
        return said, generate(engine, [good])[0]

    said, answer = Server(model, {}, IDS, follow_scripts).run(job)
    expected = ("does not end where", "is not what an engine", "leave no prompt", "npr.given must be")
    for told, reason in zip(said, expected, strict=True):
        assert reason in told, said
    assert answer["meta_info"]["finish_reason"]["type"] == "stop"
