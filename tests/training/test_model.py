from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from espalier.runtime.layout import dense_mask, pack
from espalier.training.data.example import TrainingExample
from espalier.training.model.network import MicroBatch, block_mask, checkpoint_layers, collate, score
from recipes.seedling.network import build
from recipes.seedling.settings import BaseConfig
from recipes.seedling.stream import pack_examples
from tests.training.conftest import TOKENIZER
from tests.training.synthetic import forked, policy, random_sequence, rows

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny: BaseConfig) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return build(tiny.model, AutoTokenizer.from_pretrained(TOKENIZER))


def _gradients(model: Qwen3ForCausalLM) -> list[torch.Tensor]:
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


def test_packed_rows_give_the_losses_and_gradients_of_each_example_alone(
    model: Qwen3ForCausalLM, some_examples: list[tuple[int, TrainingExample]]
) -> None:
    chosen = [pair for pair in some_examples if len(pair[1].tokens) < 500][:4]
    packed = collate(list(pack_examples([*chosen, *some_examples], 1024, 2)), CPU)
    total = -score(model, packed).logprobs.sum()
    total.backward()
    together = _gradients(model)

    alone = torch.zeros(())
    for row in pack_examples([*chosen, *some_examples], 1024, 2):
        for document in range(int(row.packed.document.max())):
            at = np.flatnonzero(row.packed.document == document)
            if not row.trained[at].any():
                continue
            positions = torch.from_numpy(row.packed.positions[at].astype(np.int64))[None]
            tokens = torch.from_numpy(row.tokens[at].astype(np.int64))[None]
            visible = torch.from_numpy(dense_mask(row.packed)[np.ix_(at, at)])[None, None]
            targets = torch.full_like(tokens, -100)
            targets[0, :-1] = torch.where(torch.from_numpy(row.trained[at][1:]), tokens[0, 1:], -100)
            none = torch.zeros(tokens.shape)
            loss = -score(
                model, MicroBatch(tokens, positions, targets, targets, visible, 0, none, none, none)
            ).logprobs.sum()
            loss.backward()
            alone += loss.detach()
    assert torch.allclose(total, alone, rtol=1e-5)
    for both, single in zip(together, _gradients(model), strict=True):
        assert torch.allclose(both, single, rtol=1e-3, atol=1e-3)


def test_block_mask_and_dense_mask_are_the_same_attention() -> None:
    """Over rows with and without blocks, of several sequences, and padding."""
    network = policy(seed=0).network
    step = [forked(20, [30, 41], 10)]
    mixed = [
        random_sequence([*step, forked(50, [], 0), *step], 256, 0),
        random_sequence([forked(90, [], 0)], 256, 1),
        random_sequence([], 256, 2),
    ]
    dense = collate(mixed, CPU)
    blocks = replace(dense, visible=block_mask([row.packed for row in mixed], CPU))
    with torch.no_grad():
        assert torch.allclose(score(network, dense).logprobs, score(network, blocks).logprobs, atol=1e-5)


def test_activation_checkpointing_changes_no_gradient() -> None:
    plain, frugal = policy(seed=0), policy(seed=0)
    checkpoint_layers(frugal.network)
    batch = collate(rows(2), CPU)
    for each in (plain, frugal):
        each(batch).logprobs.sum().backward()
    for one, other in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_targets_are_the_trained_tokens_and_nothing_else(some_examples: list[tuple[int, TrainingExample]]) -> None:
    filled = list(pack_examples(some_examples, 1024, 2))
    batch = collate(filled, CPU)
    for row, targets in zip(filled, batch.targets.numpy(), strict=True):
        assert (targets[:-1][row.trained[1:]] == row.tokens[1:][row.trained[1:]]).all()
        assert (targets[:-1][~row.trained[1:]] == -100).all()
    assert batch.trained == sum(int(row.trained[1:].sum()) for row in filled)


def test_a_step_does_not_feel_its_siblings(
    model: Qwen3ForCausalLM, some_examples: list[tuple[int, TrainingExample]]
) -> None:
    example = some_examples[0][1]
    first, second = example.layout.branches[1], example.layout.branches[2]
    packed = pack([example.layout])
    visible = torch.from_numpy(dense_mask(packed))[None, None]
    positions = torch.from_numpy(packed.positions.astype(np.int64))[None]

    def hidden(tokens: np.ndarray) -> torch.Tensor:
        out = model.model(
            input_ids=torch.from_numpy(tokens.astype(np.int64))[None],
            position_ids=positions,
            visible=visible,
            use_cache=False,
        )
        return out.last_hidden_state[0]

    changed = example.tokens.copy()
    changed[first.start + 5 : first.end] = 100
    with torch.no_grad():
        before, after = hidden(example.tokens), hidden(changed)
    assert torch.equal(before[second.start : second.end], after[second.start : second.end])
    assert not torch.equal(before[second.end :], after[second.end :])
