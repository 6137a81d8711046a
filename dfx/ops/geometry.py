"""Where things lie: the canvas of the detector, and the similarity that aligns a face."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from dfx.errors import InputError
from dfx.values import Float

CANVAS_STEP = 32
"""Canvases are multiples of this many pixels: the largest stride of the detectors."""

LARGEST_MAGNIFICATION = 2

SUBSAMPLINGS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A canvas, and the scaled picture at its top left.

    scale: canvas pixels a picture pixel, the same in both axes; width, height: pixels of the canvas.
    """

    scale: float
    width: int
    height: int


def subsampling(luma: int, chroma: int) -> int:
    """How many luma samples a chroma sample covers along an axis; raises InputError where the counts do not fit."""
    for factor in SUBSAMPLINGS:
        if -(-luma // factor) == chroma:
            return factor
    raise InputError(f"{luma} luma and {chroma} chroma samples: their ratio must be one of {SUBSAMPLINGS}, rounded up")


def fit(width: int, height: int, canvas_width: int, canvas_height: int) -> Fraction:
    """The factor that fits a picture into a canvas; small pictures are magnified no more than twice."""
    return min(Fraction(canvas_width, width), Fraction(canvas_height, height), Fraction(LARGEST_MAGNIFICATION))


def letterbox_geometry(width: int, height: int, long_side: int) -> Letterbox:
    """The canvas for pictures of width x height pixels whose longer side becomes `long_side` pixels.

    `long_side` is rounded up to a multiple of 32, and so are the sides of the canvas. Pictures are magnified no more
    than twice, so the canvas of a small one is smaller. Dividing coordinates of the canvas by `scale` gives pixels of
    the picture.

    Raises:
        InputError: a size below 1.
    """
    if min(width, height, long_side) < 1:
        raise InputError(f"a picture of {width}x{height} in {long_side} pixels: all three must be at least 1")
    long_side = _step_up(Fraction(long_side))
    scale = fit(width, height, long_side, long_side)
    return Letterbox(float(scale), _step_up(width * scale), _step_up(height * scale))


def _step_up(size: Fraction) -> int:
    return -(-size // CANVAS_STEP) * CANVAS_STEP


def similarity(landmarks: ArrayLike, template: ArrayLike, size: int) -> Float:
    """The least-squares similarities from a template to faces: matrices for `crop`, float32 [N, 2, 3].

    A column (x, y, 1) of crop pixels times matrix n gives pixels of picture n. The closed form in two dimensions of
    Umeyama (1991), solved from the template to the picture, without reflection. Landmarks that all fall on one point
    give a matrix that maps the whole crop there.

    Args:
        landmarks: [N, 5, 2] points in pixels of the picture.
        template: [5, 2] where they shall lie in the crop, in units of its side.
        size: side of the crop in pixels.

    Raises:
        InputError: other shapes, numbers that are not finite, a size below 1, a template whose points are all one.
    """
    points = np.asarray(landmarks, np.float64)
    targets = np.asarray(template, np.float64) * size
    if points.ndim != 3 or points.shape[1:] != targets.shape or targets.ndim != 2 or targets.shape[1] != 2:
        raise InputError(f"landmarks [N, P, 2] and a template [P, 2] are needed; got {points.shape}, {targets.shape}")
    if size < 1 or not (np.isfinite(points).all() and np.isfinite(targets).all()):
        raise InputError(f"a crop of {size} pixels: the size must be at least 1, and every landmark a finite number")
    centre = targets.mean(axis=0)
    x, y = (targets - centre).T
    spread = np.sum(x**2 + y**2)
    if spread == 0:
        raise InputError(f"the template's points are all {targets[0] / size}: at least two must differ")
    mean = points.mean(axis=1)
    u, v = np.moveaxis(points - mean[:, None], 2, 0)
    cos, sin = (u @ x + v @ y) / spread, (v @ x - u @ y) / spread
    linear = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    shift = mean - linear @ centre
    return np.concatenate([linear, shift[:, :, None]], axis=2).astype(np.float32)
