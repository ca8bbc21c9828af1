from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from espalier.training.rl.objective import (
    LossInputs,
    dapo_loss,
    papo_loss,
)


def _sampled(logprobs: list[float], advantages: list[float], mask: list[bool], rollout: list[float]) -> LossInputs:
    return LossInputs(
        torch.tensor(logprobs, requires_grad=True), torch.tensor(rollout), torch.tensor(advantages), torch.tensor(mask)
    )


def test_the_papo_loss_by_hand() -> None:
    sampled = _sampled([-1.0, -2.0, -3.0], [2.0, -1.0, 5.0], [True, True, False], [-1.0, -2.0, 0.0])
    loss, metrics = papo_loss(sampled, tokens=4)
    assert loss.item() == pytest.approx(-(2 - 1) / 4)
    loss.backward()
    assert sampled.logprobs.grad is not None
    assert sampled.logprobs.grad.tolist() == pytest.approx([-2 / 4, 1 / 4, 0.0])
    assert metrics.divergence == 0
    assert metrics.cut == 0


def test_the_papo_gradient_is_the_policy_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    chosen, advantages = torch.tensor([0, 3, 6, 2, 2]), torch.randn(5, dtype=torch.float64)
    logprobs = logits.log_softmax(-1)[torch.arange(5), chosen]
    loss, _ = papo_loss(LossInputs(logprobs, logprobs.detach(), advantages, torch.ones(5, dtype=torch.bool)), 5)
    (found,) = torch.autograd.grad(loss, logits)
    # d(-A log p)/d logits = A (p - onehot), over the number of tokens.
    onehot = torch.nn.functional.one_hot(chosen, 7)
    expected = advantages[:, None] * (logits.softmax(-1) - onehot) / 5
    assert torch.allclose(found, expected.detach())


def test_the_importance_weight_is_truncated_and_off_by_default() -> None:
    # Trainer's over engine's probability: 1/2, 3.
    rollout = [-1.0 + math.log(2), -1.0 - math.log(3)]
    sampled = _sampled([-1.0, -1.0], [1.0, 1.0], [True, True], rollout)
    loss, metrics = papo_loss(sampled, tokens=2, max_weight=2.0)
    assert loss.item() == pytest.approx(-(0.5 + 2.0) / 2)
    assert metrics.cut == 1
    assert papo_loss(sampled, tokens=2)[0].item() == pytest.approx(-1.0)


def test_mismatch_is_measured_by_hand() -> None:
    sampled = _sampled([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [True, True, False], [-1.0 + math.log(2), -1.0, -9.0])
    _, metrics = papo_loss(sampled, tokens=2)
    # r = 1/2: r - 1 - log r = -1/2 + log 2. The masked token counts nowhere.
    assert metrics.divergence.item() == pytest.approx(math.log(2) - 0.5, abs=1e-6)
    assert metrics.max_logprob_diff.item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "slope"),
    [
        (1.0, 1.0, 1.0, 1.0),
        (1.5, 1.0, 1.28, 0.0),
        (1.5, -1.0, -1.5, -1.5),
        (0.5, 1.0, 0.5, 0.5),
        (0.5, -1.0, -0.8, 0.0),
    ],
)
def test_the_dapo_loss_by_hand(ratio: float, advantage: float, gain: float, slope: float) -> None:
    sampled = _sampled([-2.0], [advantage], [True], [-2.0 - math.log(ratio)])
    loss, metrics = dapo_loss(sampled, tokens=1)
    loss.backward()
    assert loss.item() == pytest.approx(-gain, rel=1e-5)
    assert sampled.logprobs.grad is not None
    assert sampled.logprobs.grad.item() == pytest.approx(-slope, rel=1e-5)
    assert metrics.cut == (slope == 0.0)


@pytest.mark.parametrize("objective", [papo_loss, dapo_loss])
def test_parts_of_a_batch_add_up_to_the_whole(objective: object) -> None:
    torch.manual_seed(1)
    values = torch.randn(3, 10)
    mask = torch.rand(10) < 0.6
    count = int(mask.sum())

    def gradient(parts: list[slice]) -> tuple[float, Tensor]:
        logprobs = values[0].clone().requires_grad_()
        total = 0.0
        for part in parts:
            loss, _ = objective(LossInputs(logprobs[part], values[1][part], values[2][part], mask[part]), count)  # type: ignore[operator]
            loss.backward()
            total += loss.item()
        assert logprobs.grad is not None
        return total, logprobs.grad

    whole, parts = gradient([slice(0, 10)]), gradient([slice(0, 2), slice(2, 7), slice(7, 10)])
    assert whole[0] == pytest.approx(parts[0], rel=1e-5)
    assert torch.allclose(whole[1], parts[1])
