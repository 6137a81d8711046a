"""The CUDA kernels without a GPU: their threads run one by one on the CPU, and NVRTC compiles them for every GPU."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from surfaces import MATRICES, ROTATIONS, SHAPES, on_host, planar_on_host, planes, stored, turned
from tolerances import GREY_LEVEL

from dfx import _kernels, ops
from dfx.errors import DeviceError, InputError
from dfx.ops import compiler, cuda, host, reference
from dfx.settings import HOST
from dfx.values import Planes, Surface

CANVASES = [(32, 32), (64, 96), (7, 5), (1, 1), (100, 50)]
ARCHITECTURES = [*[f"sm_{number}" for number in compiler.ARCHITECTURES], f"compute_{compiler.ARCHITECTURES[-1]}"]
TALLY, GUARD = 2, 64


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_letterbox_is_its_reference(shape: tuple[int, int], rotation: int) -> None:
    surface = on_host(stored(*shape), rotation)
    for height, width in CANVASES:
        (image,) = ops.letterbox([surface], height, width)
        assert difference(image, reference.letterbox(reference.upright(surface), height, width)) <= GREY_LEVEL


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_crop_is_its_reference(shape: tuple[int, int], rotation: int) -> None:
    surface = on_host(stored(*shape), rotation)
    maps = np.array(list(MATRICES.values()), np.float32)
    images = ops.crop([surface] * len(maps), maps, 13)
    for name, matrix, image in zip(MATRICES, maps, images, strict=True):
        assert difference(image, reference.crop(reference.upright(surface), matrix, 13)) <= GREY_LEVEL, name


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_turned_surfaces_are_turned_pictures(rotation: int) -> None:
    pixels, maps = stored(101, 57), [MATRICES["turned and shrunk"]]
    turned, plain = on_host(pixels, rotation), on_host(np.rot90(pixels, -rotation // 90))
    assert (turned.width, turned.height) == (plain.width, plain.height)
    assert np.array_equal(ops.letterbox([turned], 60, 64), ops.letterbox([plain], 60, 64))
    assert np.array_equal(ops.crop([turned], maps, 40), ops.crop([plain], maps, 40))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_grey_pictures_are_those_of_the_planes(shape: tuple[int, int]) -> None:
    """Full range and no colour: the conversion changes nothing, so both ways agree to the bit."""
    luma = stored(*shape)[:, :, 0].copy()
    chroma = np.full_like(luma, 128)
    planes, surface = Planes(luma, chroma, chroma, 8, "unknown", True), on_host(np.stack([luma] * 3, axis=2))
    for canvas in CANVASES:
        assert np.array_equal(ops.letterbox([surface], *canvas), ops.letterbox([planes], *canvas))
    maps = np.array(list(MATRICES.values()), np.float32)
    assert np.array_equal(ops.crop([surface] * len(maps), maps, 21), ops.crop([planes] * len(maps), maps, 21))


def test_coloured_pictures_are_those_of_the_planes() -> None:
    """Colours that RGB can hold: converting before or after the filter differs by roundings only."""
    rng = np.random.default_rng(3)
    y, u, v = (rng.integers(low, high, (57, 101), np.uint8) for low, high in ((64, 192), (108, 149), (108, 149)))
    planes = Planes(y, u, v, 8, "unknown", True)
    surface = on_host(np.moveaxis(ops.letterbox([planes], 57, 101)[0], 0, 2))
    assert difference(ops.letterbox([surface], 40, 64), ops.letterbox([planes], 40, 64)) <= GREY_LEVEL
    maps = np.array(list(MATRICES.values()), np.float32)
    ours, theirs = ops.crop([surface] * len(maps), maps, 21), ops.crop([planes] * len(maps), maps, 21)
    assert difference(ours, theirs) <= GREY_LEVEL


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_planes_of_a_gpu_give_what_those_of_the_cpu_do(shape: tuple[int, int], rotation: int, full_range: bool) -> None:
    """To the bit: the GPU's way of a pixel is the CPU's."""
    picture = planes(*shape, full_range=full_range)
    surface, upright = planar_on_host(picture, rotation), turned(picture, rotation)
    assert (surface.width, surface.height) == (upright.width, upright.height)
    for canvas in CANVASES:
        assert np.array_equal(ops.letterbox([surface], *canvas), ops.letterbox([upright], *canvas))
    maps = np.array(list(MATRICES.values()), np.float32)
    assert np.array_equal(ops.crop([surface] * len(maps), maps, 21), ops.crop([upright] * len(maps), maps, 21))
    assert np.array_equal(reference.upright(surface).y, upright.y)
    assert np.array_equal(reference.upright(surface).v, upright.v)


def tallied(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros between guards that must stay as they are."""
    whole = np.zeros(int(np.prod(shape)) + 2 * GUARD, np.uint8)
    whole[:GUARD] = whole[-GUARD:] = 99
    return whole


