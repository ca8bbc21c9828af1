"""Verdicts as other people's rewards: in TRL's own trainer, from threads, inside event loops, after a fork."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from espalier.common.errors import FieldError, UnansweredError
from espalier.verifiers.integrations import rewards
from espalier.verifiers.integrations.blocking import BlockingVerifiers, shared
from espalier.verifiers.local import LocalVerifiers
from tests.verifiers.doubles import ScriptedVerifier

RIGHT, WRONG = r"so \boxed{\frac{1}{2}}", r"so \boxed{3}"


@pytest.fixture(scope="module")
def verifiers() -> Iterator[BlockingVerifiers]:
    with BlockingVerifiers() as verifiers:
        yield verifiers


def test_rewards_are_verdicts_on_text_and_on_conversations(verifiers: BlockingVerifiers) -> None:
    reward = rewards.math_reward("gold", lambda: verifiers)
    turns = [[{"role": "assistant", "content": RIGHT}], [{"role": "assistant", "content": WRONG}]]
    assert reward(prompts=["", ""], completions=[RIGHT, WRONG], gold=["0.5", "0.5"], other=[1, 2]) == [1.0, 0.0]
    assert reward(prompts=["", ""], completions=turns, gold=["0.5", "relation:2*x=6"]) == [1.0, 1.0]


@pytest.mark.parametrize("text", ["unknown", "error", "raise"])
def test_what_has_no_verdict_is_no_reward(text: str) -> None:
    with BlockingVerifiers(lambda: LocalVerifiers([ScriptedVerifier()])) as verifiers:
        assert rewards.math_reward("gold", lambda: verifiers)(prompts=[""], completions=[text], gold=["1"]) == [None]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(FieldError, match="gold: the dataset has no such column; there are: answer"):
        rewards.math_reward("gold")(prompts=[""], completions=["1"], answer=["1"])


def test_threads_share_one_set_and_get_their_own_verdicts() -> None:
    def ask(number: int) -> bool:
        gold = str(number // 2)
        return rewards.compute_score("x", rf"\boxed{{{number}/2}}", gold) == float(number % 2 == 0)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(64)))
    assert shared() is shared()


async def test_a_running_event_loop_is_no_obstacle() -> None:
    assert rewards.compute_score("x", RIGHT, "1/2") == 1.0
    assert await asyncio.to_thread(rewards.compute_score, "x", WRONG, "1/2") == 0.0


def _in_child(results: multiprocessing.Queue[float]) -> None:
    results.put(rewards.compute_score("x", RIGHT, "1/2"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own() -> None:
    assert rewards.compute_score("x", RIGHT, "1/2") == 1.0
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[float] = context.Queue()
    child = context.Process(target=_in_child, args=(results,))
    child.start()
    assert results.get(timeout=60) == 1.0
    child.join(30)
    assert child.exitcode == 0


def test_a_script_that_asked_for_rewards_ends_by_itself() -> None:
    code = "from espalier.verifiers.integrations.rewards import compute_score; print(compute_score('x', '1/2', '0.5'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("1.0\n", 0), done.stderr


def test_verl_is_told_that_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with BlockingVerifiers(lambda: LocalVerifiers([ScriptedVerifier()])) as verifiers:
        monkeypatch.setattr(rewards, "shared", lambda: verifiers)
        with pytest.raises(UnansweredError, match=r"no verdict on a response \(error\): .*defect"):
            rewards.compute_score("x", "raise", "1")


@pytest.mark.usefixtures("sandbox")
def test_programs_are_rewarded_for_their_cases(verifiers: BlockingVerifiers) -> None:
    cases = json.dumps([{"call": {"function": "double", "arguments": [21], "expected": 42}}])
    programs = [
        "```python\ndef double(x):\n    return 2 * x\n```",
        "```python\ndef double(x):\n    return x\n```",
        "nothing",
    ]
    reward = rewards.program_reward("cases", lambda: verifiers)
    assert reward(prompts=[""] * 3, completions=programs, cases=[cases] * 3) == [1.0, 0.0, 0.0]


@pytest.mark.timeout(280)
def test_trl_trains_on_our_rewards(tmp_path: Path, verifiers: BlockingVerifiers) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    from espalier.runtime.local import SEEDLING
    from tests.runtime.local.tiny import SIZES

    tokenizer = AutoTokenizer.from_pretrained(SEEDLING)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=4,
        max_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        logging_steps=1,
    )
    trainer = GRPOTrainer(
        model=Qwen3ForCausalLM(Qwen3Config(**{**SIZES, "vocab_size": len(tokenizer)})),
        args=config,
        processing_class=tokenizer,
        reward_funcs=[rewards.math_reward("answer", lambda: verifiers)],
        train_dataset=Dataset.from_list([{"prompt": "1 + 1 =", "answer": "2"}] * 4),
    )
    trainer.train()
    (logged, *_) = [line for line in trainer.state.log_history if "rewards/espalier_math_reward/mean" in line]
    assert 0.0 <= logged["rewards/espalier_math_reward/mean"] <= 1.0
