"""The CUDA kernels' work on pictures in host memory: every block and thread of a launch, on the CPU.

The same functions of cpp_ext/ops as on a GPU, with the same launches and the same checks of bounds, so the results are
a GPU's to the bit. It lets everything that a GPU does run, and be tested, where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dfx.errors import InputError
from dfx.ops.checks import check_counts, check_matrices, check_rgb, check_surfaces, count_anchors, kernels
from dfx.settings import HOST
from dfx.values import Faces, Float, Pixels, Surface

PIXELS = {np.dtype(np.uint8): 0, np.dtype(np.float16): 1}
"""What the kernels write, by its number in the extension: 0 to 255 either way."""

CANDIDATE_BYTES = 64


def pixel_code(dtype: DTypeLike) -> int:
    """The extension's number of an output type; raises InputError for others."""
    code = PIXELS.get(np.dtype(dtype))
    if code is None:
        raise InputError(f"pixels of {np.dtype(dtype)}; uint8 or float16 is needed")
    return code


def letterbox(
    pictures: Sequence[Surface], height: int, width: int, *, threads: int = 1, dtype: DTypeLike = np.uint8
) -> NDArray[Any]:
    """As `dfx.ops.letterbox`, of surfaces on the HOST: uint8 or float16 [N, 3, height, width]."""
    check_counts(pictures, threads, height=height, width=width)
    code, surfaces = pixel_code(dtype), check_surfaces(pictures, HOST)
    plan_of = {(p.width, p.height): kernels().SurfacePlan(p.width, p.height, width, height) for p in pictures}
    plans = [plan_of[picture.width, picture.height] for picture in pictures]
    out = np.empty((len(pictures), 3, height, width), dtype)
    places = [plan.address for plan in plans]
    kernels().letterbox_surfaces(surfaces, plans, places, out.ctypes.data, height, width, code, None, threads)
    return out


def crop(
    pictures: Sequence[Surface], matrices: ArrayLike, size: int, *, threads: int = 1, dtype: DTypeLike = np.uint8
) -> NDArray[Any]:
    """As `dfx.ops.crop`, of surfaces on the HOST: uint8 or float16 [N, 3, size, size]."""
    check_counts(pictures, threads, size=size)
    code, surfaces = pixel_code(dtype), check_surfaces(pictures, HOST)
    maps = check_matrices(matrices, len(pictures))
    out = np.empty((len(pictures), 3, size, size), dtype)
    kernels().crop_surfaces(surfaces, maps, out.ctypes.data, size, code, None, threads)
    return out


def unmix(pictures: Pixels, full_range: bool, *, threads: int = 1) -> Pixels:
    """As `dfx.ops.unmix`."""
    count, height, width = check_rgb(pictures.shape, pictures.dtype)
    rgb, planes = np.ascontiguousarray(pictures), np.empty((count, 3 * height * width // 2), np.uint8)
    means = np.empty((min(count, kernels().UNMIX_BATCH), 2, height // 2, width // 2), np.int16)
    places = (array.ctypes.data for array in (rgb, planes, means))
    kernels().unmix(*places, width, height, count, full_range, None, threads)
    return planes


def decode_faces(
    scores: Float,
    boxes: Float,
    landmarks: Float,
    height: int,
    width: int,
    *,
    strides: Sequence[int],
    min_sizes: Sequence[Sequence[float]],
    variances: tuple[float, float],
    threshold: float,
    iou: float,
    limit: int,
    votes: int = 1,
    capacity: int,
) -> list[Faces | None]:
    """As a GPU does it: None for a picture with more candidates than `capacity`. For tests; arrays are contiguous."""
    pictures, anchors = len(scores), count_anchors(height, width, strides, min_sizes)
    table = kernels().anchors(height, width, list(strides), [list(map(float, level)) for level in min_sizes])
    counts = np.zeros(pictures, np.int32)
    found = np.zeros((capacity, pictures, CANDIDATE_BYTES), np.uint8)
    places = (array.ctypes.data for array in (scores, boxes, landmarks, table, counts, found))
    floor = kernels().score_floor(threshold, votes)
    kernels().select_faces(*places, pictures, anchors, capacity, variances, floor, None)
    return suppress(found, counts, threshold, iou, limit, votes)


def suppress(
    found: NDArray[np.uint8], counts: NDArray[np.int32], threshold: float, iou: float, limit: int, votes: int
) -> list[Faces | None]:
    """Candidates [capacity, N, 64] bytes, of which `counts` [N] are there, to faces; None where not all had room."""
    fits = counts <= len(found)
    kept = kernels().suppress(found, np.where(fits, counts, 0).astype(np.int32), threshold, iou, limit, votes)
    return [Faces(*faces) if whole else None for faces, whole in zip(kept, fits, strict=True)]
