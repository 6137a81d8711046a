"""Stages: made scenes of people and of pictures of people, by four generators that share no drawing code but `warp`.

`studio` is a flat scene with portraits pasted on a wall or on a shirt; `camera` is a pinhole camera in shaking hands
before people, framed pictures on a wall and boards that somebody holds; `cloth` is a shirt whose print bends with it;
`screen` is a living room with a television, a glossy photograph, and stills brought to life. Each makes true faces that
are as small and as far off as the false ones, since a rule that drops small faces would drop both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

if TYPE_CHECKING:
    from casting import Cast

Picture = NDArray[np.uint8]
Place = tuple[float, float, float, float]  # xyxy, pixels
Points = NDArray[np.float64]
Kind = str
HALF, RATE, SECONDS = 16, 25, 5.0
HIGH, WIDE = 480, 854


@dataclass(frozen=True)
class Case:
    """A clip, and for each of its frames where the people and the false faces are: kind -> boxes [frames]."""

    name: str
    pictures: list[Picture]
    places: dict[Kind, list[Place | None]]
    crf: int = 18


def seconds(frame: int) -> float:
    """When a frame of a case is shot: the second half is SECONDS later."""
    return frame / RATE + (SECONDS if frame >= HALF else 0.0)


class Drift:
    """A smooth random course of some quantities, as hands and lamps have: three slow sines each."""

    def __init__(self, rng: np.random.Generator, *sizes: float, fast: float = 1.0) -> None:
        self.sizes = np.array(sizes)
        self.rates = fast * rng.uniform([0.15, 0.5, 1.5], [0.5, 1.5, 4.0], (len(sizes), 3)) * 2 * np.pi
        self.phases = rng.uniform(0, 2 * np.pi, (len(sizes), 3))

    def __call__(self, time: float) -> Points:
        waves = np.sin(self.rates * time + self.phases) * (1.0, 0.5, 0.2)
        return np.asarray(self.sizes * waves.sum(axis=1))


def warp(
    scene: Picture, texture: Picture, corners: Points, shade: float | NDArray[np.float32] = 1.0, soft: float = 0.0
) -> Place:
    """Draws a texture into the quadrangle `corners` (from the top left, clockwise), antialiased; says where it is.

    shade: what it is multiplied by; soft: the share of its side over which its edges fade.
    """
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    left, top = max(0, left), max(0, top)
    part = scene[top : max(top, bottom), left : max(left, right)]
    if part.size:
        wide = float(np.linalg.norm(corners[1] - corners[0]))
        scale = min(1.0, wide / texture.shape[1])
        size = max(4, round(texture.shape[1] * scale)), max(4, round(texture.shape[0] * scale))
        small = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
        source = np.float32([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]])
        matrix = cv2.getPerspectiveTransform(source, (corners - (left, top)).astype(np.float32))
        to = part.shape[1], part.shape[0]
        seen = cv2.warpPerspective(small, matrix, to, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        mask = cv2.warpPerspective(_mask(size, soft), matrix, to)[..., None]
        lit = seen * (shade[top : top + to[1], left : left + to[0], None] if isinstance(shade, np.ndarray) else shade)
        part[:] = np.clip(part * (1 - mask) + lit * mask, 0, 255).astype(np.uint8)
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _mask(size: tuple[int, int], soft: float) -> NDArray[np.float32]:
    if not soft:
        return np.ones(size[::-1], np.float32)
    x, y = (np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (soft * n) for n in size)
    return np.minimum(1, np.minimum.outer(y, x)).astype(np.float32)


def square(x: float, y: float, side: float, turn: float = 0.0) -> Points:
    """The corners of a square about x, y, turned by `turn` degrees."""
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ np.array([[c, s], [-s, c]]) * side / 2 + (x, y)


def surface(rng: np.random.Generator, names: tuple[str, ...], high: int = HIGH, wide: int = WIDE) -> Picture:
    """A wall: a public-domain texture of scikit-image in a random colour, or plain plaster, with slow shades."""
    name = str(rng.choice([*names, "plaster"]))
    if name == "plaster":
        grey = np.full((high, wide), 128, np.float32) + cv2.GaussianBlur(
            rng.normal(0, 12, (high, wide)).astype(np.float32), (0, 0), 1.5
        )
    else:
        whole = getattr(data, name)()
        grey = (whole if whole.ndim == 2 else cv2.cvtColor(whole[..., :3], cv2.COLOR_RGB2GRAY)).astype(np.float32)
        grey = 128 + (cv2.resize(grey, (wide, high)) - grey.mean()) * rng.uniform(0.3, 0.8)
    tint = rng.uniform(0.6, 1.4, 3) * cv2.resize(rng.uniform(0.8, 1.2, (4, 6)), (wide, high))[..., None]
    return np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8)


class Lens:
    """What the camera does to every scene of a case: light that drifts, a lens, and a sensor's noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.light = rng, Drift(rng, 0.04, fast=0.5)
        self.blur, self.noise, self.crf = rng.uniform(0.3, 0.8), rng.uniform(1, 4), int(rng.integers(18, 30))

    def __call__(self, scene: Picture, time: float) -> Picture:
        lit = cv2.GaussianBlur(scene, (0, 0), self.blur).astype(np.float32) * (1 + float(self.light(time)[0]))
        grain = self.rng.normal(0, self.noise, scene.shape[:2]).astype(np.float32)[..., None]
        return np.clip(lit + grain, 0, 255).astype(np.uint8)


