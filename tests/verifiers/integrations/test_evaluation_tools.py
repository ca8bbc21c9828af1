"""Verdicts as the scores of inspect_ai, lm-evaluation-harness and Prime Intellect's verifiers, each in its own runs.

These tools pin clients that the rest of the tests cannot use: they run in an environment apart (`scripts/evals.sh`).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from espalier.common.errors import FieldError
from espalier.verifiers.integrations import rewards
from espalier.verifiers.integrations.blocking import BlockingVerifiers
from espalier.verifiers.integrations.lm_eval_metric import mean, results_of
from espalier.verifiers.local import LocalVerifiers
from tests.verifiers.doubles import ScriptedVerifier

ROOT = Path(__file__).parents[3]
SOURCES = [str(ROOT / name) for name in ("proto", "common", "runtime", "verifiers", "solver", "training")]
MATH = [[r"so \boxed{\frac{1}{2}}", "0.5"], [r"so \boxed{3}", "relation:2*x=8"], ["I do not know", "1"]]
SCRIPTED = [["error", "1"], ["unknown", "1"], ["raise", "1"], ["1", "1"], ["2", "1"]]
CASES = json.dumps([{"call": {"function": "double", "arguments": [21], "expected": 42}}])
PROGRAMS = [[f"```python\ndef double(x):\n    return {body}\n```", CASES] for body in ("2 * x", "x")]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.xdist_group("evals")]


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of the environment with the tools."""
    made = subprocess.run([ROOT / "scripts/evals.sh"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return str(ROOT / made.stdout.strip() / "bin/python")


def tell(python: str, tool: str, *arguments: str) -> Any:
    """What a run of a tool printed last."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*SOURCES, str(ROOT)]), "HF_HUB_OFFLINE": "1"}
    command = [python, "-m", f"tests.verifiers.integrations.evals.tell_{tool}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_inspect_scores_by_verdict(python: str, tmp_path: Path) -> None:
    told = tell(python, "inspect", "math", json.dumps(MATH), str(tmp_path))
    assert told["answers"][:2] == [r"\frac{1}{2}", "3"]
    assert (told["values"], told["accuracy"]) == (["C", "I", "I"], pytest.approx(1 / 3))


@pytest.mark.usefixtures("sandbox")
def test_inspect_runs_programs_in_our_sandbox(python: str, tmp_path: Path) -> None:
    assert tell(python, "inspect", "program", json.dumps(PROGRAMS), str(tmp_path))["values"] == ["C", "I"]


def test_inspect_leaves_out_what_has_no_verdict(python: str, tmp_path: Path) -> None:
    told = tell(python, "inspect", "scripted", json.dumps(SCRIPTED), str(tmp_path))
    assert told["values"] == ["nan", "nan", "nan", "C", "I"]
    assert told["accuracy"] == 0.5


def test_lm_eval_measures_by_verdict(python: str, tmp_path: Path) -> None:
    told = tell(python, "lm_eval", "math", json.dumps(MATH), str(tmp_path))
    assert told == {"values": ["1.0", "0.0", "0.0"], "mean": pytest.approx(1 / 3)}


def test_lm_eval_leaves_out_what_has_no_verdict(python: str, tmp_path: Path) -> None:
    told = tell(python, "lm_eval", "scripted", json.dumps(SCRIPTED), str(tmp_path))
    assert told == {"values": ["nan", "nan", "nan", "1.0", "0.0"], "mean": 0.5}


def test_prime_rewards_by_verdict_and_records_the_lack_of_one_as_an_error(python: str) -> None:
    assert tell(python, "prime", "math", json.dumps(MATH)) == [1.0, 0.0, 0.0]
    *missing, right, wrong = tell(python, "prime", "scripted", json.dumps(SCRIPTED))
    assert [right, wrong] == [1.0, 0.0]
    assert all("no verdict on a response" in said for said in missing)


def test_one_of_several_truths_is_enough_and_a_lack_of_verdict_is_never_a_score() -> None:
    with BlockingVerifiers(lambda: LocalVerifiers([ScriptedVerifier()])) as verifiers:
        process = results_of("truths", lambda: verifiers)
        assert process({"truths": ["1", "2"]}, ["2"]) == {"verified": 1.0}
        assert process({"truths": ["1", "2"]}, ["3"]) == {"verified": 0.0}
        lacking = process({"truths": ["1", "2"]}, ["error"])["verified"]
        assert lacking != lacking
        assert results_of(lambda doc: doc["a"], lambda: verifiers)({"a": "1"}, ["1"]) == {"verified": 1.0}
        with pytest.raises(FieldError, match="truths: the document has no such field; there are: answer"):
            process({"answer": "1"}, ["1"])
        with pytest.raises(FieldError, match="take_first"):
            process({"truths": "1"}, [["1", "1"]])
        assert mean([1.0, lacking, 0.0]) == 0.5
    assert mean([lacking]) != mean([lacking])


def test_a_list_of_numbers_is_an_answer_and_a_list_of_objects_are_cases() -> None:
    assert rewards.compute_score("x", r"\boxed{[1, 2]}", "[1, 2]") == 1.0
    with pytest.raises(FieldError, match="ground_truth"):
        rewards.compute_score("x", "x", '[{"call": {}}]')
