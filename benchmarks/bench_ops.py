"""The pixel work beside OpenCV's way through full RGB pictures, each on one thread:

    pytest benchmarks/bench_ops.py --benchmark-json benchmarks/results/ops.json

Pictures are 1080p, and there are several, so that none waits in the cache. Results are checked after the timing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dfx import ops
from dfx.values import Planes

HEIGHT, WIDTH = 1080, 1920
CANVAS = ops.letterbox_geometry(WIDTH, HEIGHT, 640)
CROP = 160
FACES = (100, 300, 900)
"""Sides of the square that a crop shows, pixels of the picture."""

AGREEMENT = 1.5
"""Levels, mean: OpenCV repeats chroma samples; the pictures are smooth."""

Pictures = Iterator[tuple[Planes, np.ndarray]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """OpenCV uses every core unless told."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="session", params=[8, 10], ids=["8bit", "10bit"])
def pictures(request: pytest.FixtureRequest) -> Pictures:
    """Endless pairs: planes, and the same picture as OpenCV takes it, planes below each other."""
    rng = np.random.default_rng(0)
    return itertools.cycle([_picture(rng, request.param) for _ in range(4)])


def _picture(rng: np.random.Generator, depth: int) -> tuple[Planes, np.ndarray]:
    sizes = (WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2), (WIDTH // 2, HEIGHT // 2)
    planes = [cv2.resize(rng.integers(50, 200, (12, 20), np.uint8), size) for size in sizes]
    if depth > 8:
        planes = [plane.astype(np.uint16) << (depth - 8) for plane in planes]
    y, u, v = planes
    return Planes(y, u, v, depth), np.concatenate([plane.ravel() for plane in planes]).reshape(-1, WIDTH)


def _matrix(face: int) -> np.ndarray:
    """A square of `face` pixels in the middle of the picture, a little turned."""
    cos, sin = face / CROP * np.cos(0.1), face / CROP * np.sin(0.1)
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = np.array([WIDTH / 2, HEIGHT / 2]) - linear @ (CROP / 2, CROP / 2)
    return np.column_stack([linear, shift]).astype(np.float32)[None]


def _rgb(i420: np.ndarray) -> np.ndarray:
    """OpenCV's colours are of 8 bits."""
    levels = i420 if i420.dtype == np.uint8 else cv2.convertScaleAbs(i420, alpha=1 / 4)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_YUV2RGB_I420))


def _opencv_letterbox(i420: np.ndarray) -> np.ndarray:
    small = cv2.resize(_rgb(i420), (640, 360), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.transpose(2, 0, 1))


def _opencv_crop(i420: np.ndarray, matrix: np.ndarray, times: int) -> np.ndarray:
    """Where a crop shrinks, what it sees is made small first: warpAffine does not antialias."""
    region, seen = _region(_rgb(i420), matrix, times)
    size = [side // times for side in region.shape[1::-1]]
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA) if times > 1 else region
    seen = seen / times
    seen[:, 2] += seen[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV counts from the centre of the first pixel
    face = cv2.warpAffine(small, seen, (CROP, CROP), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.ascontiguousarray(face.transpose(2, 0, 1))


def _region(rgb: np.ndarray, matrix: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """What of a picture a crop sees, in whole multiples of `times`, which OpenCV shrinks fastest; the matrix there."""
    corners = matrix @ [[0, 0, CROP, CROP], [0, CROP, 0, CROP], [1, 1, 1, 1]]
    low, high = np.floor(corners.min(axis=1) - 1).astype(int), np.ceil(corners.max(axis=1) + 1).astype(int)
    low = low.clip(0)
    high = low + (high.clip(0, rgb.shape[1::-1]) - low) // times * times
    return rgb[low[1] : high[1], low[0] : high[0]], matrix - np.column_stack([np.zeros((2, 2)), low])


def _times(face: int) -> int:
    """How many pixels of the picture, a side, a crop's pixel shows, rounded up."""
    return -(-face // CROP)


def _time(benchmark: BenchmarkFixture, pictures: Pictures, work: Callable[[Planes, np.ndarray], np.ndarray]) -> None:
    timed: Any = benchmark  # whose methods have no types
    timed.pedantic(lambda: work(*next(pictures)), rounds=100, warmup_rounds=5)


def test_letterbox(benchmark: BenchmarkFixture, pictures: Pictures) -> None:
    """1080p to 640 x 384."""
    _time(benchmark, pictures, lambda planes, _: ops.letterbox([planes], CANVAS.height, CANVAS.width))
    planes, i420 = next(pictures)
    ours = ops.letterbox([planes], CANVAS.height, CANVAS.width)[0, :, :360].astype(int)
    assert np.abs(ours - _opencv_letterbox(i420)).mean() < AGREEMENT


def test_letterbox_by_opencv(benchmark: BenchmarkFixture, pictures: Pictures) -> None:
    """The same through a full RGB picture; INTER_AREA antialiases as ours does."""
    _time(benchmark, pictures, lambda _, i420: _opencv_letterbox(i420))


@pytest.mark.parametrize("face", FACES)
def test_crop(benchmark: BenchmarkFixture, pictures: Pictures, face: int) -> None:
    """A face to 160 x 160."""
    matrix = _matrix(face)
    _time(benchmark, pictures, lambda planes, _: ops.crop([planes], matrix, CROP))
    planes, i420 = next(pictures)
    ours = ops.crop([planes], matrix, CROP)[0].astype(int)
    assert np.abs(ours - _opencv_crop(i420, matrix[0], _times(face))).mean() < AGREEMENT


@pytest.mark.parametrize("face", FACES)
def test_crop_by_opencv(benchmark: BenchmarkFixture, pictures: Pictures, face: int) -> None:
    """The same through a full RGB picture."""
    matrix, times = _matrix(face)[0], _times(face)
    _time(benchmark, pictures, lambda _, i420: _opencv_crop(i420, matrix, times))


@pytest.mark.parametrize("face", [face for face in FACES if _times(face) > 1])
def test_crop_by_opencv_aliased(benchmark: BenchmarkFixture, pictures: Pictures, face: int) -> None:
    """Less than the same: of most of the face's pixels nothing is seen."""
    matrix = _matrix(face)[0]
    _time(benchmark, pictures, lambda _, i420: _opencv_crop(i420, matrix, 1))
