"""What an engine is asked for a candidate."""

from __future__ import annotations

import pytest

from espalier.runtime.engine import EngineInfo, Mode
from espalier.solver.core.candidate import Spec
from espalier.solver.core.generation import Generation


@pytest.mark.parametrize(
    ("mode", "parallel", "constrained"),
    [(Mode.PARALLEL, True, True), (Mode.PARALLEL, False, False), (Mode.SEQUENTIAL, True, False)],
)
def test_only_what_forks_and_joins_is_constrained(mode: Mode, parallel: bool, constrained: bool) -> None:
    generation, info = Generation(mode=mode, constrained=True), EngineInfo("m", 2048, parallel=parallel)
    assert generation.request("r", (1,), Spec(0, 0, seed=1, temperature=1.0), info).constrained is constrained
