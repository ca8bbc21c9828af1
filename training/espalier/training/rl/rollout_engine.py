"""The engine that makes rollouts, on the weights being trained."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch

from espalier.runtime.engine import EngineUnavailable, Limits, Mode
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.local.engine import LocalConfig, LocalEngine
from espalier.runtime.local.pool import EnginePool
from espalier.runtime.local.scheduler import Capacity
from espalier.runtime.open import EmbeddedSetting, embedded_of
from espalier.runtime.prompt import PromptTemplate
from espalier.runtime.sglang.client.engine import SglangEngine
from espalier.runtime.sglang.client.setting import SCHEME, client_of
from espalier.training.config import ConfigError, ServiceConfig
from espalier.training.model.weights import full_weights
from espalier.training.rl.rollout import Collector, Outage, TrainedEngine
from espalier.training.rl.verifiers import RetryingVerifiers
from espalier.training.run.distributed import TrainingGroup
from espalier.training.run.metrics import Tell
from espalier.verifiers.open import open_verifiers

TOKENS_IN_A_PASS = 8192


@asynccontextmanager
async def engine_for(config: ServiceConfig, network: Any, tokenizer: Any, folder: Path) -> AsyncIterator[TrainedEngine]:
    """The engine of a run, closed at the end.

    The local engine serves a copy of the network, in bfloat16 on CUDA. Call this before the network gets an adapter or
    is sharded. In processes of their own the engine serves the model in `folder`.

    Raises:
        ValueError: the setting names no engine, or several processes are to share a GPU's memory without saying how.
    """
    embedded = embedded_of(config.engine)
    if embedded is not None:
        settings = _local(config, embedded, network.device)
        if config.processes == 1:
            async with LocalEngine.serve(served_copy(network), tokenizer, settings) as local:
                yield local
            return
        if network.device.type == "cuda" and not settings.kv_tokens:
            raise ConfigError("service.kv_tokens: processes on one GPU cannot find out who has room; give a number")
        async with EnginePool(folder, tokenizer, settings, config.processes) as pool:
            yield pool
        return
    if not config.engine.startswith(SCHEME):
        raise ConfigError(f"service.engine: write local or sglang://HOST:PORT, not {config.engine!r}")
    async with client_of(config.engine) as remote:
        yield remote


def _local(config: ServiceConfig, embedded: EmbeddedSetting, device: torch.device) -> LocalConfig:
    """Of one process. What the setting of the engine says goes before `service.rows` and `service.kv_tokens`.

    Raises:
        ConfigError: The setting names a model: rollouts are made on the weights being trained.
    """
    if embedded.directory is not None:
        raise ConfigError(f"service.engine: write local without {embedded.directory}: the weights being trained decode")
    rows = (embedded.rows or config.rows) // config.processes
    return LocalConfig(
        device=str(device),
        kv_tokens=(embedded.kv_tokens or config.kv_tokens) // config.processes or None,
        capacity=Capacity(rows=rows, tokens=TOKENS_IN_A_PASS, requests=rows),
    )


@asynccontextmanager
async def collector_for(
    config: ServiceConfig,
    network: Any,
    tokenizer: Any,
    folder: Path,
    mode: Mode,
    limits: Limits,
    tell: Tell,
    constrained: bool = False,
) -> AsyncIterator[Collector]:
    """Engine and verifiers of a run, opened for collecting rollouts of a network and closed at the end.

    Args:
        config: Which engine and which verifiers.
        network: Whose rollouts.
        tokenizer: Of the network.
        folder: The network's directory, which may hold an instruction text.
        mode: Whether `</guideline>` forks.
        limits: Of a response.
        tell: Hears when the verifiers are away.
        constrained: Whether engines keep responses to the grammar.

    Raises:
        ValueError: A setting names no engine; instruction text or token are unusable.
        OSError: Their files cannot be read.
    """
    template = PromptTemplate.load(Path(config.instruction) if config.instruction else folder, model=folder)
    async with judging(config, tell) as verifiers, engine_for(config, network, tokenizer, folder) as engine:
        vocabulary = Vocabulary.of(tokenizer, end_of_turn=engine.info.end_of_turn)
        outage = Outage(tell) if isinstance(engine, SglangEngine) else None
        yield Collector(engine, verifiers, template, vocabulary, mode, limits, constrained, outage=outage)


@asynccontextmanager
async def judging(config: ServiceConfig, tell: Tell) -> AsyncIterator[RetryingVerifiers]:
    """The verifiers of a run, closed at the end; `tell` hears when they are away.

    Raises:
        ValueError: The token is unusable.
        OSError: Its file cannot be read.
    """
    token_file, tls_ca = (Path(name) if name else None for name in (config.token_file, config.tls_ca))
    async with open_verifiers(config.verifiers, None, token_file, tls_ca) as judge:
        yield RetryingVerifiers(judge, tell, config.verify_seconds)


async def sync_weights(engine: TrainedEngine, network: Any, group: TrainingGroup, outage: Outage | None = None) -> int:
    """Put the weights being trained into the engine; every process calls it. The new weight version.

    Local engines belong to their process. Servers belong to all of them: the main process updates them.
    """
    dtype = torch.bfloat16 if group.device.type == "cuda" else torch.float32
    own = isinstance(engine, LocalEngine | EnginePool)
    gathered = full_weights(network, dtype)
    version = 0
    if own or group.is_main:
        weights = dict(gathered)
        while not version:
            try:
                version = await engine.update_weights(weights)
            except EngineUnavailable as error:
                if outage is None:
                    raise
                await outage.wait(error)
    else:
        for _ in gathered:  # gathering takes everyone
            pass
    if isinstance(engine, SglangEngine):
        await asyncio.to_thread(group.barrier)  # servers may take longer than a collective operation
        version = int(group.maximum(torch.tensor(version)).item())
        engine.expect_weights(version)
    return version


def served_copy(network: Any) -> Any:
    """What the local engine serves: a second module over weights of its own, in bfloat16 on CUDA."""
    served = copy.deepcopy(network).eval()
    return served.to(torch.bfloat16) if network.device.type == "cuda" else served