# --- camera: a pinhole camera in shaking hands ---------------------------------------------------------------------

FOCUS = 800.0  # pixels


def camera(name: str, kind: Kind, cast: Cast, rng: np.random.Generator) -> Case:
    """framed: a picture on the wall; held: a board that somebody holds and tilts; distant: a person by the wall."""
    wall, lens, front = surface(rng, cast.surfaces, 720, 1200), Lens(rng), cast.person()
    shake = rng.choice([0.15, 1.0])  # on a tripod that trembles, or in the hand
    hand = Drift(rng, *shake * np.array([0.03, 0.03, 0.04, 0.012, 0.012, 0.01]))
    sway, tilt = Drift(rng, 0.03, 0.015, 0.02), Drift(rng, 0.25, 0.25, 0.1, 0.03, 0.03, fast=0.6)
    depth, size = rng.uniform(2.6, 3.6), rng.uniform(0.32, 0.6)
    x, y = rng.choice([-1, 1]) * rng.uniform(0.75, 1.0), rng.uniform(-0.45, 0.0)
    other = cast.person() if kind == "distant" else framed(cast.portrait(), rng)
    pictures: list[Picture] = []
    places: dict[Kind, list[Place | None]] = {"main": [], kind: []}
    for frame in range(2 * HALF):
        time = seconds(frame)
        eye, move, tip = hand(time), sway(time), tilt(time)
        scene = np.zeros((HIGH, WIDE, 3), np.uint8)
        warp(scene, wall, _seen(_board(0, 0, 4.0, 5.4, 3.24), eye))
        if kind == "distant":
            at = _board(x + 1.5 * move[0], y + move[1], depth, 1.1 * size, 1.1 * size)
            places[kind].append(warp(scene, other.pictures[frame], _seen(at, eye), soft=0.15))
        else:
            held = kind == "held"
            corners = _board(x, y, depth if held else 3.98, size * 0.75, size * 0.75, tip if held else None)
            places[kind].append(warp(scene, other, _seen(corners, eye), 1 + 0.3 * float(tip[0] * held)))
        at = _board(move[0] - 0.1 * np.sign(x), move[1], 1.7 + move[2], 0.62, 0.62)
        places["main"].append(warp(scene, front.pictures[frame], _seen(at, eye), soft=0.12))
        pictures.append(lens(scene, time))
    return Case(name, pictures, places, lens.crf)


def framed(portrait: Picture, rng: np.random.Generator) -> Picture:
    """A portrait with a margin, and a dark frame or a line of print about it."""
    edge = int(rng.integers(6, 30))
    paper = cv2.copyMakeBorder(portrait, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=rng.uniform(120, 255, 3))
    return cv2.copyMakeBorder(paper, 5, 5, 5, 5, cv2.BORDER_CONSTANT, value=rng.uniform(0, 255, 3))


