"""The detector's training data: photographs with human boxes, video frames labelled by teachers, pasted portraits."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm import tqdm

from dfx.ops import similarity
from dfx.torch.dfdc_crops import Crops
from dfx.torch.teachers import Teacher, floats, overlaps
from dfx.values import Faces

Picture = NDArray[np.uint8]
cv2.setNumThreads(0)  # its pool of threads would not survive the fork of a loader
Float = NDArray[np.float32]
CROP_SIDE = 184  # pixels of the DFDC's crops, among the other pictures
LONG_SIDE = 640  # pixels of a picture's longer side, as in evaluation and inference
CANVAS = 320  # pixels of a training sample's side
SMALLEST = 9.0  # pixels: a smaller face is neither face nor background
FLIPPED = [1, 0, 2, 4, 3]  # the landmarks of a mirrored face
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


def split_of(name: str) -> str:
    """ "test" for a third of the names, by hash; "validation" for a tenth of the rest; else "train"."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    if number % 3 == 0:
        return "test"
    return "validation" if number // 3 % 10 == 0 else "train"


def read(path: Path) -> Picture:
    """A picture file, RGB."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


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
        shrinks = ratio.max() < 1
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        yield name, pixels, boxes, [row["class"] for row in rows[name]], marks


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


def label(
    name: str, pixels: Picture, teachers: list[Teacher], boxes: Float, classes: list[str], marks: Float
) -> Labelled:
    """Human boxes first; landmarks, and faces that the humans left out, from the teachers.

    A face that all teachers see is a face; one that only some see is left out of the loss.
    """
    target = floats([1.0 if kind == "face" else MASKED_TARGET for kind in classes])
    boxes, marks = boxes.reshape(-1, 4), marks.reshape(-1, 5, 2).copy()
    seen = [teacher.detect(pixels, threshold=0.3) for teacher in teachers]
    first = seen[0]
    if len(boxes) and len(first):
        shared = overlaps(boxes, first.boxes)
        lacking = np.isnan(marks).any(axis=(1, 2)) & (shared.max(axis=1) > 0.5)
        marks[lacking] = first.landmarks[shared.argmax(axis=1)[lacking]]
    extra = [_extra(found, boxes) for found in seen]
    agreed = np.ones(len(extra[0][0]), bool)
    for other, _, scores in extra[1:]:
        shared = overlaps(extra[0][0], other) * (scores > 0.5)
        agreed &= shared.max(axis=1, initial=0) > 0.4
    agreed &= extra[0][2] > 0.5
    doubtful = [other[overlaps(other, extra[0][0]).max(axis=1, initial=0) < 0.4] for other, _, _ in extra[1:]]
    new_boxes = np.concatenate([extra[0][0], *doubtful])
    new_marks = np.full((len(new_boxes), 5, 2), np.nan, np.float32)
    new_marks[: len(agreed)][agreed] = extra[0][1][agreed]
    new_target = np.full(len(new_boxes), np.nan, np.float32)
    new_target[: len(agreed)][agreed] = 1.0
    return Labelled(
        name,
        pixels,
        np.concatenate([boxes, new_boxes]).astype(np.float32),
        np.concatenate([marks, new_marks]).astype(np.float32),
        np.concatenate([target, new_target]),
    )


def _extra(found: Faces, boxes: Float) -> tuple[Float, Float, Float]:
    new = overlaps(found.boxes, boxes).max(axis=1, initial=0) < 0.3
    return found.boxes[new], found.landmarks[new], found.scores[new]


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


BLANK = Labelled(
    "blank",
    np.zeros((CANVAS, CANVAS, 3), np.uint8),
    floats(np.zeros((0, 4))),
    floats(np.zeros((0, 5, 2))),
    floats(np.zeros(0)),
)


class Scenes(IterableDataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """An endless stream of samples: pixels uint8 [3, 320, 320], boxes [K, 4], landmarks [K, 5, 2], targets [K]."""

    def __init__(self, pictures: list[Labelled], faces: list[Labelled], seed: int, start: int = 0) -> None:
        self._pictures, self._faces, self._seed, self._start = pictures, faces, seed, start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yields sample after sample; they depend on the seed and their number alone."""
        number = self._start
        while True:
            rng = np.random.default_rng([self._seed, number])
            scene = self._scene(rng)
            yield (
                torch.from_numpy(_weather(scene.pixels, rng)).permute(2, 0, 1),
                torch.from_numpy(scene.boxes),
                torch.from_numpy(scene.marks),
                torch.from_numpy(scene.target),
            )
            number += 1

    def _scene(self, rng: np.random.Generator) -> Labelled:
        scene = BLANK
        for place in (_covering, _focused):
            picture = _draw(self._pictures, rng)
            scene = _laid(scene, picture, place(picture, rng), np.ones(picture.pixels.shape[:2], np.float32))
        while rng.random() < 0.4:
            scene = _swapped(scene, _draw(self._faces, rng), rng)
        while rng.random() < 0.3:
            scene = _pasted(scene, _draw(self._faces, rng), rng)
        return scene