def assert_each_once(whole: np.ndarray) -> None:
    assert (whole[GUARD:-GUARD] == 1).all()
    assert (whole[:GUARD] == 99).all()
    assert (whole[-GUARD:] == 99).all()


@pytest.mark.parametrize("count", [1, 3, 17, 18, 35])
@pytest.mark.parametrize("canvas", [*CANVASES, (33, 65), (8, 31)], ids=str)
def test_letterbox_writes_each_number_once(canvas: tuple[int, int], count: int) -> None:
    surface = on_host(stored(17, 33), 90)
    plan = _kernels.SurfacePlan(surface.width, surface.height, canvas[1], canvas[0])
    out = tallied((count, 3, *canvas))
    picture = (surface.pointer, surface.pointer + 1, surface.pointer + 2, 17, 33, 17 * 3, 90, False, False)
    plans, places = [plan] * count, [plan.address] * count
    _kernels.letterbox_surfaces([picture] * count, plans, places, out.ctypes.data + GUARD, *canvas, TALLY, None, 2)
    assert_each_once(out)


@pytest.mark.parametrize("count", [1, 3, 10, 11, 21])
@pytest.mark.parametrize("size", [1, 8, 13, 32, 65])
def test_crop_writes_each_number_once(size: int, count: int) -> None:
    surface = on_host(stored(17, 33))
    maps = np.array(list(MATRICES.values()), np.float32)[np.arange(count) % len(MATRICES)]
    out = tallied((count, 3, size, size))
    channels = surface.pointer, surface.pointer + 1, surface.pointer + 2
    pictures = [(*channels, 17, 33, 17 * 3, 0, False, False)] * count
    _kernels.crop_surfaces(pictures, maps, out.ctypes.data + GUARD, size, TALLY, None, 2)
    assert_each_once(out)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_part_of_a_wider_picture_is_that_part(rotation: int) -> None:
    whole = stored(80, 50)
    part = on_host(whole[4:41, 9:66], rotation)
    inside = Surface(whole.ctypes.data + 4 * 80 * 3 + 9 * 3, 57, 37, rotation, HOST, whole, 80 * 3)
    assert np.array_equal(reference.upright(inside), reference.upright(part))
    assert np.array_equal(ops.letterbox([inside], 33, 65), ops.letterbox([part], 33, 65))
    maps = np.array(list(MATRICES.values()), np.float32)
    assert np.array_equal(ops.crop([inside] * len(maps), maps, 13), ops.crop([part] * len(maps), maps, 13))
    with pytest.raises(ValueError, match="rows of 57 pixels"):
        replace(inside, row_bytes=170)


def test_batches_of_many_kinds_are_their_pictures_one_by_one() -> None:
    surfaces = [on_host(stored(*SHAPES[i % 7], seed=i), ROTATIONS[i % 4]) for i in range(95)]
    maps = np.array(list(MATRICES.values()), np.float32)[np.arange(95) % len(MATRICES)]
    boxes, crops = ops.letterbox(surfaces, 20, 24, threads=3), ops.crop(surfaces, maps, 9, threads=3)
    for surface, matrix, box, crop in zip(surfaces, maps, boxes, crops, strict=True):
        assert np.array_equal(ops.letterbox([surface], 20, 24)[0], box)
        assert np.array_equal(ops.crop([surface], [matrix], 9)[0], crop)


