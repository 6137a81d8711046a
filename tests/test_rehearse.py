"""The budget verdict: its bound holds, its arithmetic is what it says, and a projection never passes for more."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import clip

import dfx
from dfx.cards import CARDS, Work, card_named, project
from dfx.clocked import STAGES, Clock, ClockedPipeline
from dfx.errors import InputError
from dfx.mix import COUNTS, make
from dfx.rehearsal import Rehearsal, projected, spoken, upper_mean
from dfx.rehearse import _timed_run, drawn, overhead
from dfx.settings import Settings
from dfx.values import Prediction, Reason

COSTS = (0.2,) * 38 + (1.2, 0.0)
WORK = Work(packets_pixels=60e6, frames_pixels=30e6, probing=0.004, linking=0.002, networks=0.1, flops=60e9)


def rehearsal(**changes: object) -> Rehearsal:
    found = Rehearsal(
        videos=4000,
        budget=9 * 3600.0,
        windows=2,
        source="made by dfx",
        device="the CPU, as asked for",
        lanes=2,
        startup=2.0,
        costs=COSTS,
        overhead=1.05,
        stages=tuple((name, 0.03) for name in STAGES),
        steps=((1, 0.6), (2, 1.0), (4, 1.7), (8, 3.0)),
        reasons=(("ok", 38), ("no_face", 1), ("corrupt", 1)),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_the_bound_holds_in_95_of_100_samples_of_a_skewed_distribution() -> None:
    rng = np.random.default_rng(0)
    draws = rng.lognormal(0, 0.5, (2000, 40))
    held = np.mean([upper_mean(draw, 4000) >= np.exp(0.125) for draw in draws])
    assert 0.93 < held < 0.98


def test_the_bound_is_students_where_nothing_is_skewed() -> None:
    costs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    wanted = 5 + 1.8595 * np.std(costs, ddof=1) / 3  # t of 8 degrees of freedom
    assert upper_mean(costs, 10**9) == pytest.approx(wanted, rel=1e-3)
    assert upper_mean([0.5] * 9, 100) == 0.5


def test_a_busy_machine_is_told() -> None:
    assert "busy" not in repr(rehearsal())
    found = rehearsal(costs=tuple(2 * cost for cost in COSTS), device="a machine")
    assert any("busy" in str(row) for row in found.rows())


def test_videos_of_one_name_are_all_drawn(samples: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        shutil.copy(samples / "real.mp4", tmp_path / str(number) / "video.mp4")
    paths = drawn(tmp_path, 5)
    assert len({path.parent.name for path in paths}) == 5
    rows, _ = _timed_run(paths, Settings(windows=1), "cpu", 1, False)
    assert [row.reason for row in rows] == ["ok"] * 5


def test_few_videos_to_come_may_all_be_dear_ones() -> None:
    assert upper_mean(COSTS, 5) > upper_mean(COSTS, 50) > upper_mean(COSTS, 4000) > np.mean(COSTS)


def test_what_fits() -> None:
    found = rehearsal()
    assert found.seconds_a_video == pytest.approx(np.mean(COSTS) * 1.05 / 2)
    assert found.bound == pytest.approx(2 + 4000 * upper_mean(COSTS, 4000) * 1.05 / 2)
    assert found.fits
    assert found.windows_that_fit == 8
    assert found.broken == 1
    assert found.verdict.startswith("fits: 4000 videos, 2 windows each, in 9h 00m: about 7m 44s, at most ")
    assert found.verdict.endswith("left at least; up to 8 windows a video would fit")


def test_what_does_not_fit() -> None:
    found = rehearsal(budget=540.0)
    assert found.expected < found.budget < found.bound, "the verdict is the bound's"
    assert not found.fits
    assert found.windows_that_fit == 1
    assert found.verdict.startswith("does not fit")
    assert "up to 1 window a video would fit" in found.verdict
    assert "no number of windows fits" in rehearsal(budget=60.0).verdict


def test_the_table_has_every_stage_and_the_broken_videos() -> None:
    rows = list(rehearsal().rows())
    assert {row[0] for row in rows} >= set(STAGES)
    assert "1 corrupt" in rows[0][2]
    assert repr(rehearsal()).endswith(rehearsal().verdict)


@pytest.mark.parametrize("name", CARDS)
def test_a_projection_says_that_it_is_one(name: str) -> None:
    found = projected(rehearsal(), WORK, card_named(name))
    assert "not a measurement" in found.verdict
    assert CARDS[name].name in found.verdict
    assert any("projected, not measured" in str(row) for row in found.rows())
    assert found.seconds_a_video < found.bound_a_video
    assert found.fits


def test_the_projections_arithmetic() -> None:
    found = project(WORK, CARDS["t4"])
    assert found.engines == pytest.approx(60e6 / (1920 * 1080 * 771 * 0.5 * 2))
    assert found.arithmetic == pytest.approx(0.1 * 60e9 / 8.1e11)
    assert found.memory == pytest.approx(30e6 * 14 / 320e9)
    assert found.host == pytest.approx(0.001)
    assert found.expected == max(found.parts.values())
    assert found.bound == pytest.approx(sum(found.parts.values()))


@pytest.mark.parametrize("word", ["v100", ""])
def test_an_unknown_card_is_named_with_those_that_are_known(word: str) -> None:
    with pytest.raises(InputError, match="p100, t4, l4, a100, h100"):
        card_named(word)


def test_idle_lanes_count_as_overhead() -> None:
    rows = [Prediction("a", 0.5, Reason.OK, seconds=1.0)] * 4
    assert overhead(rows, 2.5, 2) == pytest.approx(1.25)
    assert overhead(rows, 1.9, 2) == 1.0


def test_a_second_counts_for_the_innermost_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr("dfx.clocked.time.thread_time", lambda: next(times))
    clock = Clock()
    with clock.on("track"), clock.on("detect"):
        pass
    assert (clock.seconds["track"], clock.seconds["detect"]) == (5.0, 2.0)


def test_the_clocked_pipeline_gives_the_same_scores(samples: Path) -> None:
    path = samples / "real.mp4"
    clocked = ClockedPipeline(Settings())
    assert clocked.predict(path) == dfx.predict_video(path)
    found = clocked.measure([path, samples / "no_face.mp4"], 2)
    assert all(seconds > 0 for seconds in found.stages.values())
    assert found.packets_pixels >= found.frames_pixels > 0


def test_durations_are_spoken() -> None:
    assert [spoken(seconds) for seconds in (4.21, 187, 3720, 59.99)] == ["4.2 s", "3m 07s", "1h 02m", "60.0 s"]


def test_a_rehearsal_runs_on_what_it_is_given(samples: Path, tmp_path: Path) -> None:
    for number in range(4):
        shutil.copy(samples / "no_face.mp4", tmp_path / f"{number}.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    found = dfx.rehearse(tmp_path, videos=100, budget=3600.0, device="cpu", workers=1, progress=False)
    assert dict(found.reasons) == {"no_face": 4, "corrupt": 1}
    assert found.fits
    assert found.lanes == 1
    assert dict(found.steps)[2] == pytest.approx(1.0)
    assert min(seconds for _, seconds in found.stages) >= 0


def test_too_small_a_sample_bears_no_bound(samples: Path) -> None:
    with pytest.raises(InputError, match="at least 5 are needed"):
        drawn(samples, 40)


def test_the_mix_is_as_it_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfx.mix._encoded", lambda path: clip(path, 3))
    make(tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == sum(COUNTS.values()) == 40
    with pytest.raises(dfx.errors.CorruptVideoError):
        dfx.probe(tmp_path / "cut_00.mp4")


def test_one_clip_of_the_mix_is_in_the_challenges_manner(tmp_path: Path) -> None:
    from dfx import mix

    mix._encoded(tmp_path / "240p_00.mp4")
    info = dfx.probe(tmp_path / "240p_00.mp4")
    assert (info.frames, info.keyframes, info.height) == (300, (0, 250), 240)


def test_a_sample_too_small_is_refused_before_clips_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("dfx.rehearse"), "made_clips", lambda **_: pytest.fail("it made clips"))
    with pytest.raises(InputError, match="sample is 4; a bound needs at least 5 videos"):
        dfx.rehearse(sample=4, progress=False)


def test_a_link_that_leads_nowhere_is_one_of_the_sample(samples: Path, tmp_path: Path) -> None:
    for number in range(5):
        shutil.copy(samples / "real.mp4", tmp_path / f"{number}.mp4")
    (tmp_path / "9.mp4").symlink_to(tmp_path / "nowhere.mp4")
    found = dfx.rehearse(tmp_path, sample=6, device="cpu", progress=False)
    assert dict(found.reasons) == {"ok": 5, "missing": 1}


def test_where_nothing_can_be_scored_nothing_is_promised(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.mp4").touch()
    with pytest.raises(InputError, match=r"no video of the sample could be scored \(5 corrupt; .*empty"):
        dfx.rehearse(tmp_path, device="cpu", progress=False)
