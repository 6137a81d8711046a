"""Packs the face crops that the backbone is trained and measured on into shards that are small enough to send."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from dfx.cli.one_line import OneLine
from dfx.ops import similarity
from dfx.torch.augment import Dice
from dfx.torch.clipnet import TIGHT, Cut
from dfx.torch.crop_store import Shard
from dfx.torch.detector_data import portraits
from dfx.torch.dfdc_crops import Crops, Entry
from dfx.torch.h264 import Coding, recoded_still
from dfx.torch.labelled import decoded, jpeg
from dfx.torch.parts import dealt

SIDE = 224  # pixels, as the DFDC crops have it
QUALITY = 85  # of the JPEGs that are made here: the photographs are enlarged, and have nothing finer to keep
RECODED_QUALITY = 95  # of the JPEGs that hold what x264 left: they should add nothing of their own
ENTRY_BYTES = 64  # more than an entry of a shard takes beside its JPEG


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to pack.

    name: of the original that it shows; fold: the family of generators without which it is left out, "" for none;
    around: its side in sides of a tight crop; video: the labelled video that it is of, "" for none.
    """

    jpeg: bytes
    name: str
    fake: bool
    held_out: bool = False
    fold: str = ""
    around: float = TIGHT.around
    video: str = ""

    @property
    def group(self) -> int:
        """A number that pictures of the same original share."""
        return number_of(self.name)

    @property
    def weight(self) -> int:
        """Bytes in a shard, at most."""
        return len(self.jpeg) + ENTRY_BYTES


def number_of(name: str) -> int:
    """A number of 56 bits that stands for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


@click.command(cls=OneLine)
@click.option("--crops", type=click.Path(path_type=Path), required=True, help="Folder of metadata.csv and faces_224/.")
@click.option(
    "--exclude", type=click.Path(path_type=Path), required=True, help="SHA-256 digests of names to leave out."
)
@click.option("--labels", type=click.Path(path_type=Path), help="CSV of the labelled videos: their scenes stay out.")
@click.option("--faces", type=click.Path(path_type=Path), help="Folder of faces.csv: real photographs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the shards.")
@click.option("--shards", default=4, show_default=True, help="At most so many.")
@click.option("--size", default=52.0, show_default=True, help="Of a shard, at most, in MiB.")
@click.option("--held-out", default=1000, show_default=True, help="Originals to measure on, with a fake of each.")
@click.option("--h264", default=0.0, show_default=True, help="Share of originals that x264 recodes, their fakes alike.")
@click.option("--seed", default=0, show_default=True)
def main(
    crops: Path,
    exclude: Path,
    labels: Path | None,
    faces: Path | None,
    out: Path,
    shards: int,
    size: float,
    held_out: int,
    h264: float,
    seed: int,
) -> None:
    """Write OUT/shard_0.npz and so on: what is measured on and the photographs first, then a fake of every original,
    then more of their fakes.

    \b
    Example:
        python -m dfx.torch.pack_crops --crops crops --exclude exclude.txt --out shards
    """
    out.mkdir(parents=True, exist_ok=True)
    packed = _items(Crops(crops, exclude, labels), faces, held_out, np.random.default_rng(seed))
    items = (through(item, coding_of(item, h264)) for item in packed)
    write(items, out, "shard", int(size * 2**20), shards)


def _items(crops: Crops, faces: Path | None, held_out: int, rng: np.random.Generator) -> Iterator[Item]:
    held = sorted(crops.pairs(held_out=True), key=lambda pair: hashlib.sha256(pair[0].name.encode()).digest())
    for real, fakes in held[:held_out]:
        yield from (_item(crops, entry) for entry in (real, fakes[0]))
    yield from photographs(faces) if faces else ()
    pairs = crops.pairs(held_out=False)
    order = [pairs[i] for i in rng.permutation(len(pairs))]
    shuffled = [(real, [fakes[i] for i in rng.permutation(len(fakes))]) for real, fakes in order]
    for turn in range(max((len(fakes) for _, fakes in shuffled), default=0)):
        for real, fakes in shuffled:
            yield from (_item(crops, entry) for entry in ([real] if turn == 0 else []) + fakes[turn : turn + 1])


def _item(crops: Crops, entry: Entry) -> Item:
    return Item(crops.jpeg(entry).read_bytes(), entry.original, entry.fake, entry.held_out)


def coding_of(item: Item, share: float) -> Coding | None:
    """How a picture to train on is encoded anew, None for not at all: drawn by the name of its original, so that an
    original and its fakes are encoded alike, in every run."""
    dice = Dice(1, torch.Generator().manual_seed(item.group))
    return Coding.drawn(dice) if bool(dice.chance(share)) and not item.held_out else None


def through(item: Item, coding: Coding | None) -> Item:
    """The picture as x264 leaves it."""
    if coding is None:
        return item
    coded = recoded_still(decoded(item.jpeg).transpose(2, 0, 1), coding).transpose(1, 2, 0)
    return replace(item, jpeg=jpeg(coded, RECODED_QUALITY))


def photographs(folder: Path, cut: Cut = TIGHT, side: int = SIDE) -> Iterator[Item]:
    """Every face in a folder of faces.csv, aligned as a classifier's crops are, at so many pixels."""
    for face in portraits(folder):
        matrix = similarity(face.marks, cut.template, side)[0]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(face.pixels, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        yield Item(jpeg(np.asarray(crop, np.uint8), QUALITY), face.name, fake=False, around=cut.around)


def write(items: Iterable[Item], out: Path, stem: str, size: int, most: int) -> None:
    """Writes OUT/STEM_0.npz and so on, of at most `size` bytes each, `most` of them at most."""
    for number, part in zip(range(most), dealt(items, size), strict=False):
        path = out / f"{stem}_{number}.npz"
        _shard(part).write(path)
        click.echo(f"{path}: {len(part)} pictures, {path.stat().st_size / 2**20:.1f} MiB")


def _shard(items: list[Item]) -> Shard:
    return Shard(
        [item.jpeg for item in items],
        np.array([item.group for item in items], np.int64),
        np.array([item.fake for item in items], np.bool_),
        np.array([item.held_out for item in items], np.bool_),
        np.array([item.fold for item in items], np.str_),
        np.array([item.around for item in items], np.float32),
        np.array([number_of(item.video) for item in items], np.int64),
    )


if __name__ == "__main__":
    main()
