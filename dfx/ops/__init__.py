"""The pixel work: letterbox, crop, and what turns a detector's output into faces.

Colours: what the networks see is RGB as BT.601 whatever the stream's tag says, the range tag honoured, chroma
interpolated bilinearly and sited at the centre of the samples it covers. That is what every backend gives.

The compiled extension does it, unless the environment variable DFX_OPS is "numpy", which chooses the slow NumPy
reference (`dfx.ops.reference`). Pictures of the two differ by at most one grey level. The extension's results are the
same to the bit whatever the processor's instruction set and the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfx.errors import DependencyError, InputError
from dfx.ops import reference
from dfx.ops.geometry import Letterbox, letterbox_geometry, similarity, subsampling
from dfx.values import Faces, Float, Pixels, Planes

if TYPE_CHECKING:
    from dfx._kernels import Frame

__all__ = ["Letterbox", "crop", "decode_faces", "letterbox", "letterbox_geometry", "require", "similarity"]

DEPTHS = range(8, 13)
LARGEST_SIDE = 16384


def letterbox(frames: Sequence[Planes], height: int, width: int, *, threads: int = 1) -> Pixels:
    """Scales pictures into the top left of a black canvas: uint8 [N, 3, height, width], planar RGB.

    The scale is min(width / W, height / H) for a picture of W x H pixels, and at most 2. Shrinking is an exact area
    average of each plane, magnifying is bilinear; both come before the conversion to RGB, so that only the pixels of
    the canvas are converted.

    Args:
        frames: pictures of 8 to 12 bits; sizes and formats may differ.
        height, width: pixels of the canvas.
        threads: how many to use; the result does not depend on it.

    Raises:
        InputError: no frames, a size or a number of threads below 1, or planes that are no picture.
        DependencyError: the extension is not built.
    """
    _check_counts(frames, threads, height=height, width=width)
    pictures = [_frame(frame) for frame in frames]
    out: Pixels = np.empty((len(frames), 3, height, width), np.uint8)
    if _wants_reference():
        for frame, image in zip(frames, out, strict=True):
            image[:] = reference.letterbox(frame, height, width)
    else:
        _kernels().letterbox(pictures, out, threads)
    return out


def crop(frames: Sequence[Planes], matrices: ArrayLike, size: int, *, threads: int = 1) -> Pixels:
    """Cuts one square out of each picture: uint8 [N, 3, size, size], planar RGB.

    Pixel (column, row) of the crop shows the picture at matrix @ (column + 0.5, row + 0.5, 1), in pixels of the
    picture. It averages a box of the picture as wide and high as the matrix makes a crop pixel, and at least one
    sample: bilinear interpolation when magnifying, antialiased when shrinking. The box is upright in the picture
    however the crop is turned. Where a box is wider than 3 samples, it averages blocks of samples, and of blocks wider
    than 16 samples every few. Outside of the picture its edge is repeated.

    Args:
        frames: pictures of 8 to 12 bits; sizes and formats may differ.
        matrices: float32 [N, 2, 3], crop pixels to picture pixels; see `similarity`.
        size: side of the crop in pixels.
        threads: how many to use; the result does not depend on it.

    Raises:
        InputError: no frames, matrices of another shape or with numbers that are not finite, a size or a number of
            threads below 1, or planes that are no picture.
        DependencyError: the extension is not built.
    """
    _check_counts(frames, threads, size=size)
    pictures = [_frame(frame) for frame in frames]
    maps = _floats(matrices)
    if maps.shape != (len(frames), 2, 3) or not np.isfinite(maps).all():
        raise InputError(f"{len(frames)} frames need matrices [{len(frames)}, 2, 3] of finite numbers; got {maps}")
    out: Pixels = np.empty((len(frames), 3, size, size), np.uint8)
    if _wants_reference():
        for frame, matrix, image in zip(frames, maps, out, strict=True):
            image[:] = reference.crop(frame, matrix, size)
    else:
        _kernels().crop(pictures, maps, out, threads)
    return out


def decode_faces(
    scores: ArrayLike,
    boxes: ArrayLike,
    landmarks: ArrayLike,
    height: int,
    width: int,
    *,
    strides: Sequence[int],
    min_sizes: Sequence[Sequence[float]],
    variances: tuple[float, float],
    threshold: float,
    iou: float = 0.4,
    limit: int = 100,
) -> list[Faces]:
    """Turns a detector's output into faces, one `Faces` a picture, best first, in pixels of the canvas.

    Only what scores above `threshold` is decoded, from SSD's deltas (Liu et al., ECCV 2016; RetinaFace, Deng et al.,
    CVPR 2020): centre = anchor + delta * variances[0] * side, size = side * exp(delta * variances[1]), landmark =
    anchor + delta * variances[0] * side. The exponent is bounded to 4.2. Of equal scores the lower index comes first.
    Greedy non-maximum suppression follows. What is not a finite number is no face.

    Args:
        scores: float32 [N, A] in 0..1; boxes: float32 [N, A, 4] deltas; landmarks: float32 [N, A, 10] deltas.
            Anchors stand by level, then by row and column of its cells, then by size.
        height, width: pixels of the canvas.
        strides: pixels a cell, a level; min_sizes: sides of the square anchors of a cell, a level, pixels.
        variances: scales of centre and size deltas.
        threshold: scores must be above it.
        iou: a face is dropped where its intersection over union with a better one is above it.
        limit: faces kept a picture.

    Raises:
        InputError: shapes that do not fit each other or the canvas, or numbers out of range.
        DependencyError: the extension is not built.
    """
    anchors = _count_anchors(height, width, strides, min_sizes)
    arrays = _floats(scores), _floats(boxes), _floats(landmarks)
    shapes = [array.shape for array in arrays]
    if limit < 1 or shapes != [(*shapes[1][:1], anchors, *rest) for rest in ((), (4,), (10,))]:
        raise InputError(
            f"a canvas of {width}x{height} has {anchors} anchors, so scores [N, {anchors}], boxes [N, {anchors}, 4], "
            f"landmarks [N, {anchors}, 10] and a limit of at least 1 are needed; got {shapes} and {limit}"
        )
    sides = [list(map(float, level)) for level in min_sizes]
    decode = reference.decode_faces if _wants_reference() else _kernels().decode_faces
    found = decode(*arrays, height, width, list(strides), sides, variances, threshold, iou, limit)
    return [Faces(*faces) for faces in found]


def require() -> None:
    """Raises DependencyError where pictures could not be worked on: better at the start of a run than on every row."""
    if not _wants_reference():
        _kernels()


def level() -> str:
    """The instruction set in use: "avx2", "portable", or "numpy" for the reference."""
    return "numpy" if _wants_reference() else str(_kernels().level())


def _kernels() -> ModuleType:
    try:
        from dfx import _kernels
    except ImportError as error:
        raise DependencyError(
            f"the compiled extension dfx._kernels cannot be loaded ({error}); build it with `pip install .` in the "
            "checkout, or set DFX_OPS=numpy for the slow NumPy reference"
        ) from error
    return _kernels


def _wants_reference() -> bool:
    chosen = os.environ.get("DFX_OPS", "")
    if chosen not in {"", "numpy"}:
        raise InputError(f"DFX_OPS is {chosen!r}; it may be 'numpy' (the slow reference) or unset (the extension)")
    return chosen == "numpy"


def _check_counts(frames: Sequence[Planes], threads: int, **sizes: int) -> None:
    if not len(frames):
        raise InputError("no frames: at least one is needed")
    if threads < 1:
        raise InputError(f"threads is {threads}; it must be at least 1")
    for name, size in sizes.items():
        if not 1 <= size <= LARGEST_SIDE:
            raise InputError(f"{name} is {size}; it must be from 1 to {LARGEST_SIDE} pixels")


def _floats(values: ArrayLike) -> Float:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        return np.ascontiguousarray(values, np.float32)


def _count_anchors(height: int, width: int, strides: Sequence[int], min_sizes: Sequence[Sequence[float]]) -> int:
    if len(strides) != len(min_sizes):
        raise InputError(f"{len(strides)} strides and {len(min_sizes)} groups of sizes: each stride needs one group")
    if min(height, width, *strides) < 1:
        raise InputError(f"a canvas of {width}x{height} and strides {strides}: all must be at least 1")
    levels = zip(strides, min_sizes, strict=True)
    return sum((height // stride) * (width // stride) * len(sides) for stride, sides in levels)


def _frame(planes: Planes) -> Frame:
    """What the extension takes, checked."""
    for plane in (planes.y, planes.u, planes.v):
        _check_plane(plane)
    if planes.depth not in DEPTHS:
        raise InputError(f"planes of {planes.depth} bits; {DEPTHS[0]} to {DEPTHS[-1]} are supported")
    sx = subsampling(planes.width, int(planes.u.shape[1]))
    sy = subsampling(planes.height, int(planes.u.shape[0]))
    return planes.y, planes.u, planes.v, sx, sy, planes.depth, planes.full_range


def _check_plane(plane: NDArray[Any]) -> None:
    if not all(1 <= side <= LARGEST_SIDE for side in plane.shape):
        raise InputError(f"a plane of {plane.shape} samples; each side must be from 1 to {LARGEST_SIDE}")
    if plane.shape[1] > 1 and plane.strides[1] != plane.itemsize:
        raise InputError(f"a plane with strides {plane.strides}: its last axis must be contiguous; copy it")
