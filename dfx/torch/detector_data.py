"""The detector's training data: photographs with human boxes, video frames labelled by teachers, faces to paste."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dfx.torch.boxes import floats, overlaps
from dfx.torch.dfdc_crops import Crops
from dfx.torch.labelled import MASKED_TARGET, Labelled, Picture, decoded, stretched
from dfx.torch.teachers import Teacher
from dfx.values import Faces, Float

CROP_SIDE = 184  # pixels of the DFDC's crops, among the other pictures
SURE = 0.5  # score from which on a teacher's word counts
NEW, SAME, THERE = 0.3, 0.4, 0.5
"""IoU of two boxes: below the first a face is none that a human saw; from the second on two teachers mean the same
one; above the third a teacher's landmarks are those of a human's box."""
LONG_SIDE = 640  # pixels of a picture's longer side, as in evaluation and inference


def split_of(name: str) -> str:
    """ "test" for a third of the names, by hash; "validation" for a tenth of the rest; else "train"."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    if number % 3 == 0:
        return "test"
    return "validation" if number // 3 % 10 == 0 else "train"


def read(path: Path) -> Picture:
    """A picture file, RGB."""
    return decoded(path.read_bytes())


def photographs(folder: Path, split: str) -> Iterator[tuple[str, Picture, Float, list[str], Float]]:
    """The pictures of one split, stretched back where they were squeezed, at a longer side of 640 pixels.

    Yields name, pixels, boxes [K, 4], classes, landmarks [K, 5, 2].
    """
    rows = defaultdict(list)
    with (folder / "annotations.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            rows[row["image"]].append(row)
    for name in sorted(name for name in rows if split_of(name) == split):
        pixels = read(folder / "images" / name)
        first = rows[name][0]
        scale = LONG_SIDE / max(float(first["orig_width"]), float(first["orig_height"]))
        size = round(float(first["orig_width"]) * scale), round(float(first["orig_height"]) * scale)
        ratio = floats([size[0] / pixels.shape[1], size[1] / pixels.shape[0]])
        boxes = floats([[float(row[key]) for key in "xywh"] for row in rows[name]]) * np.tile(ratio, 2)
        boxes[:, 2:] += boxes[:, :2]
        marks = np.stack([_points(row) for row in rows[name]]) * ratio
        yield name, stretched(pixels, *size), boxes, [row["class"] for row in rows[name]], marks


def _points(row: dict[str, str]) -> Float:
    names = ("r_eye", "l_eye", "nose", "r_mouth", "l_mouth")
    return floats([[row[f"{name}_{axis}"] or "nan" for axis in "xy"] for name in names])


def video_frames(folder: Path, count: int) -> Iterator[tuple[str, Picture]]:
    """About `count` evenly spaced frames of each labelled video, RGB, at a longer side of at most 640 pixels."""
    with (folder / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in tqdm(rows, "reading videos", mininterval=20):
        wanted = set(np.linspace(0, int(row["frames"]) - 2, count).astype(int).tolist())
        with av.open(str(folder / row["filename"])) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    yield row["filename"], fitted(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


def fitted(pixels: Picture) -> Picture:
    """The picture at a longer side of at most 640 pixels."""
    scale = LONG_SIDE / max(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels


def targets(classes: list[str]) -> Float:
    """The scores that faces of the annotations' classes are to get: float32 [K]."""
    return floats([1.0 if kind == "face" else MASKED_TARGET for kind in classes])


def label(
    name: str, pixels: Picture, teachers: list[Teacher], boxes: Float, classes: list[str], marks: Float
) -> Labelled:
    """Human boxes first; landmarks, and faces that the humans left out, from the teachers.

    A face that all teachers see is a face; one that only some see is left out of the loss.
    """
    boxes = boxes.reshape(-1, 4)
    seen = [teacher.detect(pixels, threshold=0.3) for teacher in teachers]
    marks = _completed(boxes, marks.reshape(-1, 5, 2), seen[0])
    first, *others = (found[~_beside(found.boxes, boxes, NEW)] for found in seen)
    agreed = first.scores > SURE
    for other in others:
        agreed &= _beside(first.boxes, other.boxes[other.scores > SURE], SAME)
    doubtful = [other.boxes[~_beside(other.boxes, first.boxes, SAME)] for other in others]
    unknown = sum(map(len, doubtful))
    more_marks = np.where(agreed[:, None, None], first.landmarks, np.nan), np.full((unknown, 5, 2), np.nan)
    more_targets = np.where(agreed, 1.0, np.nan), np.full(unknown, np.nan)
    return Labelled(
        name,
        pixels,
        floats(np.concatenate([boxes, first.boxes, *doubtful])),
        floats(np.concatenate([marks, *more_marks])),
        floats(np.concatenate([targets(classes), *more_targets])),
    )


def _completed(boxes: Float, marks: Float, found: Faces) -> Float:
    """The landmarks [K, 5, 2] of boxes [K, 4]; where some are unknown, those of the face that is found there."""
    if not len(boxes) or not len(found):
        return marks
    shared = overlaps(boxes, found.boxes)
    lacking = np.isnan(marks).any(axis=(1, 2)) & (shared.max(axis=1) > THERE)
    return floats(np.where(lacking[:, None, None], found.landmarks[shared.argmax(axis=1)], marks))


def _beside(boxes: Float, others: Float, overlap: float) -> NDArray[np.bool_]:
    """Whether each of the boxes [A, 4] has one of the others [B, 4] in its place, from an IoU of so much: bool [A]."""
    return np.asarray(overlaps(boxes, others).max(axis=1, initial=0) >= overlap)


def portraits(folder: Path) -> Iterator[Labelled]:
    """The face photographs (LFW), one face each, with the boxes and points of their list."""
    with (folder / "faces.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            pixels = read(folder / row["filename"])
            x, y, w, h = (float(row[key]) for key in "xywh")
            names = ("eye_a", "eye_b", "nose", "mouth_a", "mouth_b")
            marks = floats([[row[f"{name}_{axis}"] for axis in "xy"] for name in names])
            box = floats([[x, y, x + w, y + h]])
            yield Labelled(row["filename"], pixels, box, marks[None], np.ones(1, np.float32))


def dfdc_faces(crops: Crops, teacher: Teacher, count: int) -> Iterator[Labelled]:
    """`count` faces of real DFDC videos, spread over the whole set, as a teacher sees them; tight crops."""
    reals = [entry for entry in crops.entries if not entry.fake]
    for entry in tqdm(reals[:: max(1, len(reals) // count)], "labelling crops", mininterval=20):
        pixels = cv2.resize(read(crops.jpeg(entry)), (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA)
        margin = len(pixels) // 4
        around = cv2.copyMakeBorder(pixels, *(margin,) * 4, cv2.BORDER_REPLICATE)
        found = teacher.detect(around, 0.6)
        if len(found) == 1:
            yield Labelled(entry.name, pixels, found.boxes - margin, found.landmarks - margin, np.ones(1, np.float32))
