"""The kernels on a GPU against the same work on the CPU: equal to the bit.

Each test runs twice: on a GPU that is pretended, which tests all but the driver and the GPU, and on a real one, where
there is one; where the environment has DFX_REQUIRE_GPU=1, a missing GPU is a failure. Needs pytest, numpy and
cuda-bindings only. Where not even dfx's other dependencies are installed:

    python -m pytest -c /dev/null --rootdir=tests --noconftest tests/test_gpu_kernels.py
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest

if importlib.util.find_spec("av") is None:  # the kernels do without it: a package whose __init__ is not run
    found = importlib.util.find_spec("dfx")
    sys.modules["dfx"] = ModuleType("dfx")
    sys.modules["dfx"].__path__ = list(found.submodule_search_locations)

from surfaces import MATRICES, ROTATIONS, SHAPES, on_host, packed, planar_on_host, planes, pretended_kernels, stored

from dfx import ops
from dfx.errors import DeviceError, DeviceMemoryError, InputError
from dfx.ops import cuda, host
from dfx.ops.cuda import DeviceArray, Lane
from dfx.values import Faces, Surface

Pairs = Callable[[int, Lane], tuple[list[Surface], list[Surface]]]
CONTRACT = {"strides": (8, 16), "min_sizes": ((16, 32), (64, 128)), "variances": (0.1, 0.2)}
HEIGHT, WIDTH = 160, 128
ANCHORS = 2 * (20 * 16 + 10 * 8)
MANY_HEIGHT, MANY_WIDTH = 320, 352  # more anchors than the list of candidates holds
MANY_ANCHORS = 2 * (40 * 44 + 20 * 22)


@pytest.fixture(params=["pretended", pytest.param("real", marks=pytest.mark.gpu)])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    """A lane of the first GPU, current."""
    if request.param == "pretended":
        gpu = pretended_kernels()
        monkeypatch.setattr(cuda, "kernels", lambda: gpu)
    elif reason := cuda.missing():
        if os.environ.get("DFX_REQUIRE_GPU") == "1":
            pytest.fail(f"a GPU is required by DFX_REQUIRE_GPU, and {reason}")
        pytest.skip(reason)
    with Lane(0) as lane:
        yield lane
    lane.synchronize()
    gc.collect()


def on_gpu(pixels: np.ndarray, rotation: int, lane: Lane) -> Surface:
    array = cuda.upload(pixels, lane)
    height, width, _ = pixels.shape
    return Surface(array.pointer, width, height, rotation, lane.device, array)


def pairs(count: int, lane: Lane) -> tuple[list[Surface], list[Surface]]:
    """Pictures of many shapes and rotations on the GPU, and the same on the host."""
    pictures = [(stored(*SHAPES[i % len(SHAPES)], seed=i), ROTATIONS[i % len(ROTATIONS)]) for i in range(count)]
    return [on_gpu(*picture, lane) for picture in pictures], [on_host(*picture) for picture in pictures]


def planar_pairs(count: int, lane: Lane) -> tuple[list[Surface], list[Surface]]:
    """The same of planes."""
    there, here = [], []
    for i in range(count):
        picture, rotation = planes(*SHAPES[i % len(SHAPES)], i, full_range=i % 3 == 0), ROTATIONS[i % len(ROTATIONS)]
        memory, u, v, row = packed(picture)
        array = cuda.upload(memory, lane)
        size = picture.width, picture.height, rotation, lane.device, array, row
        there.append(Surface(array.pointer, *size, (array.pointer + u, array.pointer + v), picture.full_range))
        here.append(planar_on_host(picture, rotation))
    return there, here


def matrices(count: int) -> np.ndarray:
    every = np.array(list(MATRICES.values()), np.float32)
    return every[np.arange(count) % len(every)]


KINDS = pytest.mark.parametrize("kind", [pairs, planar_pairs], ids=["RGB", "planes"])


@KINDS
@pytest.mark.parametrize("canvas", [(32, 32), (64, 96), (7, 5), (1, 1), (100, 50), (33, 65)], ids=str)
def test_letterbox_is_the_cpu_s(canvas: tuple[int, int], kind: Pairs, lane: Lane) -> None:
    there, here = kind(56, lane)  # more than a launch, and every shape in every rotation
    ours = ops.letterbox(there, *canvas)
    assert isinstance(ours, DeviceArray)
    assert (ours.shape, ours.dtype, ours.device) == ((56, 3, *canvas), np.uint8, lane.device)
    assert np.array_equal(ours.numpy(), host.letterbox(here, *canvas))


@KINDS
@pytest.mark.parametrize("size", [1, 13, 33])
def test_crop_is_the_cpu_s(size: int, kind: Pairs, lane: Lane) -> None:
    count = 7 * len(MATRICES)  # every shape by every matrix
    there, here = kind(count, lane)
    ours = ops.crop(there, matrices(count), size)
    assert isinstance(ours, DeviceArray)
    assert np.array_equal(ours.numpy(), host.crop(here, matrices(count), size))


def test_memory_that_is_not_there_is_said_to_be_full(lane: Lane) -> None:
    with pytest.raises(DeviceMemoryError, match="cuMemAlloc"):
        cuda.empty((2 * cuda.memory(0),), np.uint8, lane)
    assert np.array_equal(cuda.upload(np.arange(9), lane).numpy(), np.arange(9))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("shape", "count"), [((130, 70), 19), ((2, 2), 1), ((2, 8), 9), ((1920, 1088), 1)], ids=str)
def test_unmix_is_the_cpu_s(shape: tuple[int, int], count: int, full_range: bool, lane: Lane) -> None:
    pictures = np.stack([stored(*shape, seed) for seed in range(count)])  # 19 are more than two launches
    there = ops.unmix(cuda.upload(pictures, lane), full_range)
    assert isinstance(there, DeviceArray)
    assert np.array_equal(there.numpy(), host.unmix(pictures, full_range))


def test_sizes_of_real_videos(lane: Lane) -> None:
    pixels = stored(1920, 1080)
    there, here = on_gpu(pixels, 90, lane), on_host(pixels, 90)
    maps = np.float32([[[2.5, 0.3, 300], [-0.3, 2.5, 500]], [[9, 1, 0], [-1, 9, 100]], [[0.4, 0, 900], [0, 0.4, 1800]]])
    assert np.array_equal(cuda.letterbox([there], 640, 384).numpy(), host.letterbox([here], 640, 384))
    assert np.array_equal(cuda.crop([there] * 3, maps, 112).numpy(), host.crop([here] * 3, maps, 112))


def test_halves_are_the_same_numbers(lane: Lane) -> None:
    there, here = pairs(28, lane)
    scaled, cut = cuda.letterbox(there, 33, 40, dtype=np.float16), cuda.crop(there, matrices(28), 21, dtype=np.float16)
    assert scaled.dtype == cut.dtype == np.float16
    assert np.array_equal(scaled.numpy(), host.letterbox(here, 33, 40))
    assert np.array_equal(cut.numpy(), host.crop(here, matrices(28), 21))


def outputs(pictures: int, anchors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A detector's output with ties, and with what is no number."""
    rng = np.random.default_rng(pictures * anchors)
    scores = rng.random((pictures, anchors)).astype(np.float32).round(2)
    boxes, landmarks = (rng.normal(0, 2, (pictures, anchors, n)).astype(np.float32) for n in (4, 10))
    scores[0, :9] = np.nan
    boxes[0, :20] = np.nan
    landmarks[-1, 5:30] = np.inf
    boxes[-1, 7:90, 2:] = 1e30
    boxes[-1, 90:95, :2] = 3e38
    return scores, boxes, landmarks


