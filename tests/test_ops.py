"""The pixel work against its NumPy reference, against OpenCV, and against plain facts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from tolerances import ANTIALIASED, GREY_LEVEL, OPENCV_MEAN, SINGLE_PRECISION, SUBPIXEL

from dfx import _kernels, ops
from dfx.errors import DependencyError, InputError
from dfx.ops import reference
from dfx.values import Planes

SHAPES = [(1, 1), (7, 1), (1, 9), (17, 33), (64, 48), (101, 57), (333, 211)]
FORMATS = [(1, 1, 8, True), (2, 2, 8, False), (2, 1, 10, False), (4, 1, 12, True), (4, 4, 10, True), (1, 2, 9, False)]
MATRICES = {
    "as it is": [[1, 0, 0], [0, 1, 0]],
    "magnified": [[0.3, 0.1, 3], [-0.1, 0.3, 2]],
    "turned and shrunk": [[2.3, -0.4, -3], [0.4, 2.3, -7]],
    "shrunk beyond one block": [[7, 1, 3], [-2, 9, 1]],
    "shrunk to almost nothing": [[60, 1, -100], [0, 70, 3]],
    "upside down": [[-1.5, 0, 40], [0, -1.5, 30]],
    "one point": [[0, 0, 5.25], [0, 0, 2.5]],
    "one line": [[2, 2, 0], [1, 1, 0]],
    "far away": [[1, 0, 1e9], [0, 1, -1e9]],
    "huge": [[3e38, 3e38, -3e38], [1e20, -3e38, 3e38]],
    "tiny": [[1e-40, 0, 3], [0, -1e-30, 4]],
}


def picture(width: int, height: int, fmt: tuple[int, int, int, bool] = (2, 2, 8, False), padding: int = 5) -> Planes:
    """Noise of the highest contrast, in rows with padding."""
    sx, sy, depth, full_range = fmt
    rng = np.random.default_rng(width * 1009 + height)

    def plane(rows: int, columns: int) -> np.ndarray:
        values = rng.integers(0, 2**depth, (rows, columns + padding))
        return values.astype(np.uint8 if depth == 8 else np.uint16)[:, :columns]

    chroma = -(-height // sy), -(-width // sx)
    return Planes(plane(height, width), plane(*chroma), plane(*chroma), depth, "unknown", full_range)


def flat(y: int, u: int, v: int, *, full_range: bool, depth: int = 8) -> Planes:
    dtype = np.uint8 if depth == 8 else np.uint16
    y_plane, u_plane, v_plane = (np.full(n, x, dtype) for n, x in (((20, 30), y), ((10, 15), u), ((10, 15), v)))
    return Planes(y_plane, u_plane, v_plane, depth, "bt709", full_range)


def grey(luma: np.ndarray) -> Planes:
    """Full range, so that each channel is the luma."""
    chroma = np.full([-(-side // 2) for side in luma.shape], 128, np.uint8)
    return Planes(luma.astype(np.uint8), chroma, chroma, 8, "unknown", True)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.fixture(params=_kernels.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that this machine can run."""
    best = _kernels.level()
    _kernels.use_level(request.param)
    yield request.param
    _kernels.use_level(best)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists what its processor can do there")
