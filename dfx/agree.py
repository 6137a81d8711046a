"""Agree: boxes of several detectors in one picture -> which of them show the same face, and how many say so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfx.values import Float

IOU = 0.4  # intersection over union from which on two boxes are one face: detectors cut foreheads and chins differently


def overlaps(first: Float, second: Float) -> NDArray[np.float64]:
    """The intersection over union of every box of one list with every box of another: [N, 4] and [M, 4] -> [N, M]."""
    one, two = first[:, None].astype(np.float64), second[None].astype(np.float64)
    shared = (np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2])).clip(0).prod(axis=2)
    total = _areas(one) + _areas(two) - shared
    return np.asarray(shared / np.maximum(total, 1e-9))


def matched(first: Float, second: Float, iou: float = IOU) -> list[tuple[int, int]]:
    """Pairs of boxes that overlap by at least `iou`, the best first, no box in two of them."""
    shares, pairs = overlaps(first, second), list[tuple[int, int]]()
    for place in np.argsort(-shares, axis=None, kind="stable"):
        row, column = divmod(int(place), shares.shape[1])
        if shares[row, column] < iou:
            break
        if all(row != taken[0] and column != taken[1] for taken in pairs):
            pairs.append((row, column))
    return pairs


def grouped(boxes: Sequence[Float], iou: float = IOU) -> list[dict[int, int]]:
    """The faces of one picture by all detectors together: for each, which detector shows it, and with which box.

    boxes: float32 [K, 4], a detector each. Each detector's boxes are matched in turn with the mean boxes of the faces
    that those before it found; what matches none is a face of its own. The length of a face is its number of votes.
    """
    faces: list[dict[int, int]] = []
    for detector, found in enumerate(boxes):
        known = [np.mean([boxes[d][n] for d, n in face.items()], axis=0) for face in faces]
        taken = dict(matched(found, np.array(known, np.float32).reshape(-1, 4), iou))
        for number in range(len(found)):
            if number in taken:
                faces[taken[number]][detector] = number
            else:
                faces.append({detector: number})
    return faces


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1))
