"""Studio: the first generator of labelled cases. A flat scene: portraits pasted on a wall, on a shirt, on a face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from stages import HALF, Case, Kind, Picture, Place, seconds

if TYPE_CHECKING:
    from casting import Actor, Cast

WIDTH, HEIGHT = 640, 360
NOISE = np.random.default_rng(0).normal(0, 2, (5, HEIGHT, WIDTH, 3)).astype(np.float32)  # a sensor's


def paste(
    scene: Picture, picture: Picture, x: float, y: float, side: float, turn: float = 0.0, ink: float = 0.0
) -> Place:
    """Puts a picture of `side` pixels into the scene with its middle at x, y, turned by `turn` degrees.

    ink: 0 for a thing of its own, 1 for a print that takes the shade of the cloth under it.
    """
    scale, reach = side / picture.shape[1], 0.75 * side
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    part = scene[top : int(y + reach), left : int(x + reach)]
    size = part.shape[1], part.shape[0]
    matrix = cv2.getRotationMatrix2D((picture.shape[1] / 2, picture.shape[0] / 2), turn, scale)
    matrix[:, 2] += (x - left - picture.shape[1] / 2, y - top - picture.shape[0] / 2)
    small = cv2.GaussianBlur(picture, (0, 0), 0.45 / scale) if scale < 0.7 else picture
    mask = cv2.warpAffine(np.full(picture.shape[:2], 1, np.float32), matrix, size)[..., None]
    seen = cv2.warpAffine(small, matrix, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    inked = seen * (1 - ink + ink * part.astype(np.float32) / 200)
    part[:] = np.clip(part * (1 - mask) + mask * inked, 0, 255).astype(np.uint8)
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def wall(rng: np.random.Generator) -> Picture:
    """A wall with slow shades of a random colour."""
    rough = rng.uniform(70, 190, 3) + rng.normal(0, 12, (5, 8, 3))
    return np.asarray(cv2.resize(rough.astype(np.float32), (WIDTH, HEIGHT)), np.float32).clip(0, 255).astype(np.uint8)


def shirt(scene: Picture, time: float, top: float, colour: NDArray[np.float64]) -> None:
    """Cloth from `top` down, in the middle of the scene: folds whose shading moves with the wearer."""
    rows, columns = np.mgrid[int(top) : HEIGHT, 130:430]
    folds = 1 + 0.08 * np.sin(columns / 19 + 1.5 * np.sin(1.3 * time) + rows / 60) + 0.05 * np.sin(rows / 13 + time)
    scene[int(top) :, 130:430] = np.clip(folds[..., None] * colour, 0, 255).astype(np.uint8)


def studio(name: str, kind: Kind, cast: Cast, rng: np.random.Generator) -> Case:
    """print: on a shirt that sways; poster: on the wall; nested: on a forehead; blip: for 3 frames; second: alive."""
    front = cast.person()
    other: Actor | Picture = cast.person() if kind == "second" else cast.portrait()
    background, colour, sway = wall(rng), rng.uniform(150, 230, 3), rng.uniform(0, 6, 4)
    size, hand = rng.uniform(0.3, 0.75), 4.0 * rng.integers(2)  # share of the head's size; on a tripod or in the hand
    spot = rng.uniform(-1, 1, 2)
    pictures: list[Picture] = []
    places: dict[Kind, list[Place | None]] = {"main": [], kind: []}
    for frame in range(2 * HALF):
        time, scene = seconds(frame), background.copy()
        x = 280 + 8 * np.sin(1.7 * time + sway[0])
        y = 115 + 4 * np.sin(2.3 * time + sway[1])
        dx, dy = hand * np.sin(2 * time + sway[2]), hand * np.sin(2.6 * time + sway[3])
        at = (x, y, size, dx, dy)
        shirt(scene, time, 205, colour)
        behind = _second(scene, kind, other, frame, at, spot) if kind in {"print", "poster", "second"} else None
        places["main"].append(paste(scene, front.pictures[frame], x + dx, y + dy, 210))
        before = _second(scene, kind, other, frame, at, spot) if kind in {"nested", "blip"} else None
        places[kind].append(behind or before)
        pictures.append(cv2.add(scene, NOISE[frame % 5], dtype=cv2.CV_8U))
    return Case(name, pictures, places)


def _second(
    scene: Picture, kind: str, other: Actor | Picture, frame: int, at: tuple[float, ...], spot: NDArray[np.float64]
) -> Place | None:
    """Draws the second face of a case in one frame, and says where."""
    time, (x, y, size, dx, dy) = seconds(frame), at
    picture = other if isinstance(other, np.ndarray) else other.pictures[frame]
    if kind == "print":  # it sways with its wearer, turns a little, and takes the folds' shading
        return paste(scene, picture, x + 25 * spot[0] + dx, y + 160 + dy, 50 + 70 * size, 3 * np.sin(1.9 * time), 0.8)
    if kind == "poster":
        return paste(scene, picture, 530 + 20 * spot[0] + dx, 130 + 30 * spot[1] + dy, 155 * size)
    if kind == "second":  # someone farther from the camera, who moves on their own
        side = 250 * size
        return paste(scene, picture, 530 + 15 * spot[0] + 3 * np.sin(1.4 * time) + dx, 150 + dy, side)
    if kind == "nested":
        return paste(scene, picture, x + 22 * spot[0] + dx, y - 45 + 8 * spot[1] + dy, 34 + 24 * size)
    seen = frame % HALF in {7, 8, 9}  # of the looks at 0, 8 and 14, only one
    return paste(scene, picture, 530 + 20 * spot[0], 200 + 30 * spot[1], 180 * size) if seen else None