def test_halves_are_the_same_numbers() -> None:
    every = on_host(np.arange(768).reshape(16, 16, 3).astype(np.uint8))
    assert set(ops.letterbox([every], 16, 16).ravel()) == set(range(256))
    ours = host.letterbox([every], 16, 16, dtype=np.float16)
    assert ours.dtype == np.float16
    assert np.array_equal(ours, ops.letterbox([every], 16, 16))
    maps = [MATRICES["magnified"]]
    assert np.array_equal(host.crop([every], maps, 16, dtype=np.float16), ops.crop([every], maps, 16))


@pytest.mark.parametrize("votes", [1, 3])
@pytest.mark.parametrize("capacity", [1, 40, 1024])
def test_selected_faces_are_the_decoded_ones(capacity: int, votes: int) -> None:
    contract = {"strides": (8, 16), "min_sizes": ((16, 32), (64, 128)), "variances": (0.1, 0.2)}
    rng = np.random.default_rng(1)
    scores = rng.random((3, 240)).astype(np.float32).round(2)
    scores[2] *= 0.1
    scores[2, 5] = 0.9
    scores[:, 7::2] = scores[:, 6::2]  # the two of a cell agree
    boxes, landmarks = (rng.normal(0, 2, (3, 240, n)).astype(np.float32) for n in (4, 10))
    boxes[0, :20] = np.nan
    settings = {**contract, "threshold": 0.5, "iou": 0.4, "limit": 100, "votes": votes}
    ours = host.decode_faces(scores, boxes, landmarks, 64, 96, **settings, capacity=capacity)
    theirs = ops.decode_faces(scores, boxes, landmarks, 64, 96, **settings)
    assert [faces is not None for faces in ours] == [capacity == 1024, capacity == 1024, True]
    for a, b in zip(ours, theirs, strict=True):
        if a is not None:
            assert np.array_equal(a.boxes, b.boxes)
            assert np.array_equal(a.scores, b.scores)
            assert np.array_equal(a.landmarks, b.landmarks)


def test_numpy_may_be_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = on_host(stored(40, 30), 270)
    maps = [MATRICES["turned and shrunk"]]
    compiled = ops.letterbox([surface], 32, 32), ops.crop([surface], maps, 9)
    monkeypatch.setenv("DFX_OPS", "numpy")
    plain = ops.letterbox([surface], 32, 32), ops.crop([surface], maps, 9)
    assert max(map(difference, compiled, plain)) <= GREY_LEVEL


