"""New weights for running servers: from files, from tensors on the same host, or by broadcast."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.runtime.engine import EngineError, RequestRefused
from espalier.runtime.sglang.client.server import NoSuchEndpoint, Server

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class WeightGroup:
    """A process group over which a trainer (rank 0) broadcasts weights to the ranks of the servers.

    Attributes:
        address: Host of the trainer.
        port: Where the group meets.
        size: Ranks altogether: 1 plus those of all servers.
        name: Of the group.
        backend: "nccl", or "gloo" on CPUs.
    """

    address: str
    port: int
    size: int
    name: str = "espalier"
    backend: str = "nccl"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that is going to be broadcast: its parameter's name, its dtype like "bfloat16", its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


async def load_from_disk(server: Server, directory: Path, version: int) -> None:
    """Let a server read safetensors files from a directory that it can see.

    Raises:
        EngineError: It could not; its message says why.
    """
    await _ask(server, "/update_weights_from_disk", {"model_path": str(directory), "weight_version": str(version)})


async def load_from_tensors(server: Server, weights: Mapping[str, torch.Tensor], version: int) -> None:
    """Hand tensors to a server on this host through shared memory (CPU) or CUDA's handles; nothing is copied to HTTP.

    Raises:
        EngineError: The server could not take them.
    """
    ranks = int((await server.get("/server_info"))["tp_size"])
    with _shared_by_name():
        buffer = io.BytesIO()
        ForkingPickler(buffer).dump([(name, tensor.detach()) for name, tensor in weights.items()])
        payload = base64.b64encode(buffer.getvalue()).decode()
        body = {"serialized_named_tensors": [payload] * ranks, "weight_version": str(version)}
        async with _session(server):
            await _ask(server, "/update_weights_from_tensor", body)


async def join_group(server: Server, group: WeightGroup, first_rank: int) -> None:
    """Let a server join a group with its ranks from `first_rank` on.

    Comes back when the whole group has met, so the trainer has to join at the same time.

    Raises:
        EngineError: It could not.
    """
    await _ask(
        server,
        "/init_weights_update_group",
        {
            "master_address": group.address,
            "master_port": group.port,
            "rank_offset": first_rank,
            "world_size": group.size,
            "group_name": group.name,
            "backend": group.backend,
        },
    )


async def receive(server: Server, specs: Sequence[TensorSpec], group: WeightGroup, version: int) -> None:
    """Let a server receive tensors that rank 0 broadcasts meanwhile, in this order.

    Raises:
        EngineError: It could not.
    """
    body = {
        "names": [spec.name for spec in specs],
        "dtypes": [spec.dtype for spec in specs],
        "shapes": [list(spec.shape) for spec in specs],
        "group_name": group.name,
        "weight_version": str(version),
    }
    async with _session(server):
        await _ask(server, "/update_weights_from_distributed", body)


async def leave_group(server: Server, group: WeightGroup) -> None:
    """Let a server leave a group.

    Raises:
        EngineError: It could not.
    """
    await _ask(server, "/destroy_weights_update_group", {"group_name": group.name})


@asynccontextmanager
async def _session(server: Server) -> AsyncIterator[None]:
    """Newer SGLang (0.5.21) takes tensors between two calls only; older (0.5.17) does not know these calls."""
    try:
        await _ask(server, "/begin_weight_update", {})
    except NoSuchEndpoint:
        yield
        return
    try:
        yield
    finally:
        await _ask(server, "/end_weight_update", {})


async def _ask(server: Server, path: str, body: dict[str, Any]) -> None:
    try:
        answer = await server.post(path, body)
    except RequestRefused as error:
        raise EngineError(f"{server.url}{path}: {error}") from error
    if not answer.get("success"):
        raise EngineError(f"{server.url}{path}: {answer.get('message', 'failed without a reason')}")


@contextmanager
def _shared_by_name() -> Iterator[None]:
    """Storage travels as a name in /dev/shm: file descriptors go to a process's own children only."""
    import torch.multiprocessing

    sharing: Any = torch.multiprocessing
    before = sharing.get_sharing_strategy()
    sharing.set_sharing_strategy("file_system")
    try:
        yield
    finally:
        sharing.set_sharing_strategy(before)
