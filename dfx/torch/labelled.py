"""A picture with its faces, as the detector's training has it; pictures from and to files, at other sizes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfx.values import Float

Picture = NDArray[np.uint8]
cv2.setNumThreads(0)  # its pool of threads would not survive the fork of a loader
CELL = 32  # pixels, the coarsest stride of all the detectors here
MASKED_TARGET = 0.6  # a masked face is to score less than a bare one: dfx looks for faces that it can judge


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture RGB uint8 [H, W, 3], and its faces: boxes [K, 4] xyxy, landmarks [K, 5, 2] (NaN where unknown).

    target: float32 [K], the score each is to get; NaN where nobody knows whether it is a face (it is left out of the
    loss).
    """

    name: str
    pixels: Picture
    boxes: Float
    marks: Float
    target: Float


def decoded(file: bytes) -> Picture:
    """The picture in an image file's bytes, RGB."""
    return np.asarray(cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def jpeg(pixels: Picture, quality: int, *options: int) -> bytes:
    """An RGB picture's JPEG, colour at half the size unless OpenCV's options say otherwise."""
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])[1].tobytes()


def padded(pixels: Picture) -> Picture:
    """The picture at the top left of a black one whose sides are multiples of CELL: uint8 [H', W', 3]."""
    height, width = (-(-side // CELL) * CELL for side in pixels.shape[:2])
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


def stretched(pixels: Picture, width: int, height: int) -> Picture:
    """The picture at another size, filtered where it shrinks."""
    if pixels.shape[1::-1] == (width, height):
        return pixels
    shrinks = width < pixels.shape[1] and height < pixels.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)
