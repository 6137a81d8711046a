"""The endurance commands themselves, in small: what they promise by the hundred holds a few times on every change."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from dfx import pool as pool_module

sys.path.insert(0, str(Path(__file__).with_name("endurance")))
import budgets
import kills

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")


def test_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(tmp_path: Path) -> None:
    assert "5 kills over one run of 60 videos" in kills.disturbed(tmp_path, kills=5, videos=60, seed=1)


def test_a_budget_is_kept_on_a_machine_that_stalls(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "COMMAND", list(pool_module.COMMAND))  # the run replaces what is in it
    for number in range(60):
        shutil.copy(samples / "real.mp4", tmp_path / f"{number:02}.mp4")
    labels = dict.fromkeys((path.name for path in tmp_path.glob("*.mp4")), 0)
    losses = budgets.run(tmp_path, labels, 15.0, random.Random(0))
    assert losses.shape == (60,)
    assert (losses != np.log(2)).any(), "something was scored"


def test_the_verdict_compares_the_same_videos() -> None:
    worse, better = np.full(50, 0.7), np.linspace(0.5, 0.7, 50)
    said = budgets.verdict({1.0: worse, 2.0: worse, 30.0: worse, 40.0: better, 50.0: better, 60.0: better})
    assert "log loss of the short third: 0.7000" in said
    assert "ample over middle: +0.0500 better (+0.0" in said