@pytest.mark.parametrize("backend", ["numpy", ""])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, p: ops.letterbox([s, p], 32, 32), "1 of 2 frames are surfaces"),
        (lambda s, p: ops.crop([p, s], np.zeros((2, 2, 3)), 8), "1 of 2 frames are surfaces"),
        (lambda s, p: ops.letterbox([s], 0, 32), "height is 0"),
        (lambda s, p: ops.letterbox([s], 32, 99999), "width is 99999"),
        (lambda s, p: ops.letterbox([s], 32, 32, threads=0), "threads is 0"),
        (lambda s, p: ops.crop([s], np.zeros((2, 2, 3)), 8), r"need matrices \[1, 2, 3\]"),
        (lambda s, p: ops.crop([s], np.full((1, 2, 3), np.nan), 8), "finite"),
        (lambda s, p: ops.letterbox([Surface(0, 8, 8, 0, -1, None)], 8, 8), "address that is not 0"),
        (lambda s, p: ops.letterbox([Surface(64, 99999, 8, 0, -1, None)], 8, 8), "99999x8"),
        (lambda s, p: ops.letterbox([s, Surface(64, 8, 8, 0, 1, None)], 8, 8), "GPU 1 among those of the host"),
        (lambda s, p: host.letterbox([s], 8, 8, dtype=np.int8), "int8"),
        (lambda s, p: ops.unmix(np.zeros((1, 8, 7, 3), np.uint8), True), r"uint8 \[1, 8, 7, 3\].*even H and W"),
        (
            lambda s, p: ops.unmix(np.zeros((8, 8, 3), np.uint8), True),
            r"\[8, 8, 3\]: uint8 \[N, H, W, 3\] is needed",
        ),
        (lambda s, p: ops.unmix(np.zeros((1, 8, 8, 3), np.float32), True), "float32"),
        (lambda s, p: ops.unmix(np.zeros((0, 8, 8, 3), np.uint8), True), "N from 1"),
        (lambda s, p: ops.letterbox([replace(s, row_bytes=160, chroma=(64, 0))], 8, 8), "address that is not 0"),
    ],
)
def test_errors_say_what_is_wrong(call, message: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFX_OPS", backend)
    grey = np.zeros((8, 8), np.uint8)
    with pytest.raises(InputError, match=message):
        call(on_host(stored(40, 30)), Planes(grey, grey, grey))


def nvrtc_knows(architecture: str) -> bool:
    try:
        return int(architecture.split("_")[1]) in compiler.architectures()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_compiles(architecture: str) -> None:
    if not nvrtc_knows(architecture):
        pytest.skip(f"the NVRTC here does not know {architecture}, only {compiler.architectures()}")
    code = compiler.compiled(architecture)
    assert code.startswith(b"\x7fELF" if architecture.startswith("sm_") else b"//")
    assert code.endswith(b"\0") or architecture.startswith("sm_")
    names = ("letterbox_bytes", "letterbox_halves", "crop_bytes", "crop_halves", "select_faces", "unmix_cells")
    assert all(name.encode() in code for name in (*names, "unmix_chroma"))


def test_machine_code_is_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvrtc_knows("sm_90")
    made: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "compiled", lambda architecture: made.append(architecture) or b"code")
    assert compiler.image((9, 0)) == compiler.image((9, 0)) == b"code"
    assert made == ["sm_90"]
    (path,) = (tmp_path / "dfx" / "cubins").iterdir()
    assert path.read_bytes() == b"code"
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))  # a file: nothing can be written there
    assert compiler.cached("sm_90") == b"code"


def test_embedded_machine_code_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiler, "EMBEDDED", tmp_path)
    monkeypatch.setattr(compiler, "compiled", str.encode)
    assert len(compiler.embed(tmp_path)) == len(ARCHITECTURES)
    wanted = {
        (6, 0): "sm_60",
        (6, 1): "sm_60",
        (7, 5): "sm_75",
        (8, 7): "sm_86",
        (9, 0): "sm_90",
        (12, 0): "compute_90",
    }
    for capability, name in wanted.items():
        assert compiler.image(capability) == name.encode()


def test_the_best_that_nvrtc_knows_is_chosen() -> None:
    assert compiler._architecture(90, [75, 80, 90]) == "sm_90"
    assert compiler._architecture(121, [75, 80, 90]) == "compute_90"
    with pytest.raises(DeviceError, match=r"6\.0 is older.*gpu-cu12"):
        compiler._architecture(60, [75, 80, 90])


def test_errors_of_the_compiler_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nvrtc_knows("sm_90")
    monkeypatch.setattr(compiler, "OPTIONS", ("--std=c++17", "-DHalf=oops-"))
    with pytest.raises(DeviceError, match=r"(?s)NVRTC_ERROR_COMPILATION for sm_90.*error"):
        compiler.compiled("sm_90")


def test_without_nvrtc_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(DeviceError, match=r"NVRTC.*missing.*pip install.*gpu-cu12"):
        compiler.compiled("sm_90")


def test_without_a_driver_the_mend_is_named() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("NVIDIA's driver is here")
    for call in (cuda.device_count, lambda: cuda.Lane(0), lambda: cuda.device_name(0)):
        with pytest.raises(DeviceError, match=r"driver is missing: libcuda\.so\.1.*install the driver"):
            call()
    assert "libcuda.so.1" in str(cuda.missing())


def test_surfaces_on_a_gpu_need_a_lane() -> None:
    with pytest.raises(DeviceError, match="with Lane"):
        ops.letterbox([Surface(4096, 8, 8, 0, 0, None)], 8, 8)
    with pytest.raises(DeviceError, match="with Lane"):
        cuda.empty((1,), np.uint8)
