"""Picture: what a report shows of a window: a small picture of a frame and strips of face clips, as WebP.

Whole pictures in a file of their own are `dfx.stills`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from dfx import ops
from dfx.colour import LUMA, SDR_MATRIX, retaken
from dfx.ops.geometry import fit
from dfx.values import Pixels, Planes, Track, Transfer

SCENE = 384  # pixels of a scene's longer side
FACE = 128  # pixels of a face's side in a strip
MOST_BYTES = 18_000  # a picture: three a video, in base64, are 29 MB for 400 videos at the very worst; 11 MB is common
QUALITIES = (65, 40, 20, 5)  # WebP's, tried until a picture is small enough


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a person is shown of one window.

    start, end: seconds of its first and last picture; scene: its middle picture, small, RGB uint8 [H, W, 3]; faces:
    each track with its clip, uint8 [T, 3, CLOSE, CLOSE], the classifier's frames from forehead to chin.
    """

    start: float
    end: float
    scene: Pixels
    faces: tuple[tuple[Track, Pixels], ...]


def scene(planes: Planes) -> Pixels:
    """A whole picture, small: RGB uint8 [height, width, 3], coloured as the stream's matrix tag says."""
    scale = min(fit(planes.width, planes.height, SCENE, SCENE), Fraction(1))
    height, width = max(1, round(planes.height * scale)), max(1, round(planes.width * scale))
    rgb = ops.letterbox([planes], height, width)[0].transpose(1, 2, 0)
    matrix = planes.matrix if planes.transfer == Transfer.SDR else SDR_MATRIX
    return _coloured(rgb, matrix) if matrix in LUMA else rgb


def strip(clip: Pixels) -> Pixels:
    """A clip uint8 [T, 3, S, S] as one row of frames: uint8 [S, T * S, 3]."""
    frames, _, side, _ = clip.shape
    return np.ascontiguousarray(clip.transpose(2, 0, 3, 1).reshape(side, frames * side, 3))


def webp(picture: Pixels, height: int | None = None) -> bytes:
    """RGB uint8 [H, W, 3] as a WebP file of at most about MOST_BYTES, scaled to `height` pixels where one is given."""
    height = height or picture.shape[0]
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    small = frame.reformat(width, height, "yuv420p")
    for quality in QUALITIES:
        data = _encoded(small, quality)
        if len(data) <= MOST_BYTES:
            break
    return data


def sharpness(clip: Pixels) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) of a clip's grey levels: the median of frames."""
    grey = _grey(clip)
    middle = grey[:, 1:-1, 1:-1]
    edges = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * middle
    return float(np.median(edges.var(axis=(1, 2))))


def brightness(clip: Pixels) -> float:
    """The mean grey level of a clip, 0 to 255."""
    return float(_grey(clip).mean())


def _grey(clip: Pixels) -> NDArray[np.float64]:
    red, blue = LUMA["bt601"]
    return np.tensordot(clip.astype(np.float64), [red, 1 - red - blue, blue], axes=([1], [0]))


def _coloured(rgb: Pixels, matrix: str) -> Pixels:
    """What was converted as BT.601, as it looks by another matrix."""
    return np.asarray((rgb @ retaken("bt601", matrix).T).round().clip(0, 255), np.uint8)


def _encoded(frame: av.VideoFrame, quality: int) -> bytes:
    context = av.CodecContext.create("libwebp", "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base, context.options = Fraction(1, 25), {"quality": str(quality)}
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
