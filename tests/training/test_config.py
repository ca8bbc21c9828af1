from __future__ import annotations

from pathlib import Path

import pytest

from espalier.training.config import BetaConfig, ConfigError, RlConfig, SeedlingConfig, load, load_as
from espalier.training.pipeline import CurriculumConfig
from tests.training.conftest import RECIPES

SHIPPED = sorted(path for name in ("npr-4b", "seedling", "tiny") for path in (RECIPES / name).glob("*.toml"))
KINDS = {
    "zero": RlConfig,
    "papo": RlConfig,
    "beta": BetaConfig,
    "train": CurriculumConfig,
    "curriculum": CurriculumConfig,
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_shipped_config_loads(path: Path) -> None:
    config = load_as(KINDS.get(path.stem.partition("-")[0], SeedlingConfig), path)
    if isinstance(config, SeedlingConfig | BetaConfig):
        assert config.batch_size % config.trainer.micro_batch_size == 0
    if isinstance(config, CurriculumConfig):
        names = [config.zero, config.beta, config.papo, config.base or config.zero]
        assert all((path.parent / name).is_file() for name in names)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("layers = 4", "layers = 4\nwidth = 3", r"unknown setting model.width"),
        ("layers = 4", "layers = 'four'", r"model.layers: should be a valid integer, got 'four'"),
        ("layers = 4\n", "", r"model.layers is missing"),
        ("[model]", "[model", r"supervised.toml: "),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "supervised.toml"
    path.write_text((RECIPES / "tiny" / "supervised.toml").read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('mode = "parallel"', 'mode = "both"', r"rollout.mode: should be .parallel. or .sequential., got .both."),
        ("samples = ", "samples = 1 # ", r"rollout: samples must be at least 2, got 1"),
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
    ],
)
def test_a_wrong_setting_of_reinforcement_learning_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (RECIPES / "tiny" / "papo.toml").read_text()
    assert old in text
    path = tmp_path / "papo.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_as(RlConfig, path)