def _draw(pictures: list[Labelled], rng: np.random.Generator) -> Labelled:
    """One of the pictures, mirrored every other time."""
    picture = pictures[rng.integers(len(pictures))]
    return _mirrored(picture) if rng.random() < 0.5 else picture


def _mirrored(picture: Labelled) -> Labelled:
    width = picture.pixels.shape[1]
    boxes = picture.boxes[:, [2, 1, 0, 3]] * floats([-1, 1, -1, 1]) + floats([width, 0, width, 0])
    marks = picture.marks[:, FLIPPED] * floats([-1, 1]) + floats([width, 0])
    return Labelled(picture.name, np.ascontiguousarray(picture.pixels[:, ::-1]), boxes, marks, picture.target)


def _covering(picture: Labelled, rng: np.random.Generator) -> Float:
    """The matrix that lays a picture over the whole canvas."""
    size = np.array(picture.pixels.shape[1::-1])
    scale = CANVAS / size.min() * np.exp(rng.uniform(0, 0.7))
    return floats(np.hstack([np.eye(2) * scale, ((CANVAS - size * scale) * rng.random(2))[:, None]]))


def _focused(picture: Labelled, rng: np.random.Generator) -> Float:
    """The matrix of a turned, scaled view in which some face has a size drawn evenly in octaves."""
    known = np.flatnonzero(~np.isnan(picture.target))
    focus = np.array(picture.pixels.shape[1::-1]) * rng.random(2)
    scale = np.exp(rng.uniform(np.log(0.4), np.log(1.6)))
    if len(known) and rng.random() < 0.75:
        bare = known[picture.target[known] == 1]
        box = picture.boxes[rng.choice(bare if len(bare) and rng.random() < 0.5 else known)]
        focus = (box[:2] + box[2:]) / 2
        scale = np.exp(rng.uniform(np.log(14), np.log(230))) / max(8.0, float((box[2:] - box[:2]).max()))
        scale = min(scale, 3.0)
    matrix = cv2.getRotationMatrix2D(focus.tolist(), rng.normal(0, 8), scale)
    matrix[:, 2] += CANVAS * rng.uniform(0.1, 0.9, 2) - focus
    return floats(matrix)


def _clipped(name: str, pixels: Picture, whole: Float, marks: Float, target: Float) -> Labelled:
    """Faces cut at the canvas; what is hardly seen, or too small, becomes unknown; what is outside goes."""
    boxes = whole.clip(0, CANVAS)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    share = area / np.maximum((whole[:, 2:] - whole[:, :2]).prod(axis=1), 1e-3)
    small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=CANVAS) < SMALLEST
    target = np.where((share < 0.6) | small, np.float32(np.nan), target)
    kept = area > 0
    return Labelled(name, pixels, boxes[kept], marks[kept], target[kept])


def _pasted(scene: Labelled, face: Labelled, rng: np.random.Generator) -> Labelled:
    """The scene with a turned portrait laid over it, its edges hard or soft; faces below it become unknown."""
    height, width = face.pixels.shape[:2]
    scale = np.exp(rng.uniform(np.log(16), np.log(230))) / float((face.boxes[0, 2:] - face.boxes[0, :2]).max())
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 10), scale)
    turn[:, 2] += CANVAS * rng.random(2) - [width / 2, height / 2]
    soft = rng.uniform(0.02, 0.15) * width if rng.random() < 0.5 else 0.0
    mask = np.ones((height, width), np.float32)
    return _laid(scene, face, turn, _softened(mask, soft))


