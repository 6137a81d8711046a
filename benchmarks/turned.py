"""What becomes of videos in which people stand on their head or lie on their side, and whose files do not say so.

Example:
    python benchmarks/turned.py ../shared/data/videos --json benchmarks/results/turned.json

Each labelled video is scored as it is, and three times with its pictures turned after decoding, with and without
`dfx.upright`. Turned back by it, a video has the very pixels that it had.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from apart import Figures
from figures import json_option, publish
from tqdm import tqdm

from dfx.decode import Decoder
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.score import read_labels
from dfx.upright import TURNS, Upright
from dfx.values import Frames, Plan, Reason

Row = tuple[int, float, bool]  # degrees that dfx turned it by, probability, whether it has a score


class Lying:
    """A decoder whose pictures are turned clockwise by so many degrees."""

    def __init__(self, decoder: Decoder, degrees: int) -> None:
        self._decoder, self._degrees = decoder, degrees

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """What the decoder gives, turned."""
        return (frames.turned(self._degrees) for frames in self._decoder.read(info, plan))


@cache
def _pipelines() -> list[Pipeline]:
    pipelines = [Pipeline() for _ in TURNS]
    for turn, pipeline in zip(TURNS, pipelines, strict=True):
        pipeline.decoder = Lying(pipeline.decoder, turn)
    return pipelines


def _scored(path: Path) -> tuple[list[Row], list[Row]]:
    """With `dfx.upright` and without, by the degrees that the video is turned."""
    with_it = [_row(pipeline, path) for pipeline in _pipelines()]
    wanted, Upright._wanted = Upright._wanted, lambda *_: 0  # type: ignore[method-assign]
    without = [_row(pipeline, path) for pipeline in _pipelines()]
    Upright._wanted = wanted  # type: ignore[method-assign]
    return with_it, without


def _row(pipeline: Pipeline, path: Path) -> Row:
    row = pipeline.predict(path)
    return row.turned, row.probability, row.reason == Reason.OK


@click.command()
@click.argument("videos", type=click.Path(path_type=Path, exists=True))
@click.option("--workers", default=2, show_default=True)
@json_option
def main(videos: Path, workers: int, out: Path | None) -> None:
    """Score the labelled VIDEOS, upright and turned."""
    labels = read_labels(videos / "labels.csv")
    names = sorted(name for name in labels if (videos / name).exists())
    with ProcessPoolExecutor(workers) as pool:
        rows = list(tqdm(pool.map(_scored, [videos / name for name in names]), total=len(names)))
    real = np.array([labels[name] == 0 for name in names])
    publish({"videos": len(names), "real": int(real.sum()), **_told(rows, real)}, out)


def _told(rows: list[tuple[list[Row], list[Row]]], real: Any) -> Figures:
    """By the degrees that the videos are turned."""
    found: Figures = {}
    for place, turn in enumerate(TURNS):
        ours, without = ([each[way][place] for each in rows] for way in (0, 1))
        upright = [each[0][0] for each in rows]
        found[str(turn)] = {
            "turned_back": sum(row[0] == -turn % 360 for row in ours),
            "apart": max(abs(row[1] - first[1]) for row, first in zip(ours, upright, strict=True)),
            "real_above_half": _above(ours, real),
            "real_above_half_without": _above(without, real),
            "without_a_face_without": sum(not row[2] for row in without),
        }
    return found


def _above(rows: list[Row], real: Any) -> int:
    return int((np.array([row[1] > 0.5 for row in rows]) & real).sum())


if __name__ == "__main__":
    main()
