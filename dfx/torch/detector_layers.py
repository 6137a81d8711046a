"""Pictures with faces laid over one another: where the faces are then, and which of them can still be seen."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

from dfx.ops import similarity
from dfx.torch.boxes import floats
from dfx.torch.labelled import Labelled, Picture
from dfx.values import Float

CANVAS = 320  # pixels of a training sample's side
SMALLEST = 9.0  # pixels: a smaller face is neither face nor background
SIZES = (14.0, 230.0)  # pixels of a face in a view, drawn evenly in octaves
AS_THEY_ARE = (0.4, 1.25)  # scales of a photograph that is shown as it is
FLIPPED = [1, 0, 2, 4, 3]  # the landmarks of a mirrored face
HIDDEN = 0.5  # share of a face's box: with more of it covered, nobody knows whether it is to be found
SHRUNK = 0.6  # a warp does not filter: what it would shrink to less is shrunk by area beforehand


def mirrored(picture: Labelled) -> Labelled:
    """The picture as a mirror shows it."""
    width = picture.pixels.shape[1]
    boxes = picture.boxes[:, [2, 1, 0, 3]] * floats([-1, 1, -1, 1]) + floats([width, 0, width, 0])
    marks = picture.marks[:, FLIPPED] * floats([-1, 1]) + floats([width, 0])
    return Labelled(picture.name, np.asarray(cv2.flip(picture.pixels, 1), np.uint8), boxes, marks, picture.target)


def covered(picture: Labelled, rng: np.random.Generator) -> Labelled:
    """A square part of a picture, as the whole canvas."""
    side = max(1, int(min(picture.pixels.shape[:2]) / np.exp(rng.uniform(0, 0.7))))
    left, top = (int(room * rng.random()) for room in (n - side + 1 for n in picture.pixels.shape[1::-1]))
    scale, corner = np.float32(CANVAS / side), floats([left, top])
    pixels = _scaled(picture.pixels[top : top + side, left : left + side], CANVAS, CANVAS)
    boxes, marks = (picture.boxes - np.tile(corner, 2)) * scale, (picture.marks - corner) * scale
    return clipped(picture.name, pixels, boxes, marks, picture.target)


def _scaled(pixels: Picture, width: int, height: int) -> Picture:
    """The pixels at another size; filtered only where it matters: by area takes five times as long."""
    method = cv2.INTER_LINEAR if width > SHRUNK * pixels.shape[1] else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)


def viewed(scene: Labelled, picture: Labelled, rng: np.random.Generator, plain: bool) -> Labelled:
    """The scene with a picture laid over it: upright, about as it is; or turned, at a scale that gives some face a size
    drawn evenly in octaves."""
    known = np.flatnonzero(~np.isnan(picture.target))
    focus = np.array(picture.pixels.shape[1::-1]) * rng.random(2)
    scale = _octaves(AS_THEY_ARE if plain else (0.4, 1.6), rng)
    if len(known) and rng.random() < 0.75:
        bare = known[picture.target[known] == 1]
        box = picture.boxes[rng.choice(bare if len(bare) and rng.random() < 0.5 else known)]
        focus = (box[:2] + box[2:]) / 2
        scale = scale if plain else min(_octaves(SIZES, rng) / max(8.0, float((box[2:] - box[:2]).max())), 3.0)
    small = _shrunk(picture, scale)
    ratio = small.pixels.shape[1] / picture.pixels.shape[1]
    place = floats(CANVAS * rng.uniform(0.1, 0.9, 2))
    linear = np.eye(2) * scale / ratio if plain else _turn(scale / ratio, rng)
    mask = np.ones(small.pixels.shape[:2], np.float32)
    return laid(scene, small, _bringing(focus * ratio, place, linear), mask)


def _shrunk(picture: Labelled, scale: float) -> Labelled:
    """The picture so small that `scale` makes of it what is hardly smaller."""
    if scale >= SHRUNK:
        return picture
    height, width = picture.pixels.shape[:2]
    size = [max(1, round(side * scale / 0.8)) for side in (width, height)]
    ratio = floats([size[0] / width, size[1] / height])
    pixels = _scaled(picture.pixels, *size)
    return Labelled(picture.name, pixels, picture.boxes * np.tile(ratio, 2), picture.marks * ratio, picture.target)


def _octaves(sizes: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(sizes))))


def _turn(scale: float, rng: np.random.Generator) -> Float:
    """A matrix [2, 2] that scales, turns, and squeezes a little.

    The angle's tails are heavy: most heads stand, some lie.
    """
    angle = np.radians(7 * rng.standard_t(3))
    squeeze = np.exp(rng.normal(0, 0.06) * np.array([1, -1]))
    return floats(scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * squeeze)


def _bringing(point: ArrayLike, place: Float, linear: ArrayLike) -> Float:
    """The matrix [2, 3] that brings a point of a picture to a place on the canvas."""
    return floats(np.hstack([linear, (place - np.asarray(linear) @ np.asarray(point))[:, None]]))


def clipped(name: str, pixels: Picture, whole: Float, marks: Float, target: Float) -> Labelled:
    """Faces cut at the canvas; what is hardly seen, or too small, becomes unknown; what is outside goes."""
    boxes = whole.clip(0, CANVAS)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    share = area / np.maximum((whole[:, 2:] - whole[:, :2]).prod(axis=1), 1e-3)
    small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=CANVAS) < SMALLEST
    target = np.where((share < 0.6) | small, np.float32(np.nan), target)
    kept = area > 0
    return Labelled(name, pixels, boxes[kept], marks[kept], target[kept])


def pasted(
    scene: Labelled, head: Labelled, rng: np.random.Generator, sizes: tuple[float, float] = SIZES, close: float = 0.0
) -> Labelled:
    """The scene with a turned head laid over it, with a chance of `close` so near another face that it may hide some of
    it."""
    place, size = floats(CANVAS * rng.random(2)), _octaves(sizes, rng)
    if len(scene.boxes) and rng.random() < close:
        place, size = _beside(scene.boxes[rng.integers(len(scene.boxes))], rng)
    small = _shrunk(head, size / _side(head))
    box = small.boxes[0]
    linear = _turn(size / _side(small), rng)
    return laid(scene, small, _bringing((box[:2] + box[2:]) / 2, place, linear), _outline(small, rng))


def _beside(box: Float, rng: np.random.Generator) -> tuple[Float, float]:
    """Where a neighbour's middle is, and the longer side of its face, which is about as large."""
    side, angle = float((box[2:] - box[:2]).max()), rng.uniform(0, 2 * np.pi)
    away = side * rng.uniform(0.5, 1.1) * np.array([np.cos(angle), np.sin(angle)])
    return floats((box[:2] + box[2:]) / 2 + away), float(np.clip(side * np.exp(rng.normal(0, 0.25)), *SIZES))


