from __future__ import annotations

from pathlib import Path

import pytest

from espalier.training.config import ConfigError, RlConfig, load_as
from tests.training.conftest import RECIPES


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: No such file"):
        load_as(RlConfig, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('mode = "parallel"', 'mode = "both"', r"rollout.mode: should be .parallel. or .sequential., got .both."),
        ("samples = ", "samples = 1 # ", r"rollout: samples must be at least 2, got 1"),
        ("samples = ", "max_depth = 0\nsamples = ", r"rollout: max_depth must be at least 1, got 0"),
        ("samples = ", "max_branch_tokens = -1\nsamples = ", r"rollout: max_branch_tokens must be at least 0, got -1"),
        (
            'mode = "parallel"',
            'mode = "sequential"\nconstrained = true',
            r"rollout: constrained: sequential responses cannot be; write mode",
        ),
        ("{ chain_sum = 1.0 }", '{ chain_sum = "x" }', r"problems.tasks.chain_sum: should be a valid number, got 'x'"),
        ("{ chain_sum = 1.0 }", '"chain_sum"', r"problems.tasks: should be a.* object, got 'chain_sum'"),
        ("tasks = { chain_sum = 1.0 }", "", r"problems: give either tasks or file"),
        ("[trainer]", "[trainer]\nbetas = 0.9", r"trainer.betas: should be a valid array, got 0.9"),
        ("[trainer]", "[trainer]\nbetas = [0.9]", r"trainer.betas.1 is missing"),
        ("warmup_steps = 2", "warmup_steps = '3'", r"trainer.warmup_steps: should be a valid integer, got '3'"),
        ("[trainer]", "[trainer.lora]\nrank = 0\n[trainer]", r"trainer.lora: rank must be at least 1, got 0"),
        ("sequence_length = 512", "sequence_length = 320", r"trainer.sequence_length 320 holds no prompt with a"),
        ("checkpoint_every = 8", "checkpoint_every = 0", r"checkpoint_every must be at least 1, got 0"),
        ("seed = 1\nsteps", "steps", r"papo.toml: seed is missing"),
        ("[trainer]", "[trainer]\nfancy = [\n  1,\n  2,\n]\nplain = 1", r"papo.toml:23: unknown setting trainer.fancy"),
        ("[trainer]", "# more\n\n[trainr]", r"papo.toml:24: unknown setting trainr"),
        ("seed = 1\n", "seed = 1\ncredit.fancy = 1\n", r"papo.toml:3: unknown setting credit.fancy"),
        ("samples = 12", "samples = '12'", r"papo.toml:19: rollout.samples: should be"),
        ("{ chain_sum = 1.0 }", '{ sums = "all" }', r"papo.toml:8: problems.tasks.sums: should be a valid number"),
    ],
)
def test_a_wrong_setting_of_reinforcement_learning_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (RECIPES / "tiny" / "papo.toml").read_text()
    assert old in text
    path = tmp_path / "papo.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_as(RlConfig, path)
