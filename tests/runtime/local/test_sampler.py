from __future__ import annotations

import numpy as np
import pytest
import torch

from espalier.runtime.decoding.branch import branch_noise
from espalier.runtime.engine import RequestRefused, SamplingParams
from espalier.runtime.local.sampler import DefaultSampler, SamplingInput, forbid

LOGITS = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03]))


def draw(
    params: SamplingParams, count: int = 4000, own: tuple[int, ...] = (), forbidden: tuple[int, ...] = ()
) -> np.ndarray:
    """Frequencies of `count` draws."""
    noise = branch_noise(7, ())
    draws = [SamplingInput("r", (), index, params, own, noise) for index in range(count)]
    logits = LOGITS.repeat(count, 1)
    forbid([forbidden] * count, logits)
    tokens, _ = DefaultSampler().sample(draws, logits)
    return np.bincount(tokens, minlength=5) / count


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(), [0.5, 0.25, 0.15, 0.07, 0.03]),
        (SamplingParams(temperature=0), [1, 0, 0, 0, 0]),
        (SamplingParams(temperature=0.5), [0.7375, 0.1844, 0.0664, 0.0145, 0.0027]),
        (SamplingParams(top_k=2), [2 / 3, 1 / 3, 0, 0, 0]),
        (SamplingParams(top_p=0.8), [0.5556, 0.2778, 0.1667, 0, 0]),
        (SamplingParams(min_p=0.2), [0.5556, 0.2778, 0.1667, 0, 0]),
        (SamplingParams(top_k=3, top_p=0.7), [2 / 3, 1 / 3, 0, 0, 0]),
    ],
)
def test_frequencies_follow_the_filtered_distribution(params, expected):
    found = draw(params)
    assert np.abs(found - expected).max() < 0.03
    assert (found[np.array(expected) == 0] == 0).all()


def test_repetition_penalty_lowers_what_was_said():
    penalised = draw(SamplingParams(repetition_penalty=1.5), own=(0,))
    assert penalised[0] < 0.45 < draw(SamplingParams())[0]


def test_log_probabilities_are_those_of_the_unmodified_logits():
    noise = branch_noise(1, ())
    params = SamplingParams(temperature=0.2, top_k=1)
    tokens, logprobs = DefaultSampler().sample([SamplingInput("r", (), 0, params, (), noise)], LOGITS[None])
    assert logprobs[0] == pytest.approx(float(LOGITS[tokens[0]]))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(), [0, 0.5814, 0.3488, 0, 0.0698]),
        (SamplingParams(temperature=0), [0, 1, 0, 0, 0]),
        (SamplingParams(top_k=2), [0, 0.625, 0.375, 0, 0]),
        (SamplingParams(repetition_penalty=1.5), [0, 0.5814, 0.3488, 0, 0.0698]),
    ],
)
def test_what_is_forbidden_never_comes_and_the_rest_is_renormalised(params, expected):
    found = draw(params, forbidden=(0, 3))
    assert found[0] == found[3] == 0
    assert np.abs(found - expected).max() < 0.03


def test_log_probabilities_are_those_of_what_is_not_forbidden():
    draws = [SamplingInput("r", (), 0, SamplingParams(), (), branch_noise(seed, ())) for seed in range(20)]
    logits = LOGITS.repeat(20, 1)
    forbid([(0,)] * 20, logits)
    tokens, logprobs = DefaultSampler().sample(draws, logits)
    assert logprobs == pytest.approx([float(LOGITS[token]) - np.log(0.5) for token in tokens], abs=1e-6)


def test_forbidding_what_would_not_have_come_changes_no_draw():
    logits = torch.cat([torch.full((200, 3), -80.0), torch.randn(200, 40)], dim=1)
    found = []
    for forbidden in ((), (0, 1, 2)):
        draws = [SamplingInput("r", (), 0, SamplingParams(), (), branch_noise(seed, ())) for seed in range(200)]
        forbid([forbidden] * 200, logits)
        found.append(DefaultSampler().sample(draws, logits))
    assert found[0] == found[1]


def test_a_row_that_forbids_nothing_is_untouched_beside_one_that_does():
    logits = LOGITS.repeat(3, 1)
    forbid([(), (2, 4), ()], logits)
    assert torch.equal(logits[0], LOGITS)
    assert torch.equal(logits[2], LOGITS)
    assert (logits[1] == -torch.inf).tolist() == [False, False, True, False, True]


def test_a_row_does_not_depend_on_its_neighbours():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    warm, cold = SamplingParams(seed=1), SamplingParams(temperature=0, top_p=0.5)
    alone, _ = DefaultSampler().sample([SamplingInput("r", (), 0, warm, (), branch_noise(1, ()))], logits[:1])
    draws = [
        SamplingInput(str(i), (), 0, params, (), branch_noise(1, ())) for i, params in enumerate([warm, cold, warm])
    ]
    together, _ = DefaultSampler().sample(draws, logits)
    assert together[0] == alone[0]
    assert together[1] == int(logits[1].argmax())


def test_siblings_draw_different_noise_from_one_seed():
    paths = [(), ((0, 1),), ((0, 2),), ((1, 1),), ((0, 1), (0, 1))]
    assert len({branch_noise(3, path).random() for path in paths}) == len(paths)
    assert branch_noise(3, ((0, 2),)).random() == branch_noise(3, ((0, 2),)).random()


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -1), ("top_p", 0), ("top_p", 1.5), ("top_k", -1), ("min_p", 1), ("repetition_penalty", 0)],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(RequestRefused, match=field):
        SamplingParams(**{field: value})
