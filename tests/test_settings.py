"""What is told to a run: plain numbers in their ranges, or one line on which argument is wrong and what is allowed."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dfx
from dfx.errors import InputError
from dfx.probe import MOST_PACKETS
from dfx.settings import LARGEST_MEMORY, MOST_PIXELS, MOST_WINDOWS, Limits, Settings
from dfx.values import Reason


@pytest.mark.parametrize("pixels", [2**31, 2147483648.0, float("inf"), 3_000_000_000, 0, None])
def test_pixels_beyond_what_ffmpeg_takes_are_refused(pixels: Any) -> None:
    with pytest.raises(InputError, match=r"pixel limit is .*from 1 to 2147483647 .*FFmpeg"):
        Limits(pixels=pixels)


def test_a_video_is_scored_under_the_largest_limits(samples: Path) -> None:
    limits = Limits(pixels=MOST_PIXELS, seconds=1e300, duration=1e300, memory=LARGEST_MEMORY)
    (row,) = dfx.predict_dir(samples / "real.mp4", limits=limits, device="cpu", progress=False)
    assert row.reason == Reason.OK


def test_no_video_has_more_windows_than_may_be_asked_for(samples: Path, tmp_path: Path) -> None:
    assert MOST_WINDOWS == MOST_PACKETS
    most, out = Settings(windows=MOST_WINDOWS), tmp_path / "s.csv"
    for _ in range(2):  # scored, and read from the journal
        (row,) = dfx.predict_dir(samples / "real.mp4", out, settings=most, device="cpu", progress=False)
        assert row.reason == Reason.OK


@pytest.mark.parametrize("windows", [0, -1, 1.5, 2.9, float("nan"), float("inf"), 10**23, "2", None])
def test_windows_are_a_whole_number(windows: Any) -> None:
    with pytest.raises(InputError, match=rf"windows is {re.escape(repr(windows))}; a whole number .*1 to 2000000 "):
        Settings(windows=windows)


@pytest.mark.parametrize("name", ["prior", "prevalence"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), 10**400, "0.5", None, [0.5]])
def test_a_share_is_a_number_from_0_to_1(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"{name} is .*from 0 to 1|{name} is .*between 0 and 1"):
        Settings(**{name: value})


@pytest.mark.parametrize("value", [0.5, None, (0.5,), (0.1, 0.5, 0.9), (0.9, 0.1), ("0.1", "0.9"), (0.1, float("nan"))])
def test_a_clip_range_is_two_probabilities(value: Any) -> None:
    with pytest.raises(InputError, match=rf"clip_range is {re.escape(repr(value))}; two probabilities low < high"):
        Settings(clip_range=value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "60", None])
def test_a_limit_in_seconds_is_a_finite_number_above_0(value: Any) -> None:
    for name, limit in (("seconds", r"time limit \(seconds\)"), ("duration", "duration limit")):
        with pytest.raises(InputError, match=rf"the {limit} is .*a finite number of seconds above 0 is needed"):
            Limits(**{name: value})


@pytest.mark.parametrize("memory", [0, 2**28 - 1, LARGEST_MEMORY + 1, 1.5e9 + 0.5, float("inf"), None])
def test_memory_is_a_whole_number_of_bytes(memory: Any) -> None:
    with pytest.raises(InputError, match=rf"memory limit \(bytes\) is .*a whole number .*{2**28} to {2**47} "):
        Limits(memory=memory)


def test_numbers_of_numpy_become_plain_ones() -> None:
    settings = Settings(
        windows=np.int64(2),  # type: ignore[arg-type]
        prior=np.float32(0.5),  # type: ignore[arg-type]
        prevalence=np.float64(0.25),
        clip_range=np.array([0.25, 0.75]),  # type: ignore[arg-type]
    )
    limits = Limits(np.float32(60), np.int64(2**30), np.uint32(2**20), np.int16(9))  # type: ignore[arg-type]
    assert settings == Settings(windows=2, prevalence=0.25, clip_range=(0.25, 0.75))
    assert limits == Limits(60.0, 2**30, 2**20, 9.0)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert json.loads(json.dumps(asdict(limits))) == asdict(Limits(60.0, 2**30, 2**20, 9.0))


def test_pictures_may_be_counted_by_numpy(samples: Path, tmp_path: Path) -> None:
    made = dfx.frames(samples / "real.mp4", tmp_path, count=np.int64(2), every=None)  # type: ignore[arg-type]
    assert made.written == 2
    made = dfx.frames(samples / "real.mp4", tmp_path / "more", every=np.float32(1), workers=1)  # type: ignore[arg-type]
    assert made.written > 1
    made = dfx.frames(samples / "real.mp4", tmp_path / "times", times=np.array([0, 1], np.float32))  # type: ignore[arg-type]
    assert made.written == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"workers": 2.5}, r"workers is 2\.5; a whole number .* at least 1"),
        ({"workers": "2"}, r"workers is '2'; a whole number .* at least 1"),
        ({"workers": 0}, r"workers is 0; a whole number .* at least 1"),
        ({"settings": {"windows": 2}}, r"settings is \{'windows': 2\}; .*dfx\.Settings\(windows=2\)"),
        ({"limits": 60}, r"limits is 60; .*dfx\.Limits\(seconds=60\)"),
        ({"device": None}, r"device is None; .*'cpu'"),
        ({"source": None}, "source is None; a path, a glob or a list of these is needed"),
        ({"source": [None]}, "source is None; a path"),
        ({"source": 7}, "source is 7; a path"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named_before_any_work(samples: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dfx.predict_dir(**{"source": samples, "progress": False, **wrong})


@pytest.mark.parametrize("workers", [2.5, 0])
def test_workers_are_counted_alike_where_files_are_made(samples: Path, tmp_path: Path, workers: Any) -> None:
    with pytest.raises(InputError, match=r"workers is .*; a whole number .* at least 1"):
        dfx.frames(samples, tmp_path, workers=workers)
    with pytest.raises(InputError, match=r"workers is .*; a whole number .* at least 1"):
        dfx.inspect(samples, workers=workers)


def test_one_file_named_twice_is_to_be_named_once(samples: Path, tmp_path: Path) -> None:
    video = samples / "real.mp4"
    detour = samples / ".." / samples.name / "real.mp4"
    for twice in ([video, video], [video, detour], [samples, video], [samples, str(samples)]):
        with pytest.raises(InputError, match=r"'.*mp4' for one; it is one file: name it once"):
            dfx.predict_dir(twice, progress=False)
    other = shutil.copy(video, tmp_path / "real.mp4")
    with pytest.raises(InputError, match=r"'real\.mp4' for one; score the folders apart"):
        dfx.predict_dir([video, other], progress=False)


@pytest.mark.parametrize("budget", [9999999999, 1e18, timedelta(days=200_000)])
def test_a_budget_of_centuries_is_kept_too(samples: Path, budget: Any) -> None:
    (row,) = dfx.predict_dir(samples / "real.mp4", budget=budget, device="cpu", progress=False)
    assert row.reason == Reason.OK
