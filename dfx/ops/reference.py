"""What the operations mean, in plain NumPy and double precision: the truth of the tests. Slow.

`dfx.ops` checks the arguments and holds the documentation. The compiled code works in fixed point, so its pictures may
differ from these by one grey level.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfx.ops.geometry import fit, subsampling
from dfx.values import Float, Pixels, Planes, Samples, Surface

Double = NDArray[np.float64]

KR, KG, KB = 0.299, 0.587, 0.114
"""Weights of red, green and blue in luma, ITU-R BT.601."""

CHROMA = np.array([[0, 2 * (1 - KR)], [-2 * KB * (1 - KB) / KG, -2 * KR * (1 - KR) / KG], [2 * (1 - KB), 0]])
"""What U and V are in red, green and blue."""

ZERO = 0.5 * 255
"""Of chroma, as DALI has it; video has 128."""

LONGEST_SIDE = 3
"""Samples: where a crop pixel sees more of a plane, blocks of it are averaged first."""

BLOCK_SAMPLES = 16
"""Of a wider block every few samples are averaged."""

LARGEST_DELTA, SAME_FACE, HEARD = 4.2, 0.5, 0.1


def upright(surface: Surface) -> Pixels | Planes:
    """A surface of the host, turned: RGB uint8 [H, W, 3], or its planes; views of its memory where that serves."""
    if surface.chroma is None:
        return _turned(surface, surface.pointer, 1, 3)
    y, u, v = _turned(surface, surface.pointer), *(_turned(surface, place, 2) for place in surface.chroma)
    return Planes(y, u, v, 8, "unknown", surface.full_range)


def _turned(surface: Surface, pointer: int, covered: int = 1, *rest: int) -> Pixels:
    """Samples that cover so many pixels across and down."""
    high, wide = -(-surface.stored_height // covered), -(-surface.stored_width // covered)
    row, pixel = surface.stride // covered, int(np.prod(rest))
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * (row * (high - 1) + pixel * wide)).from_address(pointer))
    steps = (row, pixel, *[1] * len(rest))
    stored = np.lib.stride_tricks.as_strided(memory, (high, wide, *rest), steps)
    return np.ascontiguousarray(np.rot90(stored, -surface.rotation // 90))


def letterbox(picture: Planes | Pixels, height: int, width: int) -> Pixels:
    """One picture, planes or RGB [H, W, 3]: uint8 [3, height, width]."""
    planes = _channels(picture)
    high, wide = planes[0].shape
    scale = fit(wide, high, width, height)
    inner_width, inner_height = (max(1, int(side * scale + 0.5)) for side in (wide, high))
    channels = []
    for plane in planes:
        sy, sx = map(subsampling, planes[0].shape, plane.shape)
        down = _resampling(plane.shape[0], inner_height, 1 / float(scale) / sy)
        across = _resampling(plane.shape[1], inner_width, 1 / float(scale) / sx)
        channels.append(down @ plane @ across.T)
    canvas = np.zeros((3, height, width), np.uint8)
    canvas[:, :inner_height, :inner_width] = _bytes(picture, np.stack(channels))
    return canvas


def _channels(picture: Planes | Pixels) -> list[Double]:
    """The planes, or red, green and blue, on the scale of 8-bit video."""
    if isinstance(picture, Planes):
        return [_levels(plane, picture.depth) for plane in (picture.y, picture.u, picture.v)]
    return list(np.moveaxis(picture, 2, 0).astype(np.float64))


def _bytes(picture: Planes | Pixels, channels: Double) -> Pixels:
    """Filtered channels [3, H, W] of a picture to RGB."""
    if isinstance(picture, Planes):
        return _to_rgb(channels, picture.depth, picture.full_range)
    return np.asarray(np.clip(channels, 0, 255) + 0.5).astype(np.uint8)


def _resampling(size: int, outputs: int, step: float) -> Double:
    """The weights [outputs, size] of one axis; an output pixel spans `step` samples."""
    starts = np.arange(outputs)[:, None] * step
    edges = np.arange(size)
    if step < 1:
        return _linear(np.clip(starts + step / 2 - 0.5, 0, size - 1), edges)
    covered = np.clip(np.minimum(edges + 1, starts + step) - np.maximum(edges, starts), 0, 1)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True), np.float64)


def _linear(position: Double, sample: NDArray[np.int64]) -> Double:
    return np.asarray(np.clip(1 - np.abs(position - sample), 0, 1), np.float64)


def crop(picture: Planes | Pixels, matrix: Float, size: int) -> Pixels:
    """One square of a picture, planes or RGB [H, W, 3]: uint8 [3, size, size]."""
    planes, channels = _channels(picture), []
    for plane in planes:
        factors = list(map(subsampling, planes[0].shape, plane.shape))
        rows = matrix[::-1].astype(np.float64) / np.array(factors)[:, None]  # y, x: as the axes of the plane
        extents = np.sqrt(rows[:, 0] ** 2 + rows[:, 1] ** 2)
        blocks = [int(max(1, min(np.ceil(e / LONGEST_SIDE), n))) for e, n in zip(extents, plane.shape, strict=True)]
        channels.append(_boxes(_block_means(plane, *blocks), rows / np.array(blocks)[:, None], size))
    return _bytes(picture, np.stack(channels))


def _block_means(levels: Double, high: int, wide: int) -> Double:
    if high == wide == 1:
        return levels
    steps = [-(-side // BLOCK_SAMPLES) for side in (high, wide)]
    return np.array(
        [
            [levels[y : y + high : steps[0], x : x + wide : steps[1]].mean() for x in range(0, levels.shape[1], wide)]
            for y in range(0, levels.shape[0], high)
        ]
    )


def _boxes(levels: Double, rows: Double, size: int) -> Double:
    """The average over each pixel's box: [size, size]. rows [2, 3]: crop pixels to samples, y and x."""
    centres = np.arange(size) + 0.5
    indices, weights = [], []
    for row, samples in zip(rows, levels.shape, strict=True):
        side = float(np.clip(np.hypot(row[0], row[1]), 1, LONGEST_SIDE))
        position = np.clip(row[0] * centres + row[1] * centres[:, None] + row[2], -side / 2, samples + side / 2)
        start = (position - side / 2)[..., None]
        taps = np.floor(start) + np.arange(LONGEST_SIDE + 1)
        covered = np.clip(np.minimum(taps + 1, start + side) - np.maximum(taps, start), 0, None)
        indices.append(np.clip(taps, 0, samples - 1).astype(np.intp))
        weights.append(covered / side)
    seen = levels[indices[0][..., :, None], indices[1][..., None, :]]
    return np.asarray(np.einsum("ijyx,ijy,ijx->ij", seen, *weights), np.float64)


