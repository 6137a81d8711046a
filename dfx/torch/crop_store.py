"""Shards of packed face crops, and a store of their pixels on the device that trains, which grows as they come."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dfx.errors import MissingInputError
from dfx.torch.augment import Dice
from dfx.torch.clipnet import TIGHT, Cut
from dfx.torch.parts import write_arrays

FINER = 1.2  # pictures are stored a little larger than a crop, so that shifts and turns have something to show
STEP = 16  # pixels: sides are multiples of it, for the blocks of a codec
UNKNOWN = 127  # the middle of the network's range, where a picture ends before its canvas
THUMB = 8  # pixels: a picture's likeness, by which a donor of a face is found
CANDIDATES = 64  # of which the likest is the donor
POLL = 1.0  # seconds between looks for the first shard
Picture = NDArray[np.uint8]
cv2.setNumThreads(0)  # the pool of threads below decodes picture by picture


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Pictures as JPEGs.

    group [N]: pictures with the same number show one original or its fakes; held_out [N]: not to be trained on;
    fold [N]: the family of generators without which a picture is left out, "" for none; around [N]: its side in sides
    of a tight crop; video [N]: a number that the pictures of a labelled video share.
    """

    jpegs: Sequence[bytes]
    group: NDArray[np.int64]
    fake: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    fold: NDArray[np.str_]
    around: NDArray[np.float32]
    video: NDArray[np.int64]

    def write(self, path: Path) -> None:
        """Writes one uncompressed .npz, whole or not at all. Raises OutputError."""
        data, ends = np.frombuffer(b"".join(self.jpegs), np.uint8), np.cumsum([len(jpeg) for jpeg in self.jpegs])
        write_arrays(path, data=data, ends=ends, **{name: getattr(self, name) for name in COLUMNS})

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Reads what `write` wrote, now or before there were labelled videos in shards."""
        with path.open("rb") as file, np.load(file) as arrays:
            data, ends = arrays["data"].tobytes(), arrays["ends"].tolist()
            jpegs = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            others = {"fold": np.full(len(ends), ""), "around": np.ones(len(ends), np.float32)}
            others["video"] = np.zeros(len(ends), np.int64)
            return cls(jpegs, **{name: arrays[name] if name in arrays else others[name] for name in COLUMNS})

    def pictures(self, cut: Cut, size: int) -> Picture:
        """All pictures decoded, as a way of cutting shows them, scaled by area, RGB: uint8 [N, size, size, 3]."""
        out = np.empty((len(self.jpegs), size, size, 3), np.uint8)

        def decode(row: int) -> None:
            picture = cv2.imdecode(np.frombuffer(self.jpegs[row], np.uint8), cv2.IMREAD_COLOR)
            out[row] = fitted(np.asarray(picture), float(self.around[row]), cut.around, size)[..., ::-1]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(decode, range(len(self.jpegs)), chunksize=64))
        return out

    def rows(self, chosen: NDArray[np.bool_]) -> Shard:
        """Some of the pictures: chosen bool [N]."""
        jpegs = [jpeg for jpeg, kept in zip(self.jpegs, chosen, strict=True) if kept]
        return Shard(jpegs, **{name: getattr(self, name)[chosen] for name in COLUMNS})


COLUMNS = tuple(field.name for field in fields(Shard) if field.name != "jpegs")


def fitted(picture: Picture, around: float, wanted: float, size: int) -> Picture:
    """A picture uint8 [S', S', 3] of so many sides of a tight crop as one of `wanted` sides: uint8 [size, size, 3].

    Of a wider one the middle; around a tighter one nothing is known, and UNKNOWN is put there.
    """
    if around > wanted:
        kept = round(len(picture) * wanted / around)
        start = (len(picture) - kept) // 2
        picture, around = picture[start : start + kept, start : start + kept], wanted
    inner = round(size * around / wanted)
    start = (size - inner) // 2
    out = np.full((size, size, 3), UNKNOWN, np.uint8)
    inside = slice(start, start + inner)
    way = cv2.INTER_AREA if len(picture) > inner else cv2.INTER_LINEAR
    out[inside, inside] = cv2.resize(picture, (inner, inner), interpolation=way)
    return out


def stored_size(cut: Cut) -> int:
    """Pixels of the side of a picture in a store."""
    return STEP * round(FINER * cut.size / STEP)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Pictures that are not trained on, at the network's size: uint8 [M, S, S, 3]; and of each its label, and a number
    [M] that those of one original, or of one video, share."""

    pictures: Tensor
    fake: NDArray[np.bool_]
    group: NDArray[np.int64]

    @classmethod
    def none(cls, cut: Cut, device: torch.device) -> Measured:
        """No pictures."""
        pictures = torch.zeros((0, cut.size, cut.size, 3), dtype=torch.uint8, device=device)
        return cls(pictures, np.zeros(0, np.bool_), np.zeros(0, np.int64))

    def more(self, pictures: Picture, fake: NDArray[np.bool_], group: NDArray[np.int64]) -> Measured:
        """With further ones."""
        added = torch.from_numpy(pictures).to(self.pictures.device)
        fakes, groups = np.concatenate([self.fake, fake]), np.concatenate([self.group, group])
        return Measured(torch.cat([self.pictures, added]), fakes, groups)


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Rows of the store that draws are made from, int64.

    reals: what pseudo-fakes are made of; originals: what has fakes, in a run [first, first + count) of `fakes` each;
    labelled: fakes of labelled videos, and in `partners` the original at the same moment, -1 where there is none.
    """

    reals: Tensor
    originals: Tensor
    fakes: Tensor
    first: Tensor
    count: Tensor
    labelled: Tensor
    partners: Tensor


class CropStore:
    """The pictures of all shards in a folder, decoded once, on a device.

    leave_out: the folds that are not trained on. pictures: what may be trained on, uint8 [N, S, S, 3], S of
    `stored_size`. held_out: originals and fakes to measure on; left_out: the frames of those folds' videos.
    """

    def __init__(self, folder: Path, device: torch.device, cut: Cut = TIGHT, leave_out: Sequence[str] = ()) -> None:
        self._folder, self._device, self._read = folder, device, set[Path]()
        self.cut, self._leave_out, self._size = cut, leave_out, stored_size(cut)
        self.pictures = torch.zeros((0, self._size, self._size, 3), dtype=torch.uint8, device=device)
        self.held_out = self.left_out = Measured.none(cut, device)
        self._thumbs = torch.zeros((0, 3 * THUMB * THUMB), device=device)
        self._group, self._fake = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        self._video, self._around = np.zeros(0, np.int64), np.zeros(0, np.float32)
        if not folder.is_dir():
            raise MissingInputError(f"no folder of shards at {folder}: name the one that holds the .npz files")
        if not self.refresh():
            click.echo(f"waiting for the first shard in {folder}")
        while not self._read and not self.refresh():
            time.sleep(POLL)

    def refresh(self) -> bool:
        """Takes in the shards that are new in the folder; whether there were any."""
        found = [path for path in sorted(self._folder.glob("*.npz")) if path not in self._read and self._add(path)]
        self._read.update(found)
        if found:
            self._lists = self._listed()
        return bool(found)

    def _add(self, path: Path) -> bool:
        try:
            shard = Shard.read(path)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return False  # it is still being copied; the next look will find it whole
        left = np.isin(shard.fold, self._leave_out)
        rest = shard.rows(~shard.held_out & ~left)
        held, left_out = shard.rows(shard.held_out), shard.rows(left)
        self.held_out = self.held_out.more(held.pictures(self.cut, self.cut.size), held.fake, held.group)
        self.left_out = self.left_out.more(left_out.pictures(self.cut, self.cut.size), left_out.fake, left_out.video)
        self._train_on(rest)
        counts = f"{len(held.jpegs)} held out, {len(left_out.jpegs)} left out"
        click.echo(f"{path.name}: {len(rest.jpegs)} pictures to train on, {counts}")
        return True

    def _train_on(self, shard: Shard) -> None:
        added = torch.from_numpy(shard.pictures(self.cut, self._size)).to(self._device)
        self.pictures = torch.cat([self.pictures, added])
        self._thumbs = torch.cat([self._thumbs, *(_thumbs(part, self.cut) for part in added.split(1024))])
        self._group, self._fake = np.concatenate([self._group, shard.group]), np.concatenate([self._fake, shard.fake])
        self._video = np.concatenate([self._video, shard.video * (shard.fold != "")])
        self._around = np.concatenate([self._around, shard.around])

    def _listed(self) -> Lists:
        """Pseudo-fakes are made of pictures that show what is around a face, where there are any."""
        labelled, real = self._video != 0, ~self._fake
        wide = real & (self._around > TIGHT.around)
        reals, named = np.flatnonzero(real & ~labelled), np.flatnonzero(self._fake & labelled)
        fakes = np.flatnonzero(self._fake & ~labelled)
        fakes = fakes[np.argsort(self._group[fakes], kind="stable")]
        first, end = (np.searchsorted(self._group[fakes], self._group[reals], side) for side in ("left", "right"))
        some = end > first
        base = np.flatnonzero(wide if wide.any() else real)
        lists = (base, reals[some], fakes, first[some], (end - first)[some], named, self._partners(named))
        return Lists(*(torch.from_numpy(rows.astype(np.int64)).to(self._device) for rows in lists))

    def _partners(self, named: NDArray[np.int64]) -> NDArray[np.int64]:
        """The real picture that shows the moment of each fake of a labelled video, -1 for none."""
        real = np.flatnonzero(~self._fake & (self._video != 0))
        of = dict(zip(self._group[real].tolist(), real.tolist(), strict=True))
        return np.array([of.get(group, -1) for group in self._group[named].tolist()], np.int64)

    @property
    def has(self) -> tuple[bool, bool]:
        """Whether there are originals with fakes, and whether there are fakes of labelled videos."""
        return len(self._lists.originals) > 0, len(self._lists.labelled) > 0

    def pairs(self, dice: Dice) -> tuple[Tensor, Tensor]:
        """Rows of originals and of a fake of each: int64 [N] twice."""
        lists = self._lists
        chosen = _drawn(len(lists.originals), dice)
        nth = (dice.uniform(0, 1) * lists.count[chosen]).long()
        return lists.originals[chosen], lists.fakes[lists.first[chosen] + nth]

    def labelled(self, dice: Dice) -> tuple[Tensor, Tensor]:
        """Rows of fakes of labelled videos, second, and first their originals, or else the likest real pictures of
        others: int64 [N] twice."""
        chosen = _drawn(len(self._lists.labelled), dice)
        fakes, partners = self._lists.labelled[chosen], self._lists.partners[chosen]
        return torch.where(partners < 0, self.donors(fakes, dice), partners), fakes

    def reals(self, dice: Dice) -> Tensor:
        """Rows of real pictures to make pseudo-fakes of: int64 [N]."""
        return self._lists.reals[_drawn(len(self._lists.reals), dice)]

    def donors(self, rows: Tensor, dice: Dice) -> Tensor:
        """For each row [N] that of another real picture, in like light and pose as far as a few draws allow: [N]."""
        reals = self._lists.reals
        choices = reals[(dice.uniform(0, 1, CANDIDATES) * len(reals)).long()]
        distance = (self._thumbs[choices] - self._thumbs[rows][:, None]).square().sum(2)
        likest = distance.masked_fill(choices == rows[:, None], torch.inf).argmin(1)
        return choices.gather(1, likest[:, None])[:, 0]

    def floats(self, rows: Tensor) -> Tensor:
        """Pictures as float [N, 3, S, S], 0 to 255."""
        return self.pictures[rows].permute(0, 3, 1, 2).float().contiguous()


def _drawn(count: int, dice: Dice) -> Tensor:
    """Places in a list of so many: int64 [N]."""
    return (dice.uniform(0, 1) * count).long()


def _thumbs(pictures: Tensor, cut: Cut) -> Tensor:
    """The inner faces, made tiny: uint8 [N, S, S, 3] -> float [N, 3 * THUMB * THUMB]."""
    size = pictures.shape[1]
    margin = round(size / 2 * (1 - 0.75 / cut.around))
    inner = slice(margin, size - margin)
    return functional.adaptive_avg_pool2d(pictures[:, inner, inner].permute(0, 3, 1, 2).float(), THUMB).flatten(1)
