"""What the runner reads of its control group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from espalier.verifiers.code.runner import group_seconds, open_meter, usage


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500000000\n", 1.5), ("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n", 2.5)],
    ids=["cpuacct.usage of version 1", "cpu.stat of version 2"],
)
def test_the_processor_time_of_a_group_is_read_in_both_versions(tmp_path: Path, text: str, seconds: float) -> None:
    (tmp_path / "meter").write_text(text)
    meter = open_meter(str(tmp_path / "meter"))
    assert meter is not None
    assert group_seconds(meter) == seconds
    os.close(meter)


@pytest.mark.parametrize(
    "text",
    ["999000000000\n", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n", "", None],
    ids=["of the whole machine", "of another kind", "empty", "missing"],
)
def test_what_does_not_tell_the_time_of_a_new_sandbox_is_no_meter(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "meter").write_text(text)
    assert open_meter(str(tmp_path / "meter")) is None


def test_without_a_meter_the_processes_are_counted() -> None:
    assert usage(None) > 0
