"""A labelled set of false faces, and how the clean-up of tracks does on it: python tests/false_faces.py [--data DIR].

Every case is a small H.264 clip whose two halves lie SECONDS apart, as the two windows of a ten-second clip do. In it
stand people who move as people do, and false faces: prints on a swaying shirt, posters on the wall, faces in a face,
blips of a frame. Without DIR (../shared/data) the people are the astronaut of scikit-image (public domain), brought to
life by a warp; with it they are real talking heads, the pictures are of LFW, and all its videos of one person count.
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import click
import cv2
import numpy as np
from clips import encode
from numpy.typing import NDArray
from skimage import data

from dfx.pipeline import Pipeline
from dfx.values import Followed, Track, Verdict

Picture = NDArray[np.uint8]
Place = tuple[float, float, float, float]  # xyxy, pixels
WIDTH, HEIGHT, HALF, RATE, SECONDS = 640, 360, 16, 25, 5.0
FALSE, TRUE = ("print", "poster", "nested", "blip"), ("main", "second", "video")
# Videos of ../shared/data that show more than one person, or nobody upright, looked through by eye.
SEVERAL = ("dfl_003", "dfl_004", "dfl_088", "dfl_089", "dfl_094", "dfl_095", "head_093", "head_094")


@dataclass(frozen=True)
class Case:
    """A clip, and for each of its frames where the people and the false faces are: kind -> boxes [frames]."""

    name: str
    pictures: list[Picture]
    places: dict[str, list[Place | None]]


@dataclass(frozen=True)
class Outcome:
    """What became of one track as it was linked: its kind, and why it was dropped, if it was."""

    case: str
    kind: str
    verdict: Verdict | None


class Actor:
    """A living face: a list of square pictures, one a frame of the case."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures = pictures

    @classmethod
    def astronaut(cls, phase: float) -> Actor:
        """The astronaut, who speaks, blinks and turns her head."""
        return cls([_alive(seconds(frame), phase) for frame in range(2 * HALF)])

    @classmethod
    def video(cls, path: Path) -> Actor:
        """The first and the last frames of a video, the middle square of each."""
        with av.open(str(path)) as container:
            frames = [_square(f.to_ndarray(format="rgb24")) for f in islice(container.decode(video=0), 150)]
        return cls([*frames[:HALF], *frames[-HALF:]])


def seconds(frame: int) -> float:
    """When a frame of a case is shot: the second half is SECONDS later."""
    return frame / RATE + (SECONDS if frame >= HALF else 0.0)