def assert_same(ours: list[Faces], theirs: list[Faces]) -> None:
    assert [len(faces) for faces in ours] == [len(faces) for faces in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.scores, b.scores)
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.landmarks, b.landmarks)


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.5},
        {"threshold": 0.9, "iou": 0.0},
        {"threshold": 0.0, "iou": 1.0, "limit": 7},
        {"threshold": 0.2, "votes": 3},
    ],
    ids=str,
)
def test_faces_are_the_cpu_s(settings: dict[str, float], lane: Lane) -> None:
    arrays = outputs(5, ANCHORS)
    ours = ops.decode_faces(*(cuda.upload(a) for a in arrays), HEIGHT, WIDTH, **CONTRACT, **settings)
    assert_same(ours, ops.decode_faces(*arrays, HEIGHT, WIDTH, **CONTRACT, **settings))
    assert any(len(faces) for faces in ours)


def test_pictures_with_too_many_candidates_are_decoded_on_the_host(lane: Lane) -> None:
    arrays = outputs(4, MANY_ANCHORS)
    arrays[0][[0, 2]] *= 0.05
    arrays[0][1] = 0.9
    assert cuda.CAPACITY < MANY_ANCHORS
    ours = ops.decode_faces(*map(cuda.upload, arrays), MANY_HEIGHT, MANY_WIDTH, **CONTRACT, threshold=0.01)
    assert_same(ours, ops.decode_faces(*arrays, MANY_HEIGHT, MANY_WIDTH, **CONTRACT, threshold=0.01))


def test_no_faces(lane: Lane) -> None:
    arrays = outputs(3, ANCHORS)
    found = ops.decode_faces(*map(cuda.upload, arrays), HEIGHT, WIDTH, **CONTRACT, threshold=2.0)
    assert [len(faces) for faces in found] == [0, 0, 0]
    empty = [cuda.empty((0, ANCHORS, *rest), np.float32) for rest in ((), (4,), (10,))]
    assert ops.decode_faces(*empty, HEIGHT, WIDTH, **CONTRACT, threshold=0.5) == []


