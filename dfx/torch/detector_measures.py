"""Average precision and recall of a face detector on photographs with human boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfx.torch.boxes import overlaps
from dfx.torch.labelled import Picture
from dfx.values import Faces

SMALLEST = 32.0  # pixels of a face's shorter side, in pictures of 640 pixels
OVERLAP = 0.5  # intersection over union from which on a face is found
LOWEST = 0.02  # score from which on detections count in the precision-recall curve
CLASSES = {"bare": {"face"}, "masked": {"face_masked", "face_mask_badly_worn"}}
CLASSES["together"] = CLASSES["bare"] | CLASSES["masked"]
Photograph = tuple[str, Picture, NDArray[np.float32], list[str], NDArray[np.float32]]


def precision(
    pictures: Sequence[Photograph],
    found: Sequence[Faces],
    kinds: set[str],
    threshold: float,
    smallest: float = SMALLEST,
) -> tuple[float, float]:
    """Average precision (area under the interpolated curve, VOC 2010), and recall at `threshold`; NaN without a face.

    Faces of other kinds or below `smallest` pixels neither count nor harm; nor do detections that match one, or that
    are themselves below that and match nothing (the convention of COCO's area ranges).
    """
    scores, hits, total = [], [], 0
    for (_, _, boxes, classes, _), faces in zip(pictures, found, strict=True):
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= smallest
        wanted = large & np.isin(classes, list(kinds))
        total += int(wanted.sum())
        for score, hit in _judge(faces, boxes, wanted, smallest):
            scores.append(score)
            hits.append(hit)
    if not total:
        return np.nan, np.nan
    found_at, right_at = np.array(scores), np.array(hits, bool)
    right = right_at[np.argsort(-found_at, kind="stable")].cumsum()
    curve = right / np.arange(1, len(right) + 1)
    curve = np.maximum.accumulate(curve[::-1])[::-1]
    recall = right / total
    area = (np.diff(recall, prepend=0) * curve).sum()
    return float(area), float((right_at & (found_at > threshold)).sum() / total)


def _judge(
    faces: Faces, boxes: NDArray[np.float32], wanted: NDArray[np.bool_], smallest: float
) -> list[tuple[float, bool]]:
    shared = overlaps(faces.boxes, boxes)
    sizes = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1, initial=np.inf)
    free, judged = wanted.copy(), []
    for i in np.argsort(-faces.scores, kind="stable"):
        best = int(np.where(free, shared[i], -1).argmax()) if len(boxes) else -1
        if best >= 0 and free[best] and shared[i, best] >= OVERLAP:
            free[best] = False
            judged.append((float(faces.scores[i]), True))
        elif not (shared[i, ~wanted] >= OVERLAP).any() and sizes[i] >= smallest:
            judged.append((float(faces.scores[i]), False))
    return judged