def cloth(picture: Labelled, rng: np.random.Generator) -> Picture:
    """A square part of a picture that shows no face, or else a plain colour."""
    height, width = picture.pixels.shape[:2]
    side = max(2, int(min(height, width) * rng.uniform(0.08, 0.3)))
    for _ in range(4):
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        outside = (picture.boxes[:, :2] >= [left + side, top + side]) | (picture.boxes[:, 2:] <= [left, top])
        if outside.any(axis=1).all():
            return picture.pixels[top : top + side, left : left + side]
    return np.full((2, 2, 3), rng.integers(0, 256, 3), np.uint8)


def screened(scene: Labelled, cloth: Picture, rng: np.random.Generator) -> Labelled:
    """The scene with one of its faces partly behind a piece of cloth."""
    known = np.flatnonzero(~np.isnan(scene.target))
    if not len(known):
        return scene
    box = scene.boxes[rng.choice(known)]
    width = 2 * max(8, round(float((box[2:] - box[:2]).max())))
    nobody = floats(np.zeros((0, 4))), floats(np.zeros((0, 5, 2))), floats(np.zeros(0))
    matrix = _bringing([width / 2, width / 2], (box[:2] + box[2:]) / 2, np.eye(2))
    return laid(scene, Labelled("", _scaled(cloth, width, width), *nobody), matrix, _screen(width, rng))


def _screen(width: int, rng: np.random.Generator) -> Float:
    """What hides a part of a face that is half of `width` wide: all on one side of a line, a band, or a hood."""
    y, x = (np.mgrid[:width, :width] + 0.5) / width * 2 - 1  # in sides of the face
    angle, kind = rng.uniform(0, 2 * np.pi), rng.random()
    across = x * np.cos(angle) + y * np.sin(angle)
    if kind < 0.5:
        hides = across > rng.uniform(0.05, 0.4)
    elif kind < 0.75:
        hides = np.abs(across - rng.uniform(-0.3, 0.3)) < rng.uniform(0.06, 0.18)
    else:
        inner, outer = rng.uniform(0.33, 0.5, 2), rng.uniform(0.65, 0.95, 2)
        hides = (np.hypot(x / inner[0], y / inner[1]) > 1) & (np.hypot(x / outer[0], y / outer[1]) < 1)
    return floats(cv2.GaussianBlur(floats(hides), (0, 0), rng.uniform(0.3, 0.02 * width + 0.4)))


