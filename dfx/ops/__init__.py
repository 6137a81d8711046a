"""The pixel work: letterbox, crop, and what turns a detector's output into faces.

Colours: what the networks see is RGB as BT.601 whatever the stream's tag says, the range tag honoured, chroma
interpolated bilinearly and sited at the centre of the samples it covers. That is what every backend gives, to the bit
from the same planes; DALI has only RGB to give, of which `unmix` makes planes again. HDR is the exception: its tones
are brought to those of ordinary video (`dfx.colour`), on the CPU.

The compiled extension does it, unless the environment variable DFX_OPS is "numpy", which chooses the slow NumPy
reference (`dfx.ops.reference`). Pictures of the two differ by at most one grey level. The extension's results are the
same to the bit whatever the processor's instruction set and the number of threads.

Where the pictures are surfaces, a GPU's are worked on by CUDA kernels on the current `dfx.ops.cuda.Lane`,
and the host's by the same code on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfx.colour import as_sdr_of_bt601
from dfx.errors import InputError
from dfx.ops import cuda, host, reference
from dfx.ops.checks import (
    LARGEST_SIDE,
    check_counts,
    check_matrices,
    check_outputs,
    check_rgb,
    check_surfaces,
    count_anchors,
    floats,
    kernels,
)
from dfx.ops.cuda import DeviceArray
from dfx.ops.geometry import Letterbox, letterbox_geometry, similarity, subsampling
from dfx.settings import HOST
from dfx.values import Faces, Pixels, Planes, Surface, Transfer

if TYPE_CHECKING:
    from dfx._kernels import Frame

__all__ = [
    "LARGEST_SIDE",
    "Letterbox",
    "crop",
    "decode_faces",
    "letterbox",
    "letterbox_geometry",
    "require",
    "similarity",
    "unmix",
]

DEPTHS = range(8, 13)


@overload
def letterbox(frames: Sequence[Planes], height: int, width: int, *, threads: int = 1) -> Pixels: ...
@overload
def letterbox(
    frames: Sequence[Planes | Surface], height: int, width: int, *, threads: int = 1
) -> Pixels | DeviceArray: ...
def letterbox(frames: Sequence[Planes | Surface], height: int, width: int, *, threads: int = 1) -> Pixels | DeviceArray:
    """Scales pictures into the top left of a black canvas: uint8 [N, 3, height, width], planar RGB.

    The scale is min(width / W, height / H) for a picture of W x H pixels, and at most 2. Shrinking is an exact area
    average of each plane, magnifying is bilinear; both come before the conversion to RGB, so that only the pixels of
    the canvas are converted.

    Args:
        frames: planes of 8 to 12 bits, or surfaces; sizes and formats may differ. Surfaces on a GPU give a
            `DeviceArray` there, on the current lane, queued and not waited for.
        height, width: pixels of the canvas.
        threads: how many to use; the result does not depend on it.

    Raises:
        InputError: no frames, frames of several kinds or in several places, a size or a number of threads below 1, or
            planes that are no picture.
        DependencyError: the extension is not built.
        DeviceError: surfaces on a GPU, and no lane is current, or the GPU cannot serve.
    """
    check_counts(frames, threads, height=height, width=width)
    surfaces = _surfaces(frames)
    if surfaces and surfaces[0].device != HOST:
        return cuda.letterbox(surfaces, height, width)
    if _wants_reference():
        return _toned(np.stack([reference.letterbox(picture, height, width) for picture in _plain(frames)]), frames)
    if surfaces:
        return host.letterbox(surfaces, height, width, threads=threads)
    pictures = [_frame(planes) for planes in _planes(frames)]
    out: Pixels = np.empty((len(frames), 3, height, width), np.uint8)
    kernels().letterbox(pictures, out, threads)
    return _toned(out, frames)


@overload
def crop(frames: Sequence[Planes], matrices: ArrayLike, size: int, *, threads: int = 1) -> Pixels: ...
@overload
def crop(
    frames: Sequence[Planes | Surface], matrices: ArrayLike, size: int, *, threads: int = 1
) -> Pixels | DeviceArray: ...
def crop(
    frames: Sequence[Planes | Surface], matrices: ArrayLike, size: int, *, threads: int = 1
) -> Pixels | DeviceArray:
    """Cuts one square out of each picture: uint8 [N, 3, size, size], planar RGB.

    Pixel (column, row) of the crop shows the picture at matrix @ (column + 0.5, row + 0.5, 1), in pixels of the
    picture. It averages a box of the picture as wide and high as the matrix makes a crop pixel, and at least one
    sample: bilinear interpolation when magnifying, antialiased when shrinking. The box is upright in the picture
    however the crop is turned. Where a box is wider than 3 samples, it averages blocks of samples, and of blocks wider
    than 16 samples every few. Outside of the picture its edge is repeated.

    Args:
        frames: planes of 8 to 12 bits, or surfaces; sizes and formats may differ. Surfaces on a GPU give a
            `DeviceArray` there, on the current lane, queued and not waited for.
        matrices: float32 [N, 2, 3], crop pixels to picture pixels; see `similarity`.
        size: side of the crop in pixels.
        threads: how many to use; the result does not depend on it.

    Raises:
        InputError: no frames, frames of several kinds or in several places, matrices of another shape or with numbers
            that are not finite, a size or a number of threads below 1, or planes that are no picture.
        DependencyError: the extension is not built.
        DeviceError: surfaces on a GPU, and no lane is current, or the GPU cannot serve.
    """
    check_counts(frames, threads, size=size)
    surfaces = _surfaces(frames)
    if surfaces and surfaces[0].device != HOST:
        return cuda.crop(surfaces, matrices, size)
    maps = check_matrices(matrices, len(frames))
    if _wants_reference():
        pairs = zip(_plain(frames), maps, strict=True)
        return _toned(np.stack([reference.crop(picture, matrix, size) for picture, matrix in pairs]), frames)
    if surfaces:
        return host.crop(surfaces, maps, size, threads=threads)
    pictures = [_frame(planes) for planes in _planes(frames)]
    out: Pixels = np.empty((len(frames), 3, size, size), np.uint8)
    kernels().crop(pictures, maps, out, threads)
    return _toned(out, frames)


@overload
def unmix(pictures: Pixels, full_range: bool) -> Pixels: ...
@overload
def unmix(pictures: DeviceArray, full_range: bool) -> DeviceArray: ...
def unmix(pictures: Pixels | DeviceArray, full_range: bool) -> Pixels | DeviceArray:
    """The planes that DALI made RGB of: uint8 [N, 3 * H * W // 2].

    Of each picture luma [H, W], then both planes of chroma [H // 2, W // 2]. DALI 2.4 interpolates chroma, converts by
    BT.601 with black and the zero of chroma a little off, and rounds (`dfx.ops.reference.mixed`). All of it can be
    undone: the weights of luma in red, green and blue take out chroma, so that rounding, of half a level a colour,
    leaves less than half a level of luma, which is a whole number; and chroma is what 4 pixels say of it in the mean,
    sharpened by the inverse of what interpolation does to it. Luma is exact where no colour was clipped at 0 or 255;
    of chroma about one sample in a hundred is a level off.

    Args:
        pictures: uint8 [N, H, W, 3] of even sides, as DALI gives them. Those on a GPU give a `DeviceArray` there, on
            their lane, queued and not waited for.
        full_range: which range DALI took the samples for, see `Planes`.

    Raises:
        InputError: pictures of another shape. DependencyError: the extension is not built. DeviceError: the GPU cannot
            serve.
    """
    if isinstance(pictures, DeviceArray):
        return cuda.unmix(pictures, full_range)
    if _wants_reference():
        check_rgb(pictures.shape, pictures.dtype)
        return reference.unmix(pictures, full_range)
    return host.unmix(pictures, full_range)


def decode_faces(
    scores: ArrayLike | DeviceArray,
    boxes: ArrayLike | DeviceArray,
    landmarks: ArrayLike | DeviceArray,
    height: int,
    width: int,
    *,
    strides: Sequence[int],
    min_sizes: Sequence[Sequence[float]],
    variances: tuple[float, float],
    threshold: float,
    iou: float = 0.4,
    limit: int = 100,
    votes: int = 1,
) -> list[Faces]:
    """Turns a detector's output into faces, one `Faces` a picture, best first, in pixels of the canvas.

    Anchors that score enough are decoded from SSD's deltas (Liu et al., ECCV 2016; RetinaFace, Deng et al.,
    CVPR 2020): centre = anchor + delta * variances[0] * side, size = side * exp(delta * variances[1]), landmark =
    anchor + delta * variances[0] * side. The exponent is bounded to 4.2. Of equal scores the lower index comes first.
    Greedy non-maximum suppression follows, with votes: box and landmarks of a face are the means over all anchors left
    whose boxes overlap the best one's by more than half, weighted by the fourth power of their scores (after the box
    voting of Gidaris and Komodakis, ICCV 2015), since which anchor is the best changes with a grey level. The score is
    the mean of the `votes` best of these anchors; one that scores 0.1 or less, or is not there, counts 0. With one vote
    it is the best anchor's, as RetinaFace has it: what a single anchor takes for a face, and seldom is one, is then as
    sure as what all around it see. What is not a finite number is no face.

    Args:
        scores: float32 [N, A] in 0..1; boxes: float32 [N, A, 4] deltas; landmarks: float32 [N, A, 10] deltas.
            Anchors stand by level, then by row and column of its cells, then by size. All three may be on a GPU.
        height, width: pixels of the canvas.
        strides: pixels a cell, a level; min_sizes: sides of the square anchors of a cell, a level, pixels.
        variances: scales of centre and size deltas.
        threshold: scores must be above it.
        iou: a face is dropped where its intersection over union with a better one is above it.
        limit: faces kept a picture.
        votes: anchors whose mean is a face's score.

    Raises:
        InputError: shapes that do not fit each other or the canvas, numbers out of range, or arrays in several places.
        DependencyError: the extension is not built.
    """
    outputs = scores, boxes, landmarks
    on_gpu = [array for array in outputs if isinstance(array, DeviceArray)]
    if len(on_gpu) == len(outputs):
        return cuda.decode_faces(
            on_gpu[0],
            on_gpu[1],
            on_gpu[2],
            height,
            width,
            strides=strides,
            min_sizes=min_sizes,
            variances=variances,
            threshold=threshold,
            iou=iou,
            limit=limit,
            votes=votes,
        )
    if on_gpu:
        raise InputError("scores, boxes and landmarks must all be on a GPU, or all on the host")
    anchors = count_anchors(height, width, strides, min_sizes)
    arrays = floats(scores), floats(boxes), floats(landmarks)
    check_outputs([array.shape for array in arrays], anchors, (width, height), limit, votes)
    sides = [list(map(float, level)) for level in min_sizes]
    decode = reference.decode_faces if _wants_reference() else kernels().decode_faces
    found = decode(*arrays, height, width, list(strides), sides, variances, threshold, iou, limit, votes)
    return [Faces(*faces) for faces in found]


def require() -> None:
    """Raises DependencyError where pictures could not be worked on: better at the start of a run than on every row."""
    if not _wants_reference():
        kernels()


def level() -> str:
    """The instruction set in use: "avx512", "avx2", "portable", or "numpy" for the reference."""
    return "numpy" if _wants_reference() else str(kernels().level())


def _wants_reference() -> bool:
    chosen = os.environ.get("DFX_OPS", "")
    if chosen not in {"", "numpy"}:
        raise InputError(f"DFX_OPS is {chosen!r}; it may be 'numpy' (the slow reference) or unset (the extension)")
    return chosen == "numpy"


def _surfaces(frames: Sequence[Planes | Surface]) -> list[Surface]:
    """The frames where they are surfaces, none where they are planes, checked to be all of one kind in one place."""
    surfaces = [frame for frame in frames if isinstance(frame, Surface)]
    if surfaces and len(surfaces) < len(frames):
        raise InputError(f"{len(surfaces)} of {len(frames)} frames are surfaces: all must be, or none")
    if surfaces:
        check_surfaces(surfaces, surfaces[0].device)
    return surfaces


def _planes(frames: Sequence[Planes | Surface]) -> list[Planes]:
    return [frame for frame in frames if isinstance(frame, Planes)]


def _plain(frames: Sequence[Planes | Surface]) -> list[Planes | Pixels]:
    """What the reference takes, checked."""
    for planes in _planes(frames):
        _frame(planes)
    return [frame if isinstance(frame, Planes) else reference.upright(frame) for frame in frames]


def _toned(out: Pixels, frames: Sequence[Planes | Surface]) -> Pixels:
    """What was made of HDR, in the tones of SDR, in place."""
    for picture, planes in zip(out, frames, strict=True):
        if isinstance(planes, Planes) and planes.transfer != Transfer.SDR:
            picture[:] = as_sdr_of_bt601(picture, planes.transfer, planes.matrix)
    return out


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
