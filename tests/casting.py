"""Casting: whom and what the made scenes of `stages` show, in two parts that share no person, portrait or surface."""

from __future__ import annotations

import csv
from collections import deque
from functools import cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data
from stages import HALF, Picture, seconds

PARTS = ("tune", "measure")  # the constants of dfx.false_faces were chosen on the first; figures come from the second
SURFACES = {
    "tune": ("brick", "coffee", "camera", "hubble_deep_field"),
    "measure": ("gravel", "grass", "rocket", "page"),
}
SIDE = 320  # pixels, at most, that an actor's square pictures are kept at
# Videos of ../shared/data that show more than one person, or nobody upright, looked through by eye.
SEVERAL = ("dfl_003", "dfl_004", "dfl_088", "dfl_089", "dfl_094", "dfl_095", "head_093", "head_094")


class Actor:
    """A living face: a list of square pictures, one a frame of the case."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures

    @classmethod
    def astronaut(cls, phase: float, slow: int = 1) -> Actor:
        """The astronaut, who speaks, blinks and turns her head."""
        return cls([_alive(seconds(frame) / slow, phase) for frame in range(2 * HALF)])

    @classmethod
    def video(cls, path: Path, slow: int = 1) -> Actor:
        """The first and the last frames of a video, the middle square of each; slow: how often each is shown."""
        squares, count = _squares(path), -(-HALF // slow)
        return cls([x for part in (squares[:count], squares[-count:]) for x in np.repeat(part, slow, axis=0)[:HALF]])


class Cast:
    """Draws people, portraits and surfaces of one part at random. Without a folder it is the astronaut alone."""

    def __init__(self, folder: Path | None, part: str, rng: np.random.Generator) -> None:
        self.rng, self.surfaces = rng, SURFACES[part]
        self.heads = heads(folder / "videos", part) if folder else []
        self.portraits = sorted((folder / "faces/lfw").glob("*.jpg"))[PARTS.index(part) :: 2] if folder else []

    def person(self, slow: int = 1) -> Actor:
        """Somebody who moves."""
        if not self.heads:
            return Actor.astronaut(self.rng.uniform(0, 6), slow)
        return Actor.video(self.heads[self.rng.integers(len(self.heads))], slow)

    def portrait(self) -> Picture:
        """A photograph, about 150 x 150."""
        if not self.portraits:
            return PORTRAIT
        path = self.portraits[self.rng.integers(len(self.portraits))]
        return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


@cache
def heads(folder: Path, part: str) -> tuple[Path, ...]:
    """REAL videos of one person whose face fills enough of the middle square to stand in front of a picture.

    Every second group of people that share a video is of the other part.
    """
    chosen, groups = [], dict[str, int]()
    for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
        large = float(row["face_width_px"] or 0) > 0.36 * min(int(row["width"]), int(row["height"]))
        if row["label"] == "REAL" and large and not row["filename"].startswith(SEVERAL):
            group = groups.setdefault(row["identity_group"], len(groups))
            if PARTS[group % 2] == part:
                chosen.append(folder / row["filename"])
    return tuple(chosen)


@cache
def _squares(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        frames = islice(container.decode(video=0), 150)
        first = [_square(frame) for frame in islice(frames, HALF)]
        return [*first, *map(_square, deque(frames, maxlen=HALF))]


def _square(frame: av.VideoFrame) -> Picture:
    picture = frame.to_ndarray(format="rgb24")
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[top : top + side, left : left + side]
    return cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA) if side > SIDE else middle.copy()


def _alive(time: float, phase: float) -> Picture:
    """The astronaut's head, 200 x 200: mouth, lids and head moved by smooth bumps of displacement."""
    rows, columns = np.mgrid[:300, :300].astype(np.float32)
    bumps = [  # x, y of the middle, radius, and how far it moves, in pixels of the picture
        (122, 152, 16, 0, 5 * np.sin(9 * time + phase)),
        (105, 104, 9, 0, 4 * max(0, np.sin(2.1 * time + phase)) ** 4),
        (142, 104, 9, 0, 4 * max(0, np.sin(2.1 * time + phase)) ** 4),
        (122, 118, 55, 7 * np.sin(1.1 * time + phase), 5 * np.sin(0.8 * time + 2 * phase)),
    ]
    for x, y, radius, right, down in bumps:
        weight = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
        columns, rows = columns - np.float32(right) * weight, rows - np.float32(down) * weight
    moved = cv2.remap(ASTRONAUT, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(moved[20:220, 20:220])  # a face as large in its square as those of the real videos


ASTRONAUT = np.ascontiguousarray(data.astronaut()[:300, 100:400])
PORTRAIT = np.ascontiguousarray(data.astronaut()[50:180, 157:287])
