"""Shards of packed face crops, and a store of their pixels on the device that trains, which grows as they come."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dfx.torch.augment import Dice
from dfx.torch.clipnet import CROP_SIZE

STORED_SIZE = 192  # pixels; a little more than a crop, so that shifts and turns have something to show
THUMB = 8  # pixels: a picture's likeness, by which a donor of a face is found
CANDIDATES = 64  # of which the likest is the donor
POLL = 1.0  # seconds between looks for the first shard
Picture = NDArray[np.uint8]
cv2.setNumThreads(0)  # the pool of threads below decodes picture by picture


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Pictures as JPEGs. group [N]: pictures with the same number show one original or its fakes; held_out [N]: not
    to be trained on."""

    jpegs: Sequence[bytes]
    group: NDArray[np.int64]
    fake: NDArray[np.bool_]
    held_out: NDArray[np.bool_]

    def write(self, path: Path) -> None:
        """Writes one uncompressed .npz, atomically."""
        ends = np.cumsum([len(jpeg) for jpeg in self.jpegs])
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            data = np.frombuffer(b"".join(self.jpegs), np.uint8)
            np.savez(file, data=data, ends=ends, group=self.group, fake=self.fake, held_out=self.held_out)
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Shard:
        """Reads what `write` wrote."""
        with path.open("rb") as file, np.load(file) as arrays:
            data, ends = arrays["data"].tobytes(), arrays["ends"].tolist()
            jpegs = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            return cls(jpegs, arrays["group"], arrays["fake"], arrays["held_out"])

    def pictures(self, size: int) -> Picture:
        """All pictures decoded and scaled by area, RGB: uint8 [N, size, size, 3]."""
        out = np.empty((len(self.jpegs), size, size, 3), np.uint8)

        def decode(row: int) -> None:
            picture = cv2.imdecode(np.frombuffer(self.jpegs[row], np.uint8), cv2.IMREAD_COLOR)
            out[row] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(decode, range(len(self.jpegs)), chunksize=64))
        return out

    def rows(self, chosen: NDArray[np.bool_]) -> Shard:
        """Some of the pictures: chosen bool [N]."""
        jpegs = [jpeg for jpeg, kept in zip(self.jpegs, chosen, strict=True) if kept]
        return Shard(jpegs, self.group[chosen], self.fake[chosen], self.held_out[chosen])


class CropStore:
    """The pictures of all shards in a folder, decoded once, on a device.

    pictures: what may be trained on, uint8 [N, STORED_SIZE, STORED_SIZE, 3]. held_out: what is measured on, at the
    network's size, uint8 [M, CROP_SIZE, CROP_SIZE, 3], and held_fake, held_group [M].
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._folder, self._device, self._read = folder, device, set[Path]()
        self.pictures = torch.zeros((0, STORED_SIZE, STORED_SIZE, 3), dtype=torch.uint8, device=device)
        self.held_out = torch.zeros((0, CROP_SIZE, CROP_SIZE, 3), dtype=torch.uint8, device=device)
        self._thumbs = torch.zeros((0, 3 * THUMB * THUMB), device=device)
        self._group, self._fake = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        self.held_group, self.held_fake = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        while not self.refresh():
            time.sleep(POLL)

    def refresh(self) -> bool:
        """Takes in the shards that are new in the folder; whether there were any."""
        found = [path for path in sorted(self._folder.glob("*.npz")) if path not in self._read and self._add(path)]
        self._read.update(found)
        if found:
            self._index()
        return bool(found)

    def _add(self, path: Path) -> bool:
        try:
            shard = Shard.read(path)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return False  # it is still being copied; the next look will find it whole
        held, rest = shard.rows(shard.held_out), shard.rows(~shard.held_out)
        self.held_out = torch.cat([self.held_out, torch.from_numpy(held.pictures(CROP_SIZE)).to(self._device)])
        self.held_group = np.concatenate([self.held_group, held.group])
        self.held_fake = np.concatenate([self.held_fake, held.fake])
        added = torch.from_numpy(rest.pictures(STORED_SIZE)).to(self._device)
        self.pictures = torch.cat([self.pictures, added])
        self._thumbs = torch.cat([self._thumbs, *(_thumbs(part) for part in added.split(1024))])
        self._group, self._fake = np.concatenate([self._group, rest.group]), np.concatenate([self._fake, rest.fake])
        click.echo(f"{path.name}: {len(rest.jpegs)} pictures to train on, {len(held.jpegs)} held out")
        return True

    def _index(self) -> None:
        """Lists the originals, and of those with fakes, which they are: a run of `_fakes` each."""
        reals, fakes = np.flatnonzero(~self._fake), np.flatnonzero(self._fake)
        fakes = fakes[np.argsort(self._group[fakes], kind="stable")]
        first, end = (np.searchsorted(self._group[fakes], self._group[reals], side) for side in ("left", "right"))
        some = end > first
        lists = (reals, reals[some], fakes, first[some], (end - first)[some])
        on_device = (torch.from_numpy(rows.astype(np.int64)).to(self._device) for rows in lists)
        self._reals, self._originals, self._fakes, self._first, self._count = on_device

    def pairs(self, dice: Dice) -> tuple[Tensor, Tensor]:
        """Rows of originals and of a fake of each: int64 [N] twice."""
        chosen = (dice.uniform(0, 1) * len(self._originals)).long()
        nth = (dice.uniform(0, 1) * self._count[chosen]).long()
        return self._originals[chosen], self._fakes[self._first[chosen] + nth]

    def reals(self, dice: Dice) -> Tensor:
        """Rows of real pictures, with fakes or without: int64 [N]."""
        return self._reals[(dice.uniform(0, 1) * len(self._reals)).long()]

    def donors(self, rows: Tensor, dice: Dice) -> Tensor:
        """For each row [N] that of another real picture, in like light and pose as far as a few draws allow: [N]."""
        choices = self._reals[(dice.uniform(0, 1, CANDIDATES) * len(self._reals)).long()]
        distance = (self._thumbs[choices] - self._thumbs[rows][:, None]).square().sum(2)
        likest = distance.masked_fill(choices == rows[:, None], torch.inf).argmin(1)
        return choices.gather(1, likest[:, None])[:, 0]

    def floats(self, rows: Tensor) -> Tensor:
        """Pictures as float [N, 3, STORED_SIZE, STORED_SIZE], 0 to 255."""
        return self.pictures[rows].permute(0, 3, 1, 2).float().contiguous()


def _thumbs(pictures: Tensor) -> Tensor:
    """The inner faces, made tiny: uint8 [N, S, S, 3] -> float [N, 3 * THUMB * THUMB]."""
    inner = slice(STORED_SIZE // 8, -STORED_SIZE // 8)
    return functional.adaptive_avg_pool2d(pictures[:, inner, inner].permute(0, 3, 1, 2).float(), THUMB).flatten(1)
