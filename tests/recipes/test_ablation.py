from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from espalier.runtime.engine import Mode
from recipes.ablation import __main__ as ablation


@pytest.mark.parametrize("mode", list(Mode))
def test_the_arms_have_a_start_that_is_made_once(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ablation.START_STEPS, mode, 1)
    folder = ablation.start(tmp_path, mode)
    AutoModelForCausalLM.from_pretrained(folder)
    monkeypatch.setattr(ablation.from_nothing, "train", None)
    assert ablation.start(tmp_path, mode) == folder
