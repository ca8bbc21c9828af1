"""What tests of several folders need: a small random model, a real Redis, the verifiers of mathematics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.solver.batch.connection import connect
from espalier.verifiers.local import LocalVerifiers
from tests.solver.batch.server import RedisServer
from tests.solver.mathematics import SharedMath, shared_math

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on disk for tests that need an engine but no right answers."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from espalier.runtime.local.model import SEEDLING

    tokenizer = AutoTokenizer.from_pretrained(SEEDLING)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    path = tmp_path_factory.mktemp("random-model")
    Qwen3ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendonly=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(server.url, retries=0) as client:
        await client.flushall()
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that the test may kill."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mathematics() -> Iterator[SharedMath]:
    with shared_math() as started:
        yield started


@pytest.fixture
async def hub(mathematics: SharedMath) -> AsyncIterator[LocalVerifiers]:
    async with LocalVerifiers([mathematics]) as verifiers:
        yield verifiers
