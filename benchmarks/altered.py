"""What becomes of the scores where a video was altered in a way that makes no fake of it: darker, mirrored, in grey.

Example:
    python benchmarks/altered.py ../shared/data/videos --json benchmarks/results/altered.json

Each labelled video is scored as it is, and with its pictures altered after decoding, so that no encoder adds to it
(`python -m dfx.torch.recompress` shows what one does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from apart import Figures
from figures import json_option, publish
from numpy.typing import NDArray
from tqdm import tqdm

from dfx.decode import Decoder
from dfx.decode.pyav import PyAVDecoder
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.score import auc, read_labels
from dfx.settings import Limits
from dfx.values import Frames, Plan, Planes, Prediction, Reason

Samples = NDArray[Any]
Levels = NDArray[np.floating[Any]]  # of 8 bits, whatever the depth
Through = Callable[[], dict[str, Decoder]]  # decoders, by what they do to a video; a function of a module
SIGMA = 1.5  # pixels: of a blur, and of what sharpening takes for one
NOISE = 6.0  # grey levels, one sigma


def _luma(change: Callable[[Levels], Levels], planes: Planes) -> Planes:
    return replace(planes, y=_changed(change, planes.y, planes.depth))


def _chroma(change: Callable[[int, Levels], Levels], planes: Planes) -> Planes:
    """change: is told -1 for blue, 1 for red."""
    u, v = (_changed(partial(change, sign), plane, planes.depth) for sign, plane in ((-1, planes.u), (1, planes.v)))
    return replace(planes, u=u, v=v)


def _changed(change: Callable[[Levels], Levels], plane: Samples, depth: int) -> Samples:
    unit = np.float32(1 << (depth - 8))
    return (change(plane / unit) * unit).round().clip(0, (1 << depth) - 1).astype(plane.dtype)


def _each(change: Callable[[Samples], Samples], planes: Planes) -> Planes:
    y, u, v = (np.ascontiguousarray(change(plane)) for plane in (planes.y, planes.u, planes.v))
    return replace(planes, y=y, u=u, v=v)


def _blurred(luma: Levels) -> Levels:
    return np.asarray(cv2.GaussianBlur(luma, (0, 0), SIGMA), np.float32)


def _noisy(luma: Levels) -> Levels:
    """Noise of its own in each picture, the same in each run."""
    drawn = np.random.default_rng(int(luma.sum(dtype=np.float64)))
    return luma + np.float32(NOISE) * drawn.standard_normal(luma.shape, np.float32)


def _halved(planes: Planes) -> Planes:
    """From a multiple of eight pixels, so that luma and chroma go together still."""
    height, width = (side & ~7 for side in planes.y.shape)
    down, across = (-(-full // part) for full, part in zip(planes.y.shape, planes.u.shape, strict=True))
    u, v = (plane[: height // down, : width // across] for plane in (planes.u, planes.v))
    return _each(_half, replace(planes, y=planes.y[:height, :width], u=u, v=v))


def _half(plane: Samples) -> Samples:
    return np.asarray(cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def _barred(planes: Planes) -> Planes:
    """Black bars above and below, each a third of the picture's height."""
    rows, unit = planes.u.shape[0] // 3, 1 << (planes.depth - 8)
    rows_of_luma = rows * -(-planes.y.shape[0] // planes.u.shape[0])
    y = np.pad(planes.y, ((rows_of_luma, rows_of_luma), (0, 0)), constant_values=unit * (16 - 16 * planes.full_range))
    u, v = (np.pad(plane, ((rows, rows), (0, 0)), constant_values=unit * 128) for plane in (planes.u, planes.v))
    return replace(planes, y=y, u=u, v=v)  # type: ignore[arg-type]  # np.pad keeps the type


ALTERATIONS: dict[str, Callable[[Planes], Planes]] = {
    "as it is": lambda planes: planes,
    "mirrored": partial(_each, lambda plane: plane[:, ::-1]),
    "in grey": partial(_chroma, lambda _, levels: 0 * levels + 128),
    "warmer": partial(_chroma, lambda sign, levels: levels + 10 * sign),
    "darker": partial(_luma, lambda luma: 16 + (luma - 16) * 0.5),
    "brighter": partial(_luma, lambda luma: 255 - (255 - luma) * 0.7),
    "more contrast": partial(_luma, lambda luma: 110 + (luma - 110) * 1.4),
    "less contrast": partial(_luma, lambda luma: 110 + (luma - 110) * 0.6),
    "blurred": partial(_luma, _blurred),
    "sharpened": partial(_luma, lambda luma: 2 * luma - _blurred(luma)),
    "noisy": partial(_luma, _noisy),
    "half as large": _halved,
    "between black bars": _barred,
}


class Altering:
    """A decoder whose pictures are altered."""

    def __init__(self, decoder: Decoder, change: Callable[[Planes], Planes]) -> None:
        self._decoder, self._change = decoder, change

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """What the decoder gives, altered."""
        for frames in self._decoder.read(info, plan):
            yield replace(frames, pictures=tuple(map(self._change, frames.pictures)))  # type: ignore[arg-type]


class Cutting:
    """A decoder with a jump cut in the middle of each window: from there on, it shows another window's pictures."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """What the decoder gives, cut together anew; a video of one window stays as it is."""
        windows = list(self._decoder.read(info, plan))
        for mine, other in zip(windows, [*windows[1:], *windows[:1]], strict=True):
            middle = len(mine) // 2
            pictures = (*mine.pictures[:middle], *other.pictures[middle:], *mine.pictures[len(other) :])
            yield replace(mine, pictures=pictures)


def decoders() -> dict[str, Decoder]:
    """By what they do to a video."""
    plain = PyAVDecoder(Limits().pixels)
    altering: dict[str, Decoder] = {name: Altering(plain, change) for name, change in ALTERATIONS.items()}
    return altering | {"with a jump cut": Cutting(plain)}


@cache
def _pipeline() -> Pipeline:
    return Pipeline()


def _scored(through: Through, path: Path) -> list[Prediction]:
    """The rows of a video, for each of the decoders."""
    rows = []
    for _pipeline().decoder in through().values():
        rows.append(_pipeline().predict(path))
        if rows[-1].reason not in (Reason.OK, Reason.NO_FACE):
            raise RuntimeError(f"{path.name}: {rows[-1].reason}, {rows[-1].detail}")
    return rows


@click.command()
@click.argument("videos", type=click.Path(path_type=Path, exists=True))
@click.option("--workers", default=2, show_default=True)
@json_option
def main(videos: Path, workers: int, out: Path | None) -> None:
    """Score the labelled VIDEOS as they are, and altered."""
    publish(scored(videos, decoders, workers), out)


def scored(videos: Path, through: Through, workers: int) -> Figures:
    """What each of the decoders makes of the labelled videos of a folder."""
    labels = read_labels(videos / "labels.csv")
    names = sorted(name for name in labels if (videos / name).exists())
    with ProcessPoolExecutor(workers) as pool:
        rows = list(tqdm(pool.map(partial(_scored, through), [videos / name for name in names]), total=len(names)))
    fake = np.array([labels[name] == 1 for name in names])
    by_decoder = zip(through(), zip(*rows, strict=True), strict=True)
    figures = {name: told(each, fake) for name, each in by_decoder}
    return {"real": int((~fake).sum()), "fake": int(fake.sum()), "altered": figures}


def told(rows: Sequence[Prediction], fake: NDArray[np.bool_]) -> Figures:
    """Of one alteration. fake: bool [videos], what each is."""
    scores = np.array([row.probability for row in rows])
    return {
        "real_above_half": int((scores[~fake] > 0.5).sum()),
        "fake_above_half": int((scores[fake] > 0.5).sum()),
        "auc": auc(fake.astype(np.float64), scores),
        "without_a_face": sum(row.reason == Reason.NO_FACE for row in rows),
    }


if __name__ == "__main__":
    main()
