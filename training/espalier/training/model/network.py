"""A `transformers` network, and its forward pass over packed sequences.

The network is a decoder-only architecture as `transformers` has it. Only its attention function is this module's: it
takes visibility as :mod:`espalier.runtime.layout` describes it, as a FlexAttention block mask (CUDA) or as a dense mask
(anywhere), in an argument of its own (`visible`) that the layers hand through. Whether an architecture does so, and
computes nothing beside what :func:`score` computes, is checked when it is loaded (:func:`check_architecture`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils.checkpoint import checkpoint
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    AutoTokenizer,
)

from espalier.runtime.constraint import Constraint
from espalier.runtime.layout import Packed, batch_block_mask, dense_mask
from espalier.training.config import ConfigError
from espalier.training.data.example import RolloutTokens
from espalier.training.data.packing import PackedSequence
from espalier.training.model.logprobs import IGNORED, Mask, Scores, token_logprobs

ATTENTION = "espalier_packed"
"""Name under which the attention function is known to `transformers`."""


@cache
def _fused_attention() -> Any:
    """FlexAttention compiled, for layers that are not: otherwise it works out all n x n scores.

    There is a kernel for each shape of the batch, so keep to one length. Compiled at first use: it takes its time.
    """
    return torch.compile(flex_attention, dynamic=False)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    visible: BlockMask | Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of (batch, heads, length, dim) under a block mask or a (batch, 1, length, length) boolean mask.

    What `transformers` makes of an attention mask differs between architectures, so it is not looked at.
    """
    if isinstance(visible, BlockMask):
        alone = query.is_cuda and not torch.compiler.is_compiling()
        attend: Any = _fused_attention() if alone else flex_attention
        out = attend(query, key, value, block_mask=visible, scale=scaling, enable_gqa=True)
    else:
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)


def require_model(folder: Path) -> None:
    """Refuse a folder that is no model directory, which `transformers` would take for the name of a model on the hub.

    Raises:
        ConfigError: The folder does not exist, or holds no model.
    """
    if not folder.is_dir():
        raise ConfigError(f"no model in {folder}: there is no such directory (`espalier model prepare` makes one)")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"no model in {folder}: config.json is missing")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model directory.

    Raises:
        ConfigError: There is no model, or no tokenizer beside it.
    """
    require_model(folder)
    if not any(folder.glob("tokenizer*")):  # `transformers` would make an empty one
        raise ConfigError(f"no tokenizer in {folder}: tokenizer.json is missing")
    return AutoTokenizer.from_pretrained(folder)


def load_network(folder: Path, device: torch.device) -> Any:
    """The network of a model directory in float32, ready for packed sequences.

    Raises:
        ConfigError: There is no model, or it cannot be trained here (:func:`check_architecture`).
    """
    require_model(folder)
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    network.config.use_cache = False
    network.set_attn_implementation(ATTENTION)
    network = network.to(device)
    try:
        check_architecture(network)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from None
    return network


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows on a device.

    Attributes:
        tokens: (sequences, length) ids.
        positions: (sequences, length) rotary positions.
        targets: (sequences, length) the next token where it is trained, else `IGNORED`.
        task: (sequences, length) task index of the target.
        visible: Block mask, or (sequences, 1, length, length) boolean.
        trained: Number of trained targets.
        rollout_logprobs, advantages, kinds: (sequences, length) of the targets that an engine sampled, 0 elsewhere; see
            :class:`espalier.training.data.example.RolloutTokens`.
        mask: What the engine could not sample in place of the targets; None where nothing was constrained.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    task: Tensor
    visible: BlockMask | Tensor
    trained: int
    rollout_logprobs: Tensor
    advantages: Tensor
    kinds: Tensor
    mask: Mask | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What a person needs to look into a batch that has broken a step."""
        names = ("tokens", "positions", "targets", "rollout_logprobs", "advantages")
        return {name: getattr(self, name).contiguous().cpu() for name in names}