def _board(x: float, y: float, z: float, wide: float, high: float, tip: Points | None = None) -> Points:
    """The corners [4, 3] of a board in metres; tip: its yaw, pitch and roll, and how far it is moved."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * (wide / 2, high / 2, 0)
    if tip is not None:
        corners = corners @ cv2.Rodrigues(np.array([tip[1], tip[0], tip[2]]))[0].T + (tip[3], tip[4], 0)
    return corners + np.array([x, y, z])


def _seen(corners: Points, eye: Points) -> Points:
    """Metres -> pixels, for a camera moved by eye[:3] metres and turned by eye[3:] radians."""
    at = (corners - eye[:3]) @ cv2.Rodrigues(eye[3:])[0].T
    return np.asarray(at[:, :2] / at[:, 2:] * FOCUS + (WIDE / 2, HIGH / 2))


# --- cloth: a shirt that bends ---------------------------------------------------------------------------------------


def cloth(name: str, kind: Kind, cast: Cast, rng: np.random.Generator) -> Case:
    """shirt: a printed face that bends with the cloth and takes its shade; lap: a child before its parent's chest."""
    wall, lens, front = surface(rng, cast.surfaces), Lens(rng), cast.person()
    body, turn = Drift(rng, 14, 6, 2.0), Drift(rng, 0.2, 0.1)
    folds = Folds(rng, 4 * rng.uniform(0.5, 1.5))
    colour, size, aside = rng.uniform(60, 255, 3), rng.uniform(85, 120), rng.uniform(-25, 25)
    other = cast.person() if kind == "lap" else cast.portrait()
    pictures: list[Picture] = []
    places: dict[Kind, list[Place | None]] = {"main": [], kind: []}
    for frame in range(2 * HALF):
        time = seconds(frame)
        (dx, dy, lean), (yaw, squash), scene = body(time), turn(time), wall.copy()
        shirt = np.full((300, 320, 3), colour, np.float64).astype(np.uint8)
        if kind == "shirt":
            warp(shirt, other, square(160 + aside, 130, size))
        shirt = folds(shirt, time)
        torso = square(WIDE / 2 + dx, 395 + dy, 320, lean) * (1, 1)
        torso[[1, 2], 0] -= 40 * abs(yaw)  # turned away, one side is nearer to the middle
        torso[[2, 3], 1] -= 30 * squash
        warp(scene, shirt, torso)
        if kind == "shirt":
            x, y = torso[0] + (torso[1] - torso[0]) * (160 + aside) / 320 + (torso[3] - torso[0]) * 130 / 300
            places[kind].append(_box(x, y, 1.1 * size))
        head = square(WIDE / 2 + 1.3 * dx, 130 + 0.7 * dy, 240, lean)
        places["main"].append(warp(scene, front.pictures[frame], head, soft=0.08))
        if kind == "lap":
            small = square(WIDE / 2 + aside + 1.2 * dx, 355 + dy, 1.5 * size, -lean)
            places[kind].append(warp(scene, other.pictures[frame], small, soft=0.15))
        pictures.append(lens(scene, time))
    return Case(name, pictures, places, lens.crf)


def _box(x: float, y: float, side: float) -> Place:
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


