"""What interlacing does to scores: labelled videos with every two pictures woven into one, beside one of the two alone.

Example:
    python benchmarks/interlaced.py ../shared/data/videos --json benchmarks/results/interlaced.json

Of each video four files are made, with x264 at CRF 16 and half of its rate, and scored with the shipped models:
`alone`, every second picture; `woven`, its even lines from the picture after it, in a file that does not tell;
`interlaced`, the same pictures in a file that does, as a camera writes it; `marked`, the pictures of `alone` in such a
file. What `marked` is off comes of the encoding; what `woven` is off, dfx would be off if it took no notice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import click
import numpy as np
from av.video.frame import VideoFrame
from figures import json_option, publish
from numpy.typing import NDArray
from tqdm import tqdm

from dfx.pipeline import Pipeline
from dfx.score import read_labels
from dfx.values import Reason

MOST = 120  # pictures of a video that are read
X264 = {"crf": "16", "preset": "veryfast", "mbtree": "0"}
FIELDS = {"x264-params": "interlaced=1:tff=1"}
KINDS = ("woven", "interlaced", "marked")
Picture = NDArray[np.uint8]  # yuv420p as PyAV has it: [3/2 height, width], each chroma line in half a row


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--limit", type=int, help="Videos, the first by name; all unless told.")
@json_option
def main(folder: Path, limit: int | None, out: Path | None) -> None:
    """Print how far each kind of file is from `alone`, on the videos of FOLDER, which holds a labels.csv."""
    names, pipeline = sorted(read_labels(folder / "labels.csv"))[:limit], Pipeline()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [row for name in tqdm(names) if (row := scored(pipeline, folder / name, Path(scratch)))]
    figures = {
        "videos": len(rows),
        "of": len(names),
        "off": {kind: facts([row[kind] - row["alone"] for row in rows]) for kind in KINDS},
        "turned": {kind: sum((row[kind] > 0.5) != (row["alone"] > 0.5) for row in rows) for kind in KINDS},
    }
    publish(figures, out)


def facts(off: Sequence[float]) -> dict[str, float]:
    """Of differences in probability: their mean, and of their sizes the mean, the median and the largest."""
    size = np.abs(off)
    found = {"bias": np.mean(off), "mean": size.mean(), "median": np.median(size), "largest": size.max()}
    return {name: round(float(value), 4) for name, value in found.items()}


def scored(pipeline: Pipeline, video: Path, folder: Path) -> dict[str, float]:
    """The probability of each kind of file; none where one has no face, or the video too few pictures."""
    pictures = list(islice(read(video), MOST))
    if len(pictures) < 4 or len({picture.shape for picture in pictures}) > 1:
        return {}
    pairs = list(zip(pictures[::2], pictures[1::2], strict=False))
    alone, both = [first for first, _ in pairs], [woven(*pair) for pair in pairs]
    rows = {
        kind: pipeline.predict(write(folder / f"{kind}.mp4", these, options))
        for kind, these, options in (
            ("alone", alone, {}), ("woven", both, {}), ("interlaced", both, FIELDS), ("marked", alone, FIELDS),
        )
    }  # fmt: skip
    good = all(row.reason == Reason.OK for row in rows.values())
    return {kind: row.probability for kind, row in rows.items()} if good else {}


def read(video: Path) -> Iterator[Picture]:
    """The pictures, their sides cut to multiples of 4, so that every field has whole lines of chroma."""
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            width, height = frame.width // 4 * 4, frame.height // 4 * 4
            yield frame.reformat(width, height, "yuv420p").to_ndarray().astype(np.uint8, copy=False)


def woven(first: Picture, second: Picture) -> Picture:
    """The odd lines of one picture, luma and chroma, and the even ones of another (counted from 1)."""
    made, width = first.copy(), first.shape[1]
    luma = 2 * len(first) // 3
    made[1:luma:2] = second[1:luma:2]
    ours, theirs = (picture[luma:].reshape(-1, width // 2) for picture in (made, second))
    ours[1::2] = theirs[1::2]
    return made


def write(path: Path, pictures: Sequence[Picture], options: dict[str, str]) -> Path:
    """Encodes the pictures; options: x264's, beside those that all have."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=X264 | options)
        stream.height, stream.width, stream.pix_fmt = 2 * len(pictures[0]) // 3, pictures[0].shape[1], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