def _swapped(scene: Labelled, face: Labelled, rng: np.random.Generator) -> Labelled:
    """The scene in which one of its faces, bare or masked, shows a portrait's face: another person, now bare."""
    known = np.flatnonzero(~np.isnan(scene.target) & ~np.isnan(scene.marks).any(axis=(1, 2)))
    if not len(known):
        return scene
    k = rng.choice(known)
    height, width = face.pixels.shape[:2]
    matrix = similarity(scene.marks[k : k + 1], face.marks[0] / width, width)[0]
    centre, half = (face.boxes[0, :2] + face.boxes[0, 2:]) / 2, (face.boxes[0, 2:] - face.boxes[0, :2]) / 2
    mask = np.zeros((height, width), np.float32)
    axes = half * rng.uniform(0.85, 1.05)
    cv2.ellipse(mask, (centre.round().astype(int).tolist()), axes.round().astype(int).tolist(), 0, 0, 360, 1.0, -1)
    rest = np.arange(len(scene.boxes)) != k
    others = Labelled(scene.name, scene.pixels, scene.boxes[rest], scene.marks[rest], scene.target[rest])
    swapped = _laid(others, face, matrix, _softened(mask, 0.06 * width))
    swapped.boxes[-1:] = scene.boxes[k : k + 1]  # the head stays where it was
    return swapped


def _softened(mask: Float, width: float) -> Float:
    """The mask fading to its inside over about `width` pixels."""
    if width < 1:
        return mask
    inner = cv2.erode(mask, np.ones((2 * int(width) + 1,) * 2), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return floats(cv2.GaussianBlur(inner, (0, 0), width / 2, borderType=cv2.BORDER_CONSTANT))


def _laid(scene: Labelled, over: Labelled, matrix: Float, mask: Float) -> Labelled:
    """The scene with a picture and its faces laid over it where the mask says so.

    Faces below it go, or become unknown where a part of them still shows.
    """
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    source = (
        cv2.GaussianBlur(over.pixels, (0, 0), 0.4 / scale) if scale < 0.6 else over.pixels
    )  # a warp does not filter
    alpha = cv2.warpAffine(mask, matrix, (CANVAS, CANVAS))
    warped = cv2.warpAffine(source, matrix, (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
    pixels = cv2.blendLinear(warped, scene.pixels, alpha, 1 - alpha)
    hidden = floats([_mean(alpha, box) for box in scene.boxes])
    target = np.where(hidden > 0.1, np.float32(np.nan), scene.target)[hidden < 0.9]
    middle = (over.boxes[:, :2] + over.boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (over.boxes[:, 2:] - over.boxes[:, :2]) / 2 * scale
    boxes = np.concatenate([scene.boxes[hidden < 0.9], np.hstack([middle - half, middle + half])])
    marks = np.concatenate([scene.marks[hidden < 0.9], over.marks @ matrix[:, :2].T + matrix[:, 2]])
    return _clipped(
        over.name,
        np.asarray(pixels, np.uint8),
        floats(boxes),
        floats(marks),
        np.concatenate([target, over.target]),
    )


def _mean(alpha: Float, box: Float) -> float:
    left, top, right, bottom = box.round().clip(0, CANVAS - 1).astype(int)
    return float(alpha[top : bottom + 1, left : right + 1].mean())


def _weather(pixels: Picture, rng: np.random.Generator) -> Picture:
    """Light, colour, blur, noise and compression, each now and then."""
    out = pixels
    if rng.random() < 0.7:
        gain = rng.uniform(0.4, 1.4) * rng.normal(1, 0.07, 3)
        out = np.clip(out * floats(gain) + rng.uniform(-25, 25), 0, 255).astype(np.uint8)
    if rng.random() < 0.12:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.2:
        out = np.clip(out + rng.normal(0, rng.uniform(2, 10), out.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(out)
