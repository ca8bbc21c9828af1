from __future__ import annotations

import pytest

from espalier.training.config import Schedule, TrainerConfig
from espalier.training.trainer import learning_rate_factor


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = TrainerConfig(
        sequence_length=8, learning_rate=1.0, warmup_steps=10, schedule=Schedule.LINEAR, decay_share=0.2
    )
    assert learning_rate_factor(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_factor(config, 50, 0.5) == 1.0
    assert learning_rate_factor(config, 90, 0.9) == pytest.approx(0.5)
    assert learning_rate_factor(config, 99, 1.0) == 0.0