def _square(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


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
NOISE = np.random.default_rng(0).normal(0, 2, (5, HEIGHT, WIDTH, 3)).astype(np.float32)  # a sensor's
PORTRAIT = np.ascontiguousarray(data.astronaut()[50:180, 157:287])


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


def make(name: str, kind: str, front: Actor, other: Actor | Picture, seed: int) -> Case:
    """One case. other: whoever or whatever is the second face."""
    rng = np.random.default_rng(seed)
    background, colour, sway = wall(rng), rng.uniform(150, 230, 3), rng.uniform(0, 6, 4)
    size, hand = rng.uniform(0.3, 0.75), 4.0 * (seed % 2)  # share of the head's size; every second camera is hand-held
    spot = rng.uniform(-1, 1, 2)
    pictures: list[Picture] = []
    places: dict[str, list[Place | None]] = {"main": [], kind: []}
    for frame in range(2 * HALF):
        time, scene = seconds(frame), background.copy()
        x = 280 + 8 * np.sin(1.7 * time + sway[0])
        y = 115 + 4 * np.sin(2.3 * time + sway[1])
        dx, dy = hand * np.sin(2 * time + sway[2]), hand * np.sin(2.6 * time + sway[3])
        shirt(scene, time, 205, colour)
        at = (
            _second(scene, kind, other, frame, (x, y, size, dx, dy), spot)
            if kind in {"print", "poster", "second"}
            else None
        )
        places["main"].append(paste(scene, front.pictures[frame], x + dx, y + dy, 210))
        if kind in {"nested", "blip"}:
            at = _second(scene, kind, other, frame, (x, y, size, dx, dy), spot)
        places[kind].append(at)
        pictures.append(cv2.add(scene, NOISE[frame % 5], dtype=cv2.CV_8U))
    return Case(name, pictures, places)


def _second(
    scene: Picture, kind: str, other: Actor | Picture, frame: int, at: tuple[float, ...], spot: NDArray[np.float64]
) -> Place | None:
    """Draws the second face of a case in one frame, and says where."""
    time, (x, y, size, dx, dy) = seconds(frame), at
    picture = other.pictures[frame] if isinstance(other, Actor) else other
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


def cases(count: int, folder: Path | None, seed: int = 0) -> Iterator[Case]:
    """`count` cases of each kind of false face and of true second people; the constants were chosen on seed 0."""
    heads = _heads(folder / "videos") if folder else []
    prints = sorted((folder / "faces/lfw").glob("*.jpg"))[:: 1600 // (8 * count) or 1] if folder else []
    for number, kind in enumerate([*FALSE, "second"] * count, 1000 * seed):
        phase = 0.7 * number
        front = Actor.video(heads[(3 * number) % len(heads)]) if heads else Actor.astronaut(phase)
        other: Actor | Picture = PORTRAIT
        if prints:
            other = cv2.imread(str(prints[number % len(prints)]))[..., ::-1].copy()
        if kind == "second":
            other = Actor.video(heads[(3 * number + 7) % len(heads)]) if heads else Actor.astronaut(phase + 2)
        yield make(f"{kind} {number}", kind, front, other, number)


def _heads(folder: Path) -> list[Path]:
    """REAL videos of one person whose face fills enough of the middle square to stand in front of a picture."""
    chosen = []
    for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
        large = float(row["face_width_px"] or 0) > 0.36 * min(int(row["width"]), int(row["height"]))
        if row["label"] == "REAL" and large and not row["filename"].startswith(SEVERAL):
            chosen.append(folder / row["filename"])
    return chosen


def encoded(case: Case, path: Path) -> Path:
    """Writes a case as a video whose two halves begin with keyframes."""
    gop = str(HALF)
    return encode(path, case.pictures, rate=RATE, g=gop, keyint_min=gop, sc_threshold="0", preset="fast")


def judged(pipeline: Pipeline, case: Case, folder: Path) -> list[Outcome]:
    """Encodes a case, and says what became of each of its tracks."""
    path = encoded(case, folder / "case.mp4")
    seen = [(followed, _kind(case, followed.track)) for followed in pipeline.followed(path)]
    return [Outcome(case.name, _surest(each, kind, seen), each.verdict) for each, kind in seen]


def _surest(each: Followed, kind: str, seen: list[tuple[Followed, str]]) -> str:
    """The kind, but "stray" for all but the surest of a window's detections of one person."""
    start = each.track.index[0]
    same = [other for other, its in seen if its == kind and other.track.index[0] == start]
    return kind if kind not in TRUE or each is max(same, key=_presence) else "stray"


def _presence(each: Followed) -> float:
    return float((each.track.scores * each.track.detected).sum())


def _kind(case: Case, track: Track) -> str:
    """Whose box it is: the smallest drawn picture that its middle lies in and that it does not outgrow."""
    row = int(np.flatnonzero(track.detected)[0])
    frame, box = int(track.index[row]), track.boxes[row]
    x, y = (box[:2] + box[2:]) / 2
    side = float(box[2] - box[0])
    found = []
    for kind, places in case.places.items():
        place = places[frame]
        if place and place[0] < x < place[2] and place[1] < y < place[3] and side < 1.2 * (place[2] - place[0]):
            found.append((place[2] - place[0], kind))
    return min(found)[1] if found else "elsewhere"


def videos(pipeline: Pipeline, folder: Path) -> Iterator[Outcome]:
    """The REAL videos of one person: the surest, largest face of a window is theirs; what else is seen is false."""
    for row in csv.DictReader((folder / "labels.csv").read_text().splitlines()):
        if row["label"] == "REAL" and not row["filename"].startswith(SEVERAL):
            seen = pipeline.followed(folder / row["filename"])
            for start in sorted({int(each.track.index[0]) for each in seen}):
                window = [each for each in seen if each.track.index[0] == start]
                main = max(window, key=_presence)
                for each in window:
                    yield Outcome(row["filename"], "video" if each is main else "stray", each.verdict)


def table(outcomes: list[Outcome]) -> str:
    """A row a kind: tracks, how many were dropped, and by which rules."""
    lines = [f"{'kind':10} {'tracks':>6} {'dropped':>8}  why"]
    for kind in dict.fromkeys([*FALSE, "stray", "elsewhere", *TRUE]):
        those = [each for each in outcomes if each.kind == kind]
        if those:
            why = Counter(str(each.verdict) for each in those if each.verdict)
            lines.append(f"{kind:10} {len(those):6} {sum(why.values()) / len(those):8.1%}  {dict(why)}")
    for name, kinds in (("false", (*FALSE, "stray")), ("true", TRUE)):
        share, count = dropped(outcomes, kinds)
        lines.append(f"all {name:6} {count:6} {share:8.1%}")
    return "\n".join(lines)


def dropped(outcomes: list[Outcome], kinds: tuple[str, ...]) -> tuple[float, int]:
    """The share of the tracks of these kinds that was dropped, and how many there are."""
    those = [each for each in outcomes if each.kind in kinds]
    return sum(each.verdict is not None for each in those) / max(1, len(those)), len(those)


@click.command()
@click.option("--data", "folder", type=click.Path(path_type=Path), default=Path(__file__).parents[2] / "shared/data")
@click.option("--count", default=15, show_default=True, help="Cases of each kind.")
@click.option("--seed", default=0, show_default=True, help="Another one makes other cases.")
def main(folder: Path, count: int, seed: int) -> None:
    """Print what the clean-up of tracks drops of the labelled set, by kind and rule."""
    pipeline = Pipeline()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as place:
        for case in cases(count, folder if folder.is_dir() else None, seed):
            outcomes += judged(pipeline, case, Path(place))
    if folder.is_dir():
        outcomes += videos(pipeline, folder / "videos")
    print(table(outcomes))
    for each in outcomes:
        if (each.kind in TRUE) == (each.verdict is not None) and each.kind != "elsewhere":
            print(f"{'lost' if each.verdict else 'left'}: {each.case}, {each.kind}, {each.verdict or 'kept'}")


if __name__ == "__main__":
    main()
