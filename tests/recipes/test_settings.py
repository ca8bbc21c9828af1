from __future__ import annotations

from pathlib import Path

import pytest

from espalier.training.config import BetaConfig, ConfigError, RlConfig, load_as
from recipes.seedling.settings import BaseConfig, PipelineConfig
from tests.recipes.conftest import RECIPES

SHIPPED = sorted(path for name in ("npr-4b", "seedling", "tiny") for path in (RECIPES / name).glob("*.toml"))
SHIPPED.remove(RECIPES / "seedling" / "wordings.toml")
KINDS = {
    "zero": RlConfig,
    "papo": RlConfig,
    "beta": BetaConfig,
    "train": PipelineConfig,
    "curriculum": PipelineConfig,
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_shipped_config_loads(path: Path) -> None:
    config = load_as(KINDS.get(path.stem.partition("-")[0], BaseConfig), path)
    if isinstance(config, BaseConfig | BetaConfig):
        assert config.batch_size % config.trainer.micro_batch_size == 0
    if isinstance(config, PipelineConfig):
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
        load_as(BaseConfig, path)
