"""The detector's training scenes: pictures laid over each other, with other people's faces in their heads, in any
weather."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import IterableDataset

from dfx.ops import similarity
from dfx.torch.detector_data import Float, Labelled, Picture
from dfx.torch.teachers import floats

CANVAS = 320  # pixels of a training sample's side
SMALLEST = 9.0  # pixels: a smaller face is neither face nor background
SIZES = (14.0, 230.0)  # pixels of a face in a view, drawn evenly in octaves
CROWD = (14.0, 80.0)  # the same in a crowd
FLIPPED = [1, 0, 2, 4, 3]  # the landmarks of a mirrored face
AROUND = 0.7  # of a face's longer side: the width of what is cut out with it on every side, hair and shoulders

BLANK = Labelled(
    "blank",
    np.zeros((CANVAS, CANVAS, 3), np.uint8),
    floats(np.zeros((0, 4))),
    floats(np.zeros((0, 5, 2))),
    floats(np.zeros(0)),
)


class Scenes(IterableDataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """An endless stream of samples: pixels uint8 [3, 320, 320], boxes [K, 4], landmarks [K, 5, 2], targets [K].

    faces: for the heads of the people in the pictures. heads: to be pasted anywhere, alone or as a crowd.
    """

    def __init__(
        self, pictures: list[Labelled], faces: list[Labelled], heads: list[Labelled], seed: int, start: int = 0
    ) -> None:
        self._pictures, self._faces, self._heads, self._seed, self._start = pictures, faces, heads, seed, start

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
        for _ in range(rng.integers(3, 16) if rng.random() < 0.3 else 0):
            scene = _pasted(scene, _draw(self._heads, rng), rng, CROWD)
        while rng.random() < 0.3:
            scene = _pasted(scene, _draw(self._heads, rng), rng)
        return scene


def heads(pictures: list[Labelled], smallest: float = 24.0) -> Iterator[Labelled]:
    """The bare faces of pictures, each cut out with what is around it; others near it are unknown there."""
    for picture in pictures:
        sizes = (picture.boxes[:, 2:] - picture.boxes[:, :2]).max(axis=1, initial=0)
        marked = ~np.isnan(picture.marks).any(axis=(1, 2))
        for k in np.flatnonzero((picture.target == 1) & marked & (sizes >= smallest)):
            yield _cut(picture, int(k), AROUND * float(sizes[k]))


def _cut(picture: Labelled, k: int, margin: float) -> Labelled:
    height, width = picture.pixels.shape[:2]
    low = (picture.boxes[k, :2] - margin).clip(0).astype(int)
    high = np.ceil(picture.boxes[k, 2:] + margin).clip(0, [width, height]).astype(int)
    order = np.argsort(np.arange(len(picture.boxes)) != k, kind="stable")
    boxes, marks = picture.boxes[order] - np.tile(low, 2), picture.marks[order] - low
    target = floats(np.where(order == k, 1.0, np.nan))
    near = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < high - low).all(axis=1)
    pixels = np.ascontiguousarray(picture.pixels[low[1] : high[1], low[0] : high[0]])
    return Labelled(picture.name, pixels, floats(boxes[near]), floats(marks[near]), target[near])


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
        scale = min(_octaves(SIZES, rng) / max(8.0, float((box[2:] - box[:2]).max())), 3.0)
    return _turned(focus, floats(CANVAS * rng.uniform(0.1, 0.9, 2)), scale, rng)


def _octaves(sizes: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(sizes))))


def _turned(point: ArrayLike, place: Float, scale: float, rng: np.random.Generator) -> Float:
    """The matrix that brings a point of a picture to a place on the canvas: scaled, turned, squeezed a little.

    The angle's tails are heavy: most heads stand, some lie.
    """
    angle = np.radians(7 * rng.standard_t(3))
    squeeze = np.exp(rng.normal(0, 0.06) * np.array([1, -1]))
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * squeeze
    return floats(np.hstack([linear, (place - linear @ np.asarray(point))[:, None]]))


def _clipped(name: str, pixels: Picture, whole: Float, marks: Float, target: Float) -> Labelled:
    """Faces cut at the canvas; what is hardly seen, or too small, becomes unknown; what is outside goes."""
    boxes = whole.clip(0, CANVAS)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    share = area / np.maximum((whole[:, 2:] - whole[:, :2]).prod(axis=1), 1e-3)
    small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=CANVAS) < SMALLEST
    target = np.where((share < 0.6) | small, np.float32(np.nan), target)
    kept = area > 0
    return Labelled(name, pixels, boxes[kept], marks[kept], target[kept])


def _pasted(scene: Labelled, head: Labelled, rng: np.random.Generator, sizes: tuple[float, float] = SIZES) -> Labelled:
    """The scene with a turned head laid over it; faces below it become unknown."""
    box = head.boxes[0]
    scale = _octaves(sizes, rng) / float((box[2:] - box[:2]).max())
    matrix = _turned((box[:2] + box[2:]) / 2, floats(CANVAS * rng.random(2)), scale, rng)
    return _laid(scene, head, matrix, _outline(head, rng))


def _outline(head: Labelled, rng: np.random.Generator) -> Float:
    """What of a picture is pasted: all of it with hard or soft edges, or an oval about the head."""
    height, width = head.pixels.shape[:2]
    if rng.random() < 0.5:
        return _softened(_oval(head, rng.uniform(1.1, 1.5)), 0.04 * width)
    return _softened(np.ones((height, width), np.float32), rng.uniform(0.02, 0.15) * width * (rng.random() < 0.5))


def _oval(face: Labelled, size: float | Float) -> Float:
    """A mask of the face's box's oval, `size` times as large."""
    mask = np.zeros(face.pixels.shape[:2], np.float32)
    centre, half = (face.boxes[0, :2] + face.boxes[0, 2:]) / 2, (face.boxes[0, 2:] - face.boxes[0, :2]) / 2
    axes = np.maximum(half * size, 1).round().astype(int).tolist()
    cv2.ellipse(mask, centre.round().astype(int).tolist(), axes, 0, 0, 360, 1.0, -1)
    return mask


def _swapped(scene: Labelled, face: Labelled, rng: np.random.Generator) -> Labelled:
    """The scene in which one of its faces, bare or masked, shows a portrait's face: another person, now bare."""
    known = np.flatnonzero(~np.isnan(scene.target) & ~np.isnan(scene.marks).any(axis=(1, 2)))
    if not len(known):
        return scene
    k = rng.choice(known)
    width = face.pixels.shape[1]
    matrix = similarity(scene.marks[k : k + 1], face.marks[0] / width, width)[0]
    mask = _oval(face, rng.uniform(0.85, 1.05))
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
    scale = np.linalg.norm(matrix[:, :2], axis=0)
    mean = float(scale.mean())
    source = cv2.GaussianBlur(over.pixels, (0, 0), 0.4 / mean) if mean < 0.6 else over.pixels  # a warp does not filter
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
    if rng.random() < 0.35:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.2:
        out = np.clip(out + rng.normal(0, rng.uniform(2, 10), out.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(out)
