"""Packs faces of the labelled videos, with what is around them, into shards for the training of the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import click
import cv2
import numpy as np
from tqdm import tqdm

from dfx.cli.one_line import OneLine
from dfx.pipeline import Pipeline
from dfx.torch.clip_data import Labelled, clips_of, read_labels
from dfx.torch.clipnet import WIDE
from dfx.torch.labelled import jpeg
from dfx.torch.pack_crops import Item, photographs, write
from dfx.track import join
from dfx.values import Pixels, Track

SHOWN = replace(WIDE, size=272, length=2, stride=4)
"""Cut finer than the network sees it, so that shifts and turns have something to show."""
FULL_COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
PHOTO = 192  # pixels: those of LFW show about 135 of their own


@click.command(cls=OneLine)
@click.option("--videos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of labels.csv.")
@click.option("--faces", type=click.Path(path_type=Path, exists=True), help="Folder of faces.csv: real photographs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the shards.")
@click.option("--frames", default=12, show_default=True, help="Of a video and person, at most.")
@click.option("--quality", default=95, show_default=True, help="Of the JPEGs.")
@click.option("--size", default=52.0, show_default=True, help="Of a shard, at most, in MiB.")
def main(videos: Path, faces: Path | None, out: Path, frames: int, quality: int, size: float) -> None:
    """Write OUT/videos_0.npz and so on: frames of every labelled video, then the photographs.

    Of a fake video only the person who is seen most: it may show real people beside the fake one.

    \b
    Example:
        python -m dfx.torch.pack_videos --videos videos --faces faces --out shards
    """
    out.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline()
    labelled = tqdm(read_labels(videos), "cutting faces")
    found = (item for video in labelled for item in items_of(pipeline, videos, video, frames, quality))
    write(chain(found, photographs(faces, SHOWN, PHOTO) if faces else ()), out, "videos", int(size * 2**20), 99)


def items_of(pipeline: Pipeline, folder: Path, video: Labelled, frames: int, quality: int) -> Iterator[Item]:
    """The faces of one video. A swap and its original have a name in common where they show the same moment."""
    pairs = clips_of(pipeline, folder / video.filename, SHOWN, -(-frames // SHOWN.length))
    people = np.array(join([track for track, _ in pairs]), np.int64)
    main = int(np.bincount(people).argmax()) if len(people) else -1
    for person, (track, clip) in zip(people.tolist(), pairs, strict=True):
        if video.fake and person != main:
            continue
        of = (video.scene or video.filename) if person == main else f"{video.filename}, beside"
        for index, picture in _frames(track, clip):
            yield Item(
                jpeg(picture.transpose(1, 2, 0), quality, *FULL_COLOUR),
                f"{of}: {index}",
                video.fake,
                fold=video.fold,
                around=SHOWN.around,
                video=video.filename,
            )


def _frames(track: Track, clip: Pixels) -> Iterator[tuple[int, Pixels]]:
    """Frame numbers and pictures uint8 [3, S, S]; a clip that was made up by holding its last frame shows it once."""
    yield from zip(track.index.tolist(), clip, strict=False)


if __name__ == "__main__":
    main()
