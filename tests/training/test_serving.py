"""`service.engine` means what it means everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from espalier.runtime.local import SEEDLING
from espalier.training.config import ServiceConfig
from espalier.training.rl.rollout_engine import engine_for
from recipes.seedling.network import build
from recipes.seedling.settings import BaseConfig
from tests.runtime.sglang_client.fake import FakeSglang, embedded


@pytest.fixture
def opened(tiny: BaseConfig):  # type: ignore[no-untyped-def]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SEEDLING)
    network = build(tiny.model, tokenizer)
    return lambda setting: engine_for(ServiceConfig(engine=setting), network, tokenizer, Path("unused"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("locally", "write local or sglang://HOST:PORT, not 'locally'"),
        ("local?rows=none", "rows must be a whole number above 0, got 'none'"),
        (f"local:{SEEDLING}", "write local without"),
        ("sglang://host", "lacks host or port"),
        ("sglang://host:1?key-file=/no/such", "key-file /no/such cannot be read"),
    ],
)
async def test_a_setting_that_names_no_engine_says_what_to_write(opened, setting: str, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        async with opened(setting):
            pass


async def test_the_embedded_engine_takes_its_options_here_too(opened) -> None:  # type: ignore[no-untyped-def]
    async with opened("local?rows=3&kv-tokens=512") as engine:
        assert engine.info.details["kv_tokens"] == 512


async def test_several_servers_and_their_key_reach_the_client(opened, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "key").write_text("a-secret\n")
    served = FakeSglang(embedded({(): (None,) * 10_000}), key="a-secret")
    async with served.engine, served.serving():
        address = served.url.removeprefix("http://")
        setting = f"sglang://127.0.0.1:9,{address}?key-file={tmp_path / 'key'}&tokenizer={SEEDLING}"
        async with opened(setting) as engine:
            assert engine.info.details["servers"] == {"http://127.0.0.1:9": "down", served.url: "up"}


async def test_several_processes_on_a_gpu_need_to_know_their_share_of_its_memory() -> None:
    class OnGpu:
        device = torch.device("cuda")

    config = ServiceConfig(processes=2)
    with pytest.raises(ValueError, match=r"service.kv_tokens: processes on one GPU .* give a number"):
        async with engine_for(config, OnGpu(), None, Path("unused")):
            pass