def test_two_lanes_on_two_threads(lane: Lane) -> None:
    there, here = pairs(14, lane)
    expected = host.letterbox(here, 64, 96), host.crop(here, matrices(14), 33)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Lane(0) as own:
                assert cuda.current() is own
                own.wait_for(lane.stream)
                for _ in range(10):
                    ours = cuda.letterbox(there, 64, 96), cuda.crop(there, matrices(14), 33)
                    assert all(np.array_equal(a.numpy(), b) for a, b in zip(ours, expected, strict=True))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cuda.current() is lane


def test_arrays_come_and_go(lane: Lane) -> None:
    for dtype in (np.uint8, np.float16, np.float32, np.int32, np.float64):
        values = np.arange(60).reshape(3, 4, 5).astype(dtype)
        array = cuda.upload(values)
        assert (array.shape, array.dtype, array.nbytes, len(array)) == (values.shape, values.dtype, values.nbytes, 3)
        assert np.array_equal(np.asarray(array), values)
        assert np.array_equal(array.reshape((1, 12, 5)).numpy(), values.reshape(1, 12, 5))
        assert np.array_equal(array.row(2).numpy(), values[2:])
        shared = DeviceArray.over(array.pointer, array.shape, array.dtype, lane, array)
        del array
        assert np.array_equal(shared.numpy(), values)
    assert cuda.upload(np.zeros((0, 3))).numpy().shape == (0, 3)
    with pytest.raises(InputError, match="as many numbers"):
        shared.reshape((7,))


def test_memory_is_given_back(lane: Lane) -> None:
    """More than the GPU has, one after the other."""
    size = 2**30 if "pretended" not in cuda.device_name(0) else 2**20
    for _ in range(cuda.memory(0) // size + 2 if size == 2**30 else 20):
        cuda.empty((size,), np.uint8)


def test_tables_are_kept_and_dropped(lane: Lane) -> None:
    pixels = stored(40, 30)
    there, here = on_gpu(pixels, 0, lane), on_host(pixels)
    for width in range(1, cuda.KEPT_TABLES + 10):
        ours = cuda.letterbox([there], 20, width).numpy()
        assert np.array_equal(ours, host.letterbox([here], 20, width))
    assert np.array_equal(cuda.letterbox([there], 20, 1).numpy(), host.letterbox([here], 20, 1))


def test_the_gpu_says_what_it_is(lane: Lane) -> None:
    assert cuda.device_count() >= 1
    assert cuda.device_name(0)
    assert cuda.compute_capability(0) >= (5, 0)
    assert cuda.memory(0) > 2**30
    assert lane.stream > 0


def test_errors_say_what_is_wrong(lane: Lane) -> None:
    pixels = stored(40, 30)
    there, here = on_gpu(pixels, 0, lane), on_host(pixels)
    arrays = outputs(2, ANCHORS)
    with pytest.raises(InputError, match="must be where the work is done"):
        ops.letterbox([there, here], 8, 8)
    with pytest.raises(InputError, match="a surface on GPU 7"):
        ops.letterbox([Surface(4096, 8, 8, 0, 7, None)], 8, 8)
    with pytest.raises(InputError, match="finite"):
        ops.crop([there], [[[1, 0, np.nan], [0, 1, 0]]], 8)
    with pytest.raises(InputError, match="size is 0"):
        ops.crop([there], np.zeros((1, 2, 3)), 0)
    with pytest.raises(InputError, match="float64"):
        cuda.letterbox([there], 8, 8, dtype=np.float64)
    with pytest.raises(InputError, match="all be on a GPU"):
        ops.decode_faces(cuda.upload(arrays[0]), *arrays[1:], HEIGHT, WIDTH, **CONTRACT, threshold=0.5)
    with pytest.raises(InputError, match=f"{ANCHORS} anchors"):
        ops.decode_faces(*(cuda.upload(a[:, 1:]) for a in arrays), HEIGHT, WIDTH, **CONTRACT, threshold=0.5)
    with pytest.raises(InputError, match="float32"):
        ops.decode_faces(*(cuda.upload(a.astype(float)) for a in arrays), HEIGHT, WIDTH, **CONTRACT, threshold=0.5)


@pytest.mark.gpu
def test_a_gpu_that_is_not_there() -> None:
    if reason := cuda.missing():
        if os.environ.get("DFX_REQUIRE_GPU") == "1":
            pytest.fail(f"a GPU is required by DFX_REQUIRE_GPU, and {reason}")
        pytest.skip(reason)
    with pytest.raises(DeviceError, match=r"cuDeviceGet.*nvidia-smi"):
        Lane(cuda.device_count())