class Folds:
    """Cloth that hangs in folds, which travel and deepen: it shifts what is printed, and shades it by its slope."""

    def __init__(self, rng: np.random.Generator, depth: float, count: int = 5) -> None:
        self.angle, self.length = rng.uniform(-0.9, 0.9, count), rng.uniform(60, 220, count)
        self.depth, self.slide = Drift(rng, *[depth / count] * count), Drift(rng, *[1.0] * count)
        self.base = rng.uniform(-depth, depth, count) / count

    def __call__(self, shirt: Picture, time: float) -> Picture:
        rows, columns = np.mgrid[: shirt.shape[0], : shirt.shape[1]].astype(np.float32)
        right, down, slope = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
        for angle, length, depth, slide, base in zip(
            self.angle, self.length, self.depth(time), self.slide(time), self.base, strict=True
        ):
            across = (np.cos(angle) * columns + np.sin(angle) * rows) * (2 * np.pi / length) + slide
            shift = (depth + base) * np.sin(across)
            right, down = right + np.float32(np.cos(angle)) * shift, down + np.float32(np.sin(angle)) * shift
            slope += (depth + base) * np.cos(across) * (2 * np.pi / length)
        at = (columns + right).astype(np.float32), (rows + down).astype(np.float32)
        bent = cv2.remap(shirt, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.clip(bent * (1 + 0.9 * slope[..., None]), 0, 255).astype(np.uint8)


# --- screen: a television, a glossy photograph, stills brought to life ---------------------------------------------


def screen(name: str, kind: Kind, cast: Cast, rng: np.random.Generator) -> Case:
    """paused: a still on a screen; glossy: a photograph with reflections; on screen: a face on a screen that moves;
    listener: a person who hardly moves; animated: a still whose mouth, lids and head a generator moves."""
    wall, lens, front = surface(rng, cast.surfaces), Lens(rng), cast.person()
    move, flicker, gloss = Drift(rng, 10, 5, 2), Drift(rng, 0.06, fast=3), Drift(rng, 60, 0.12)
    pan = Drift(rng, *rng.choice([0.5, 8]) * np.ones(2), fast=0.5)
    side, x, y = rng.uniform(110, 175), rng.choice([130, 724]) + rng.uniform(-15, 15), rng.uniform(110, 250)
    other = _shown(kind, cast)
    pictures: list[Picture] = []
    places: dict[Kind, list[Place | None]] = {"main": [], kind: []}
    for frame in range(2 * HALF):
        time = seconds(frame)
        (dx, dy, lean), (px, py), scene = move(time), pan(time), wall.copy()
        if kind in {"paused", "on screen"}:
            warp(scene, BEZEL, square(x + px, y + py, 1.12 * side))
        shade = 1 + float(flicker(time)[0]) if kind in {"paused", "on screen"} else _gloss(*gloss(time), x, kind)
        own = (dx / 2, dy / 2) if kind in {"listener", "animated"} else (0, 0)
        if kind in {"listener", "animated"}:
            own = own[0] / 3, own[1] / 3
        at = square(x + px + own[0], y + py + own[1], side)
        places[kind].append(warp(scene, other[frame], at, shade, soft=0.12 * (kind in {"listener", "animated"})))
        head = square(WIDE / 2 + dx + px, 250 + dy + py, 400, lean)
        places["main"].append(warp(scene, front.pictures[frame], head, soft=0.08))
        pictures.append(lens(scene, time))
    return Case(name, pictures, places, lens.crf)


BEZEL = np.full((8, 8, 3), 25, np.uint8)


def _shown(kind: Kind, cast: Cast) -> list[Picture]:
    """The square pictures of the second face, one a frame."""
    if kind == "on screen":
        return cast.person().pictures
    if kind == "listener":
        return cast.person(slow=3).pictures
    if kind == "animated":
        return animated(cast.portrait(), cast.rng)
    return [cast.portrait()] * (2 * HALF)


def _gloss(middle: float, strength: float, x: float, kind: Kind) -> float | NDArray[np.float32]:
    """A soft bright band that wanders over a glossy photograph."""
    if kind != "glossy":
        return 1.0
    band = np.exp(-(((np.arange(WIDE) - x - middle) / 40) ** 2)).astype(np.float32)
    return 1 + abs(np.float32(strength)) * np.broadcast_to(band, (HIGH, WIDE))


def animated(still: Picture, rng: np.random.Generator) -> list[Picture]:
    """A still, 150 x 150 with its face in the middle, that speaks, blinks and nods a little, as AniPortrait's do."""
    rate, phase, nod = rng.uniform(7, 14), rng.uniform(0, 6), Drift(rng, 2.0, 1.5)
    rows, columns = np.mgrid[: still.shape[0], : still.shape[1]].astype(np.float32) * 150 / still.shape[0]
    frames = []
    for frame in range(2 * HALF):
        time = seconds(frame)
        right, down = nod(time)
        lids = 3.5 * max(0.0, np.sin(1.9 * time + phase)) ** 6
        mouth = 4 * np.sin(rate * time + phase) + 2 * np.sin(0.63 * rate * time)
        x, y = columns.copy(), rows.copy()
        for middle, high, radius, across, along in (
            (75, 118, 11, 0, mouth),
            (53, 66, 6, 0, lids),
            (97, 66, 6, 0, lids),
            (75, 85, 45, right, down),
        ):
            weight = np.exp(-((x - middle) ** 2 + (y - high) ** 2) / (2 * radius**2))
            x, y = x - np.float32(across) * weight, y - np.float32(along) * weight
        scale = still.shape[0] / 150
        at = (x * scale).astype(np.float32), (y * scale).astype(np.float32)
        frames.append(cv2.remap(still, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return frames


Stage = Callable[[str, Kind, "Cast", np.random.Generator], Case]
