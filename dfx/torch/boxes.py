"""Arithmetic of faces' boxes, without a network: what labels, training and measurement share."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from dfx.values import Faces, Float


def floats(values: ArrayLike) -> Float:
    """As float32."""
    return np.asarray(values, np.float32)


def overlaps(first: Float, second: Float) -> Float:
    """Intersection over union of xyxy boxes: [A, 4], [B, 4] -> [A, B]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return floats(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6))


def suppress(found: Faces, threshold: float, overlap: float) -> Faces:
    """Keeps what scores above the threshold and overlaps nothing better by more than `overlap` (IoU)."""
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    corners = np.hstack([found.boxes[:, :2], sizes]).tolist()
    kept = np.asarray(cv2.dnn.NMSBoxes(corners, found.scores.tolist(), threshold, overlap), int).reshape(-1)
    return Faces(floats(found.boxes[kept]), floats(found.scores[kept]), floats(found.landmarks[kept]))
