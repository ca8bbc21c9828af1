from __future__ import annotations

from pathlib import Path

import pytest

from espalier.training.config import ConfigError, load
from tests.training.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    config = load(path)
    assert config.optimizer.rows_per_step % config.optimizer.rows_per_pass == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("layers = 4", "layers = 4\nwidth = 3", r"model: unknown setting 'width'"),
        ("layers = 4", "layers = 'four'", r"model.layers: expected int, got 'four'"),
        ("layers = 4\n", "", r"model: missing layers"),
        ("[model]", "[model", r"tiny.toml: "),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text((ROOT / "training" / "configs" / "tiny.toml").read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: No such file"):
        load(tmp_path / "none.toml")