def _side(face: Labelled) -> float:
    return float((face.boxes[0, 2:] - face.boxes[0, :2]).max())


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


def swapped(scene: Labelled, face: Labelled, rng: np.random.Generator) -> Labelled:
    """The scene in which one of its faces, bare or masked, shows a portrait's face: another person, now bare."""
    known = np.flatnonzero(~np.isnan(scene.target) & ~np.isnan(scene.marks).any(axis=(1, 2)))
    if not len(known):
        return scene
    k = rng.choice(known)
    face = _shrunk(face, float(np.linalg.norm(_onto(scene.marks[k : k + 1], face)[:, 0])))
    matrix = _onto(scene.marks[k : k + 1], face)
    width = face.pixels.shape[1]
    mask = _oval(face, rng.uniform(0.85, 1.05))
    rest = np.arange(len(scene.boxes)) != k
    others = Labelled(scene.name, scene.pixels, scene.boxes[rest], scene.marks[rest], scene.target[rest])
    swapped = laid(others, face, matrix, _softened(mask, 0.06 * width))
    swapped.boxes[-1:] = scene.boxes[k : k + 1]  # the head stays where it was
    return swapped


def _onto(marks: Float, face: Labelled) -> Float:
    """The matrix that brings a face's landmarks onto others, float32 [1, 5, 2]."""
    width = face.pixels.shape[1]
    return floats(similarity(marks, face.marks[0] / width, width)[0])


def _softened(mask: Float, width: float) -> Float:
    """The mask fading to its inside over about `width` pixels."""
    if width < 1:
        return mask
    inner = cv2.erode(mask, np.ones((2 * int(width) + 1,) * 2), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return floats(cv2.GaussianBlur(inner, (0, 0), width / 2, borderType=cv2.BORDER_CONSTANT))


def laid(scene: Labelled, over: Labelled, matrix: Float, mask: Float) -> Labelled:
    """The scene with a picture and its faces laid over it where the mask says so.

    Faces below it go, or become unknown where little of them still shows.
    """
    window = left, top, right, bottom = _window(over, matrix)
    if left >= right or top >= bottom:
        return scene
    local, size = matrix - floats([[0, 0, left], [0, 0, top]]), (right - left, bottom - top)
    alpha = cv2.warpAffine(mask, local, size)
    warped = cv2.warpAffine(over.pixels, local, size, borderMode=cv2.BORDER_REPLICATE)
    pixels, part = scene.pixels.copy(), np.s_[top:bottom, left:right]
    pixels[part] = cv2.blendLinear(warped, np.ascontiguousarray(pixels[part]), alpha, 1 - alpha)
    hidden = _hidden(floats(alpha), scene.boxes, window)
    target = np.where(hidden > HIDDEN, np.float32(np.nan), scene.target)[hidden < 0.9]
    middle = (over.boxes[:, :2] + over.boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (over.boxes[:, 2:] - over.boxes[:, :2]) / 2 * np.linalg.norm(matrix[:, :2], axis=0)
    boxes = np.concatenate([scene.boxes[hidden < 0.9], np.hstack([middle - half, middle + half])])
    marks = np.concatenate([scene.marks[hidden < 0.9], over.marks @ matrix[:, :2].T + matrix[:, 2]])
    return clipped(over.name, pixels, floats(boxes), floats(marks), np.concatenate([target, over.target]))


def _window(over: Labelled, matrix: Float) -> tuple[int, int, int, int]:
    """What of the canvas a picture may touch: left, top, right, bottom."""
    height, width = over.pixels.shape[:2]
    corners = floats([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.floor(corners.min(axis=0) - 1).clip(0, CANVAS).astype(int).tolist()
    right, bottom = np.ceil(corners.max(axis=0) + 1).clip(0, CANVAS).astype(int).tolist()
    return left, top, right, bottom


def _hidden(alpha: Float, boxes: Float, window: tuple[int, int, int, int]) -> Float:
    """The mean of alpha, of a window of the canvas, in each box: [K]; it is 0 outside the window."""
    left, top, right, bottom = window
    total = cv2.integral(alpha)
    whole = boxes.round().clip(0, CANVAS - 1).astype(int) + np.array([0, 0, 1, 1])
    x1, y1, x2, y2 = (whole.clip([left, top] * 2, [right, bottom] * 2) - [left, top] * 2).T
    inside = total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]
    return floats(inside / (whole[:, 2:] - whole[:, :2]).prod(axis=1))