def collate(
    sequences: Sequence[PackedSequence], device: torch.device, constraint: Constraint | None = None
) -> MicroBatch:
    """Stack packed sequences; block mask on CUDA, dense mask elsewhere. `constraint` is what rollouts were made under.

    A trained token is predicted from the one before it in the sequence, which always belongs to the same branch: what
    opens a branch or joins branches is forced, and forced tokens are not trained.
    """
    tokens = np.stack([one.tokens for one in sequences])
    trained = np.stack([one.trained for one in sequences])
    targets = np.full(tokens.shape, IGNORED, dtype=np.int64)
    targets[:, :-1] = np.where(trained[:, 1:], tokens[:, 1:], IGNORED)
    task = np.zeros(tokens.shape, dtype=np.int64)
    task[:, :-1] = np.stack([one.task for one in sequences])[:, 1:]

    def move(array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    length = tokens.shape[1]
    rollouts = [one.rollout or RolloutTokens.none(length) for one in sequences]

    def at_targets(values: Sequence[np.ndarray[Any, Any]]) -> Tensor:
        """Values of tokens, moved to where they are predicted."""
        return move(np.pad(np.stack(values)[:, 1:], ((0, 0), (0, 1))))

    mask = None
    if constraint is not None:
        states = at_targets([one.states for one in rollouts]).long()
        mask = Mask(states, move(np.array(constraint.mask())), move(np.array(constraint.tags)))
    packed = [one.packed for one in sequences]
    positions = np.stack([item.positions for item in packed]).astype(np.int64)
    return MicroBatch(
        move(tokens.astype(np.int64)),
        move(positions),
        move(targets),
        move(task),
        visibility(packed, device),
        int((targets >= 0).sum()),
        at_targets([one.logprobs for one in rollouts]),
        at_targets([one.advantages for one in rollouts]),
        at_targets([one.kinds for one in rollouts]),
        mask,
    )


def visibility(sequences: Sequence[Packed], device: torch.device) -> BlockMask | Tensor:
    """Who sees whom in sequences of equal length: a block mask on CUDA, a dense mask elsewhere."""
    if device.type == "cuda":
        return block_mask(sequences, device)
    return torch.from_numpy(np.stack([dense_mask(one) for one in sequences]))[:, None].to(device)


def block_mask(sequences: Sequence[Packed], device: torch.device) -> BlockMask:
    """The block mask of sequences of equal length, whatever their depth of nesting."""
    depth = max(1, *(len(one.hidden_from) for one in sequences))

    def deep(intervals: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.pad(intervals, ((0, depth - len(intervals)), (0, 0)))  # [0, 0) hides nothing

    even = [replace(one, hidden_from=deep(one.hidden_from), hidden_until=deep(one.hidden_until)) for one in sequences]
    return batch_block_mask(even, device)


def score(network: Any, batch: MicroBatch) -> Scores:
    """(sequences, length) log-probability of every trained target at its place; bf16 arithmetic on CUDA."""
    device = batch.tokens.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        return _score(network, batch)


def _score(network: Any, batch: MicroBatch) -> Scores:
    hidden = network.base_model(
        input_ids=batch.tokens, position_ids=batch.positions, use_cache=False, visible=batch.visible
    ).last_hidden_state
    return token_logprobs(hidden, network.get_output_embeddings().weight, batch.targets, batch.mask)


CHECKED_TOKENS = 64
MAX_LOGPROB_DIFF = 1e-3
"""Largest difference of a log-probability, in float32, between :func:`score` and a network's own forward pass."""


@torch.no_grad()
def check_architecture(network: Any) -> None:
    """Refuse a network that :func:`score` would compute otherwise than the network computes itself.

    Sliding windows are refused by name, since they show only in long sequences. Anything else (an attention that is
    not handed the visibility, capped or scaled logits, a bias of the output layer) shows in the log-probabilities of 64
    tokens, which have to be those of the network's own causal forward pass.

    Raises:
        ConfigError: The network is refused; the message says why.
    """
    config = network.config
    name = type(network).__name__
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if kinds or (window and not getattr(config, "layer_types", None)):
        said = f"layers of kind {', '.join(sorted(kinds))}" if kinds else f"a sliding window of {window} tokens"
        raise ConfigError(f"{name} has {said}, and only full attention can be trained")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocab_size, (1, CHECKED_TOKENS), generator=generator).to(network.device)
    training = network.training
    network.eval()
    try:
        own = _score(network, _causal_batch(tokens)).logprobs[0, :-1]
        network.set_attn_implementation("sdpa")
        theirs = network(input_ids=tokens, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"{name} cannot be trained: its layers do not hand visibility to attention ({error})"
        ) from None
    finally:
        network.set_attn_implementation(ATTENTION)
        network.train(training)
    difference = (own - theirs.gather(-1, tokens[0, 1:, None])[:, 0]).abs().max().item()
    if not difference <= MAX_LOGPROB_DIFF:
        raise ConfigError(
            f"{name} cannot be trained: its own forward pass differs from the trainer's by {difference:.3g} in the "
            f"log-probability of a token, at most {MAX_LOGPROB_DIFF:g} is rounding"
        )


def _causal_batch(tokens: Tensor) -> MicroBatch:
    """One sequence without blocks, (1, n) tokens, all of them targets."""
    length = tokens.shape[1]
    positions = torch.arange(length, device=tokens.device)[None]
    targets = F.pad(tokens[:, 1:], (0, 1), value=IGNORED)
    visible = torch.ones(1, 1, length, length, dtype=torch.bool, device=tokens.device).tril()
    nothing = torch.zeros(tokens.shape, device=tokens.device)
    return MicroBatch(
        tokens, positions, targets, torch.zeros_like(tokens), visible, length - 1, nothing, nothing, nothing
    )


class PolicyNetwork(torch.nn.Module):
    """A network whose forward pass is :func:`score`: the module to shard, since FSDP gathers what a forward pass uses.

    `network` is the `transformers` model; weights for engines and files are named after it.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: MicroBatch) -> Scores:
        """See :func:`score`."""
        return score(self.network, batch)


def decoder_layers(network: Any) -> list[torch.nn.Module]:
    """The layers of a network, first to last."""
    return list(network.base_model.layers)


def compile_layers(network: Any) -> None:
    """Compile every decoder layer in place; one compilation serves all."""
    for layer in decoder_layers(network):
        layer.forward = torch.compile(layer.forward, dynamic=False)


def checkpoint_layers(network: Any) -> None:
    """Keep only the input of every decoder layer for the backward pass, which computes the rest again."""
    for layer in decoder_layers(network):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
