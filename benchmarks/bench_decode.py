"""Decoding what a plan asks for beside other ways to the same frames, on one thread each.

Example:
    pytest benchmarks/bench_decode.py

The clip is in the challenge's manner (1080p, 300 frames, keyframes at 0 and 250). Opening the file is part of every
way. The frames are compared after the timing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dfx.decode.pyav import PyAVDecoder
from dfx.values import Plan, VideoInfo

AGREEMENT = 3.0
"""Levels, mean: peers hand on RGB, whose luma is computed back here."""


@pytest.fixture(scope="session")
def indices(chosen: Plan) -> list[int]:
    """The frames that the plan hands on."""
    return [index for window in chosen.windows for index in window.frames]


def _time(benchmark: BenchmarkFixture, work: Callable[[], object]) -> None:
    benchmark.pedantic(work, rounds=15, warmup_rounds=2)


def _planned(info: VideoInfo, chosen: Plan) -> list[np.ndarray]:
    return [planes.y for frames in PyAVDecoder().read(info, chosen) for planes in frames.pictures]


def _thrown_away(clip: Path, count: int) -> int:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in zip(range(count), container.decode(stream), strict=False))


def _by_opencv(clip: Path, indices: list[int]) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    for index in indices:
        if int(video.get(cv2.CAP_PROP_POS_FRAMES)) > index or index - video.get(cv2.CAP_PROP_POS_FRAMES) > 10:
            video.set(cv2.CAP_PROP_POS_FRAMES, index)
        while int(video.get(cv2.CAP_PROP_POS_FRAMES)) < index:
            video.grab()
        frames.append(video.read()[1])
    video.release()
    return frames


def _agree(ours: list[np.ndarray], theirs: list[np.ndarray], blue: int) -> None:
    """blue: the channel of blue. Luma of BT.601 in video range."""
    weights = np.array([0.114, 0.587, 0.299] if blue == 0 else [0.299, 0.587, 0.114]) * 219 / 255
    assert len(ours) == len(theirs)
    for luma, rgb in zip(ours, theirs, strict=True):
        assert np.abs(luma.astype(float) - (rgb @ weights + 16)).mean() < AGREEMENT


def test_plan(benchmark: BenchmarkFixture, info: VideoInfo, chosen: Plan, indices: list[int]) -> None:
    """The planned frames, by dfx."""
    _time(benchmark, lambda: _planned(info, chosen))
    assert len(_planned(info, chosen)) == len(indices)


def test_as_many_packets_thrown_away(benchmark: BenchmarkFixture, clip: Path, chosen: Plan) -> None:
    """As many frames as the plan sends packets, from the beginning, by PyAV; nothing is kept."""
    _time(benchmark, lambda: _thrown_away(clip, chosen.price))
    assert _thrown_away(clip, chosen.price) == chosen.price


def test_as_many_frames_thrown_away(benchmark: BenchmarkFixture, clip: Path, indices: list[int]) -> None:
    """As many frames as the plan hands on, from the beginning, by PyAV; nothing is kept."""
    _time(benchmark, lambda: _thrown_away(clip, len(indices)))
    assert _thrown_away(clip, len(indices)) == len(indices)


def test_same_frames_by_opencv(
    benchmark: BenchmarkFixture, clip: Path, info: VideoInfo, chosen: Plan, indices: list[int]
) -> None:
    """The same frames by OpenCV: a jump to each window, and what lies between is grabbed and not converted."""
    _time(benchmark, lambda: _by_opencv(clip, indices))
    _agree(_planned(info, chosen), _by_opencv(clip, indices), blue=0)


def test_same_frames_by_decord(
    benchmark: BenchmarkFixture, clip: Path, info: VideoInfo, chosen: Plan, indices: list[int]
) -> None:
    """The same frames by decord, in one batch."""
    decord = pytest.importorskip("decord", reason="decord is not installed (pip install decord)")

    def work() -> np.ndarray:
        return decord.VideoReader(str(clip), num_threads=1).get_batch(indices).asnumpy()  # type: ignore[no-any-return]

    _time(benchmark, work)
    _agree(_planned(info, chosen), list(work()), blue=2)