def test_the_best_instruction_set_is_chosen() -> None:
    there = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    needs = {"avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, "avx2": {"avx2"}, "portable": set()}
    assert _kernels.levels() == [name for name, flags in needs.items() if flags <= set(there)]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_letterbox_is_its_reference(shape: tuple[int, int], fmt: tuple[int, int, int, bool], level: str) -> None:
    planes = picture(*shape, fmt)
    for height, width in [(32, 32), (64, 96), (7, 5), (1, 1), (100, 50)]:
        (image,) = ops.letterbox([planes], height, width)
        assert difference(image, reference.letterbox(planes, height, width)) <= GREY_LEVEL


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_crop_is_its_reference(shape: tuple[int, int], fmt: tuple[int, int, int, bool], level: str) -> None:
    planes = picture(*shape, fmt)
    matrices = np.array(list(MATRICES.values()), np.float32)
    images = ops.crop([planes] * len(matrices), matrices, 13)
    for name, matrix, image in zip(MATRICES, matrices, images, strict=True):
        assert difference(image, reference.crop(planes, matrix, 13)) <= GREY_LEVEL, name


def test_the_result_depends_neither_on_threads_nor_on_the_processor() -> None:
    frames = [picture(333, 211, fmt) for fmt in FORMATS] + [picture(64, 48)]
    matrices = np.float32([[[3 / (i + 1), 0.2 * i, 7], [-0.2 * i, 3 / (i + 1), 9]] for i in range(len(frames))])
    boxes, crops = ops.letterbox(frames, 96, 128), ops.crop(frames, matrices, 61)
    best = _kernels.level()
    try:
        for name in _kernels.levels():
            _kernels.use_level(name)
            for threads in (1, 2, 5, 64):
                assert np.array_equal(ops.letterbox(frames, 96, 128, threads=threads), boxes)
                assert np.array_equal(ops.crop(frames, matrices, 61, threads=threads), crops)
    finally:
        _kernels.use_level(best)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_outside_the_planes_is_seen(shape: tuple[int, int], level: str) -> None:
    planes = picture(*shape)
    matrices = np.array(list(MATRICES.values()), np.float32)
    before = ops.crop([planes] * len(matrices), matrices, 13), ops.letterbox([planes], 64, 64)
    for plane in (planes.y, planes.u, planes.v):
        whole = plane.base[:, plane.shape[1] :]
        whole[:] = 255 - whole
    after = ops.crop([planes] * len(matrices), matrices, 13), ops.letterbox([planes], 64, 64)
    assert all(map(np.array_equal, before, after))


@pytest.mark.parametrize(
    ("planes", "rgb"),
    [
        (flat(16, 128, 128, full_range=False), (0, 0, 0)),
        (flat(235, 128, 128, full_range=False), (255, 255, 255)),
        (flat(0, 128, 128, full_range=True), (0, 0, 0)),
        (flat(255, 128, 128, full_range=True), (255, 255, 255)),
        (flat(81, 90, 240, full_range=False), (255, 0, 0)),
        (flat(145, 54, 34, full_range=False), (0, 255, 0)),
        (flat(41, 240, 110, full_range=False), (0, 0, 255)),
        (flat(76, 85, 255, full_range=True), (255, 0, 0)),
        (flat(940, 512, 512, full_range=False, depth=10), (255, 255, 255)),
        (flat(1023, 512, 512, full_range=True, depth=10), (255, 255, 255)),
        (flat(4095, 2048, 2048, full_range=True, depth=12), (255, 255, 255)),
        (flat(514, 512, 512, full_range=True, depth=10), (128, 128, 128)),
        (flat(65535, 512, 512, full_range=True, depth=10), (255, 255, 255)),
    ],
)
def test_colours_are_bt601_whatever_the_tag(planes: Planes, rgb: tuple[int, int, int]) -> None:
    whole = ops.letterbox([planes], 20, 30)[0]
    shrunk = ops.crop([planes], [[[5, 0, 0], [0, 5, 0]]], 4)[0]
    for image in (whole, shrunk):
        assert difference(image, np.reshape(rgb, (3, 1, 1))) <= GREY_LEVEL
        assert len(np.unique(image.reshape(3, -1), axis=1)[0]) == 1, "a flat picture stays flat"


def test_chroma_sits_at_the_centre_of_what_it_covers(level: str) -> None:
    """Chroma sample i lies at (i + 0.5) * 2 luma pixels; between samples it is linear."""
    u = np.tile(np.arange(64, 192, 4, dtype=np.uint8), (32, 1))
    planes = Planes(np.full((64, 64), 100, np.uint8), u, np.full((32, 32), 128, np.uint8), 8, "unknown", True)
    sited = np.interp((np.arange(64) + 0.5) / 2 - 0.5, np.arange(32), u[0])
    blue = np.clip(100 + 1.772 * (sited - 128), 0, 255)
    for image in (ops.letterbox([planes], 64, 64)[0], ops.crop([planes], [MATRICES["as it is"]], 64)[0]):
        assert np.abs(image[2].astype(float) - blue).max() <= 0.5 + SUBPIXEL


def test_letterbox_agrees_with_opencv() -> None:
    rng = np.random.default_rng(3)
    sizes = (12, 270), (6, 135), (6, 135)
    y, u, v = (cv2.resize(rng.integers(40, 200, (n, n), np.uint8), (2 * side, side)) for n, side in sizes)
    i420 = np.concatenate([plane.ravel() for plane in (y, u, v)]).reshape(-1, 540)
    whole = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)
    theirs = cv2.resize(whole, (160, 80), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    (ours,) = ops.letterbox([Planes(y, u, v)], 96, 160)
    assert np.abs(ours[:, :80].astype(int) - theirs).mean() < OPENCV_MEAN
    assert not ours[:, 80:].any()


def test_crop_agrees_with_opencv() -> None:
    rng = np.random.default_rng(4)
    luma = cv2.resize(rng.integers(0, 255, (30, 40), np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC)
    matrix = np.float32([[0.8, -0.3, 100.25], [0.3, 0.8, 40.75]])
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV counts from the centre of the first pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(luma, centred, (90, 90), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ours = ops.crop([grey(luma)], matrix[None], 90)[0, 0]
    assert np.abs(ours.astype(int) - theirs).mean() < OPENCV_MEAN


def test_crop_of_a_quarter_turn_is_the_picture_turned(level: str) -> None:
    planes = grey(picture(40, 40).y)
    turned = ops.crop([planes], [[[0, -1, 40], [1, 0, 0]]], 40)[0]
    assert np.array_equal(turned[0], np.rot90(planes.y))
    assert np.array_equal(ops.crop([planes], [MATRICES["as it is"]], 40)[0, 0], planes.y)


@pytest.mark.parametrize("factor", [2, 2.9, 3.3, 4, 6.5, 11, 40])
def test_shrinking_does_not_alias(factor: float, level: str) -> None:
    """A checkerboard of single pixels must become grey, at any angle."""
    board = grey(np.indices((640, 640)).sum(axis=0) % 2 * 255)
    for angle in (0.0, 0.3, np.pi / 4):
        cos, sin = factor * np.cos(angle), factor * np.sin(angle)
        image = ops.crop([board], [[[cos, -sin, 320], [sin, cos, 100]]], 5)[0]
        assert np.abs(image.astype(float) - 127.5).max() <= ANTIALIASED
    (small,) = ops.letterbox([board], int(640 / factor), int(640 / factor))
    assert np.abs(small.astype(float) - 127.5).max() <= ANTIALIASED


def test_outside_of_the_picture_its_edge_is_repeated(level: str) -> None:
    planes = grey(picture(40, 30).y)
    right = ops.crop([planes], [[[1, 0, 1000], [0, 1, 0]]], 30)[0, 0]
    assert np.array_equal(right, np.repeat(planes.y[:, -1:], 30, axis=1))
    corner = ops.crop([planes], [[[1e5, 0, -1e9], [0, 1e5, -1e9]]], 8)[0, 0]
    assert np.ptp(corner) == 0


def test_rows_may_run_backwards() -> None:
    planes = picture(50, 40, (1, 1, 8, False))
    flipped = Planes(planes.y[::-1], planes.u[::-1], planes.v[::-1])
    assert np.array_equal(ops.letterbox([flipped], 40, 50)[0], ops.letterbox([planes], 40, 50)[0, :, ::-1])


def test_planes_may_be_read_only() -> None:
    planes = picture(50, 40)
    before = ops.letterbox([planes], 32, 32)
    for plane in (planes.y, planes.u, planes.v):
        plane.flags.writeable = False
    assert np.array_equal(ops.letterbox([planes], 32, 32), before)


def test_the_scale_of_the_geometry_is_the_scale_of_the_letterbox() -> None:
    """The centre of a bright square lies where the scale says, though sizes do not divide."""
    luma = np.zeros((211, 347))
    luma[100:140, 250:290] = 255
    box = ops.letterbox_geometry(347, 211, 160)
    weights = ops.letterbox([grey(luma)], box.height, box.width)[0, 0].astype(float)
    y, x = ((np.indices(weights.shape) + 0.5) * weights).sum(axis=(1, 2)) / weights.sum() / box.scale
    assert (x, y) == pytest.approx((270, 120), abs=SUBPIXEL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: ops.letterbox([], 32, 32), "no frames"),
        (lambda p: ops.letterbox([p], 0, 32), "height is 0"),
        (lambda p: ops.letterbox([p], 32, 99999), "width is 99999"),
        (lambda p: ops.letterbox([p], 32, 32, threads=0), "threads is 0"),
        (lambda p: ops.crop([p], np.zeros((1, 2, 3)), 0), "size is 0"),
        (lambda p: ops.crop([p], np.zeros((2, 2, 3)), 8), r"need matrices \[1, 2, 3\]"),
        (lambda p: ops.crop([p], np.full((1, 2, 3), np.nan), 8), "finite"),
        (lambda p: ops.crop([p], np.full((1, 2, 3), 1e300), 8), "finite"),
        (lambda p: ops.crop([], np.zeros((0, 2, 3)), 8), "no frames"),
        (lambda p: ops.letterbox([Planes(p.y[:, ::2], p.u[:, ::2], p.v[:, ::2])], 8, 8), "contiguous"),
        (lambda p: ops.letterbox([Planes(p.y, p.u[:, :5], p.v[:, :5])], 8, 8), "ratio"),
        (lambda p: ops.letterbox([Planes(p.y[:0], p.u[:0], p.v[:0])], 8, 8), "each side"),
        (lambda p: ops.letterbox([Planes(*[x.astype(np.uint16) for x in (p.y, p.u, p.v)], 16)], 8, 8), "16 bits"),
    ],
)
def test_errors_say_what_is_wrong(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(picture(40, 30))


def test_numpy_is_used_only_when_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = picture(40, 30)
    compiled = ops.letterbox([planes], 32, 32), ops.crop([planes], [MATRICES["turned and shrunk"]], 9)
    monkeypatch.setitem(sys.modules, "dfx._kernels", None)
    monkeypatch.delattr("dfx._kernels")
    with pytest.raises(DependencyError, match="pip install"):
        ops.letterbox([planes], 32, 32)
    monkeypatch.setenv("DFX_OPS", "numpy")
    plain = ops.letterbox([planes], 32, 32), ops.crop([planes], [MATRICES["turned and shrunk"]], 9)
    assert max(map(difference, compiled, plain)) <= GREY_LEVEL
    monkeypatch.setenv("DFX_OPS", "cuda")
    with pytest.raises(InputError, match="cuda"):
        ops.letterbox([planes], 32, 32)


CONTRACT = {"strides": (8, 16), "min_sizes": ((16, 32), (64, 128)), "variances": (0.1, 0.2)}
HEIGHT, WIDTH, ANCHORS = 64, 96, 2 * (8 * 12 + 4 * 6)


def outputs(pictures: int = 1) -> list[np.ndarray]:
    """A detector's output that finds nothing."""
    return [np.zeros((pictures, ANCHORS, *rest), np.float32) for rest in ((), (4,), (10,))]


def decode(scores: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray, **settings: float):
    return ops.decode_faces(scores, boxes, landmarks, HEIGHT, WIDTH, **{**CONTRACT, "threshold": 0.5, **settings})


def test_decode_is_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((3, ANCHORS)).astype(np.float32).round(2)  # with ties
    boxes, landmarks = (rng.normal(0, 2, (3, ANCHORS, n)).astype(np.float32) for n in (4, 10))
    boxes[0, :20] = np.nan
    landmarks[1, 5:30] = np.inf
    boxes[2, 7:90, 2:] = 1e30
    votes = ({"votes": 3}, {"votes": 2, "limit": 3}, {"votes": 3, "threshold": 0.05})
    for settings in ({}, {"threshold": 0.9}, {"iou": 0.0}, {"iou": 1.0, "limit": 7}, *votes):
        ours = decode(scores, boxes, landmarks, **settings)
        monkeypatch.setenv("DFX_OPS", "numpy")
        theirs = decode(scores, boxes, landmarks, **settings)
        monkeypatch.delenv("DFX_OPS")
        assert [len(faces) for faces in ours] == [len(faces) for faces in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.scores, b.scores)
            np.testing.assert_allclose(a.boxes, b.boxes, rtol=SINGLE_PRECISION, atol=SINGLE_PRECISION)
            np.testing.assert_allclose(a.landmarks, b.landmarks, rtol=SINGLE_PRECISION, atol=SINGLE_PRECISION)


def test_decode_finds_the_face_that_was_encoded() -> None:
    scores, boxes, landmarks = outputs(2)
    cell = 2 * 8 * 12 + 2 * (1 * 6 + 4) + 1  # level 1, row 1, column 4, second size: centre (72, 24), side 128
    face = np.array([[70, 20], [80, 21], [75, 25], [71, 30], [79, 31]])
    scores[1, cell] = 0.8
    boxes[1, cell] = (75 - 72) / (0.1 * 128), (26 - 24) / (0.1 * 128), np.log(40 / 128) / 0.2, np.log(50 / 128) / 0.2
    landmarks[1, cell] = ((face - (72, 24)) / (0.1 * 128)).ravel()
    nothing, (found) = decode(scores, boxes, landmarks)
    assert len(nothing) == 0
    assert found.boxes == pytest.approx(np.array([[55, 1, 95, 51]]), abs=SUBPIXEL)
    assert found.landmarks[0] == pytest.approx(face, abs=SUBPIXEL)
    assert found.scores.tolist() == [np.float32(0.8)]


def test_decode_keeps_the_best_of_what_overlaps() -> None:
    scores, boxes, landmarks = outputs()
    scores[0, [0, 1, 2, 40]] = 0.6, 0.9, 0.9, 0.7
    (faces,) = decode(scores, boxes, landmarks)  # 0 and 2 lie in 1: each is a quarter of it
    assert faces.scores.tolist() == [np.float32(s) for s in (0.9, 0.9, 0.7, 0.6)]
    (faces,) = decode(scores, boxes, landmarks, iou=0.2)
    assert faces.scores.tolist() == [np.float32(s) for s in (0.9, 0.7)]
    assert faces.boxes[0].tolist() == [-12, -12, 20, 20], "of equal scores the lower index comes first"
    (faces,) = decode(scores, boxes, landmarks, limit=1)
    assert len(faces) == 1


def test_a_score_is_the_mean_of_the_anchors_that_see_the_face() -> None:
    scores, boxes, landmarks = outputs()
    alone, beside = 30, [0, 1]  # 0 and 1 stand on the same cell, the one half as wide: it is made as large here
    boxes[0, 0, 2:] = np.log(2) / 0.2
    scores[0, alone], scores[0, beside] = 0.9, (0.6, 0.8)
    (faces,) = decode(scores, boxes, landmarks, threshold=0.4, votes=2)
    assert faces.scores.tolist() == pytest.approx([0.7, 0.45], abs=1e-6), "the best anchor stands alone"
    (faces,) = decode(scores, boxes, landmarks, threshold=0.45, votes=2)
    assert len(faces) == 1, "the mean, too, must be above the threshold"
    (faces,) = decode(scores, boxes, landmarks, threshold=0.4, votes=3)
    assert faces.scores.tolist() == pytest.approx([1.4 / 3], abs=1e-6)
    scores[0, 0] = 0.2
    (faces,) = decode(scores, boxes, landmarks, threshold=0.48, votes=2)
    assert faces.scores.tolist() == pytest.approx([0.5], abs=1e-6), "a voter may score less than a face has to"


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    scores, boxes, landmarks = outputs()
    scores[0, 3] = 0.5
    scores[0, 4] = np.nan
    assert len(decode(scores, boxes, landmarks)[0]) == 0


def test_decode_refuses_other_shapes() -> None:
    scores, boxes, landmarks = outputs()
    with pytest.raises(InputError, match=f"{ANCHORS} anchors"):
        decode(scores[:, 1:], boxes, landmarks)
    with pytest.raises(InputError, match="2 strides and 1"):
        decode(scores, boxes, landmarks, min_sizes=((16, 32),))
    with pytest.raises(InputError, match=", 0 and 1"):
        decode(scores, boxes, landmarks, limit=0)
    with pytest.raises(InputError, match=", 100 and 0"):
        decode(scores, boxes, landmarks, votes=0)
