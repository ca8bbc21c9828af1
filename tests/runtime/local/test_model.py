from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, Qwen3Config, Qwen3ForCausalLM

from espalier.runtime.local.model import SEEDLING, ModelError, load_model
from tests.runtime.local.tiny import SIZES

CPU = torch.device("cpu")


def save(folder: Path, **changes: object) -> Path:
    Qwen3ForCausalLM(Qwen3Config(**{**SIZES, **changes})).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((SEEDLING / name).read_bytes())
    return folder


def load(path: Path | str):
    return load_model(path, CPU, torch.float32)


def test_a_saved_model_is_loaded_with_its_tokenizer(tmp_path):
    model = load(save(tmp_path))
    assert model.head_dim == SIZES["head_dim"]
    assert model.kv_bytes_per_token == 2 * 2 * 2 * 8 * 4
    assert len(model.tokenizer.encode("<guideline>", add_special_tokens=False)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("/no/such/place", "no model directory at /no/such/place"), ("./nowhere", "no model directory at nowhere")],
)
def test_a_missing_directory_is_named(name, message):
    with pytest.raises(ModelError, match=message):
        load(name)


def test_a_directory_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load(tmp_path)


def test_missing_weights_are_named(tmp_path):
    save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no \*\.safetensors"):
        load(tmp_path)


def test_broken_weights_are_reported_without_a_traceback(tmp_path):
    save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 broken")
    with pytest.raises(ModelError, match=r"model files at .* cannot be loaded"):
        load(tmp_path)


def test_a_model_without_rotary_positions_is_refused(tmp_path):
    GPT2Config().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"'gpt2' model without .*rope_parameters"):
        load(tmp_path)


def test_sliding_windows_are_refused(tmp_path):
    save(tmp_path, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    with pytest.raises(ModelError, match="sliding_attention"):
        load(tmp_path)


def test_an_unknown_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abacus"}))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="abacus"):
        load(tmp_path)
