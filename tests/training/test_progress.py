from __future__ import annotations

import sys

import pytest

from espalier.training.run.progress import reporter

STEP = {
    "step": 3,
    "reward": 0.25,
    "accuracy": 0.5,
    "parallel": 0.75,
    "tokens_per_second": 900,
    "loss": -0.1,
    "done": 0.5,
}
NOTE = {"note": "no step: nothing to train on in this batch (6 verifier_error); for example: [/bin/sh] is missing [x"}


def test_a_terminal_shows_a_bar_with_what_matters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    with reporter() as report:
        report(STEP)
        report(NOTE)
    out, err = capsys.readouterr()
    assert out == ""  # results go there
    assert "50%" in err
    for shown in ("reward 0.25", "accuracy 0.5", "parallel 0.75", "tokens_per_second 900"):
        assert shown in err
    assert NOTE["note"] in err  # as it is, not as markup


def test_elsewhere_every_entry_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter() as report:
        report(STEP)
        report(NOTE)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "step 3  reward 0.25  accuracy 0.5  parallel 0.75  tokens_per_second 900  loss -0.1  done 0.5",
        f"note {NOTE['note']}",
    ]