def _levels(plane: Samples, depth: int) -> Double:
    """Samples on the scale of 8-bit video."""
    return np.asarray(np.minimum(plane, 2**depth - 1) / 2.0 ** (depth - 8), np.float64)


def _to_rgb(yuv: Double, depth: int, full_range: bool) -> Pixels:
    """[3, H, W] levels of 8-bit video to bytes."""
    black, luma, chroma = (0.0, *[(2**depth - 1) / 2 ** (depth - 8)] * 2) if full_range else (16.0, 219.0, 224.0)
    y, u, v = (yuv[0] - black) / luma, (yuv[1] - 128) / chroma, (yuv[2] - 128) / chroma
    red = y + 2 * (1 - KR) * v
    blue = y + 2 * (1 - KB) * u
    green = (y - KR * red - KB * blue) / KG
    return np.asarray(np.clip(np.stack([red, green, blue]) * 255, 0, 255) + 0.5).astype(np.uint8)


def mixed(planes: Planes) -> Pixels:
    """RGB uint8 [H, W, 3] as DALI 2.4 makes it on a GPU of planes with 8 bits and 4:2:0, of even sides.

    From its source: VideoColorSpaceConversionKernel (dali/operators/video/color_space.cu), and itu_r_bt_601 and jpeg
    (dali/kernels/imgproc/color_manipulation/color_space_conversion_impl.h). Black is 0.0625 and the zero of chroma 0.5
    of 255, each a little below what video has; chroma is interpolated, and not rounded before red, green and blue are.
    """
    black, luma, chroma = _range_of_dali(planes.full_range)
    y = luma * (planes.y - black)
    across, down = (_resampling(side // 2, side, 0.5) for side in (planes.width, planes.height))
    u, v = (chroma * (down @ plane @ across.T - ZERO) for plane in (planes.u, planes.v))
    rgb = np.stack([y, y, y], axis=2) + np.stack([u, v], axis=2) @ CHROMA.T
    return np.asarray(np.clip(np.rint(rgb), 0, 255), np.uint8)


def unmix(pictures: Pixels, full_range: bool) -> Pixels:
    """The planes of pictures that DALI mixed: uint8 [N, 3 * H * W // 2]."""
    return np.stack([np.concatenate([plane.ravel() for plane in _unmixed(one, full_range)]) for one in pictures])


def _unmixed(rgb: Pixels, full_range: bool) -> list[Pixels]:
    black, luma, chroma = _range_of_dali(full_range)
    y = np.clip(np.rint(rgb @ np.array([KR, KG, KB]) / luma + black), 0, 255)
    colours = rgb - luma * (y - black)[..., None]
    parts = colours @ np.linalg.pinv(chroma * CHROMA).T + ZERO  # least squares
    cells = parts.reshape(len(y) // 2, 2, -1, 2, 2).mean(axis=(1, 3))
    down, across = map(_sharpening, cells.shape[:2])
    planes = [y, *(down @ cells[..., plane] @ across.T for plane in range(2))]
    return [np.asarray(np.clip(np.rint(plane), 0, 255), np.uint8) for plane in planes]


def _range_of_dali(full_range: bool) -> tuple[float, float, float]:
    """Black, and what a level of luma and of chroma is worth."""
    return (0.0, 1.0, 1.0) if full_range else (0.0625 * 255, 255 / 219, 255 / 224)


def _sharpening(size: int) -> Double:
    """The inverse of what interpolating by two and averaging by two do to one axis, to two samples either way."""
    weights = (2 * np.sqrt(2) - 3) ** np.abs(np.arange(-2, 3))
    matrix, rows = np.zeros((size, size)), np.arange(size)
    for shift, weight in zip(range(-2, 3), weights / weights.sum(), strict=True):
        places = rows + shift
        inside = np.where(places < 0, -1 - places, np.where(places < size, places, 2 * size - 1 - places))
        np.add.at(matrix, (rows, np.clip(inside, 0, size - 1)), weight)
    return matrix


def decode_faces(
    scores: Float,
    boxes: Float,
    landmarks: Float,
    height: int,
    width: int,
    strides: Sequence[int],
    sides: Sequence[Sequence[float]],
    variances: tuple[float, float],
    threshold: float,
    iou: float,
    limit: int,
    votes: int,
) -> list[tuple[Float, Float, Float]]:
    """One (boxes [K, 4], scores [K], landmarks [K, 5, 2]) a picture."""
    anchors = np.concatenate([_anchors(height, width, *level) for level in zip(strides, sides, strict=True)])
    pictures = zip(scores, boxes, landmarks, strict=True)
    return [_faces(*picture, anchors, variances, threshold, iou, limit, votes) for picture in pictures]


def _anchors(height: int, width: int, stride: int, sides: Sequence[float]) -> Double:
    """Centre x, centre y and side of a level's anchors: [A, 3] pixels."""
    y, x, side = np.meshgrid(np.arange(height // stride), np.arange(width // stride), np.array(sides), indexing="ij")
    return np.stack([(x + 0.5) * stride, (y + 0.5) * stride, side], axis=-1).reshape(-1, 3)


def _faces(
    scores: Float,
    deltas: Float,
    points: Float,
    anchors: Double,
    variances: tuple[float, float],
    threshold: float,
    iou: float,
    limit: int,
    votes: int,
) -> tuple[Float, Float, Float]:
    floor = min(threshold, HEARD) if votes > 1 else threshold
    usable = (scores > floor) & np.isfinite(deltas).all(axis=1) & np.isfinite(points).all(axis=1)
    chosen = np.flatnonzero(usable)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    centre, side = anchors[chosen, :2], anchors[chosen, 2:]
    delta = deltas[chosen].astype(np.float64)
    middle = centre + delta[:, :2] * variances[0] * side
    half = side / 2 * np.exp(np.clip(delta[:, 2:] * variances[1], -LARGEST_DELTA, LARGEST_DELTA))
    boxes = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
    offsets = points[chosen].reshape(-1, 5, 2) * variances[0] * side[:, None]
    marks = (centre[:, None] + offsets).astype(np.float32)
    means, voted = _suppress(np.concatenate([boxes, marks.reshape(-1, 10)], axis=1), scores[chosen], iou, votes)
    best = np.argsort(-means, kind="stable")
    best = best[means[best] > threshold][:limit]
    return voted[best, :4], means[best], voted[best, 4:].reshape(-1, 5, 2)


def _suppress(faces: Float, scores: Float, iou: float, votes: int) -> tuple[Float, Float]:
    """Greedy non-maximum suppression of faces [K, 14], best first, with votes: scores and faces of those that stay."""
    means, voted, left = [0.0], [np.zeros((0, faces.shape[1]))], np.arange(len(faces))
    sure = scores.astype(np.float64)
    while len(left):
        overlaps = _overlaps(faces[left, :4], faces[left[0], :4])
        same = left[(overlaps > SAME_FACE) | (left == left[0])]
        means.append(float(sure[same[:votes]].sum()) / votes)
        voted.append(np.average(faces[same], axis=0, weights=sure[same] ** 4)[None])
        left = left[(overlaps <= iou) & (left != left[0])]
    return np.array(means[1:], np.float32), np.concatenate(voted).astype(np.float32)


def _overlaps(boxes: Float, box: Float) -> Double:
    """Intersection over union of `boxes` [K, 4] with `box` [4]."""
    wide, one = boxes.astype(np.float64), box.astype(np.float64)
    sides = np.clip(np.minimum(wide[:, 2:], one[2:]) - np.maximum(wide[:, :2], one[:2]), 0, None)
    common = sides.prod(axis=1)
    union = (wide[:, 2:] - wide[:, :2]).prod(axis=1) + (one[2:] - one[:2]).prod() - common
    return np.asarray(common / np.where(common > 0, union, 1), np.float64)
