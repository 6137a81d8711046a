"""The DFDC face crops of the public repository i-Shreyansh/DeepFake-Detection: one 224x224 JPEG a video, with its
original.

Both sides of a pair, a fake and its original, get the same augmentation, so that neither the encoder nor the light
but only the manipulation tells them apart.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset
from tqdm import tqdm

from dfx.torch.clipnet import CROP_SIZE
from dfx.torch.pseudo_fakes import self_blended

CACHED_SIZE = 184  # pixels; a little more than a crop, so that shifts and turns have something to show
Picture = NDArray[np.uint8]
cv2.setNumThreads(0)  # its pool of threads would not survive the fork of a loader


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: its row in the cache, its label (1 for fake), and the original video that it comes from."""

    row: int
    name: str
    fake: bool
    original: str

    @property
    def held_out(self) -> bool:
        """Whether its original belongs to the tenth that training never sees."""
        return hashlib.sha256(self.original.encode()).digest()[0] < 26


class Crops:
    """The crops under a folder that holds `metadata.csv` and `faces_224/`, decoded once into a memory-mapped array.

    exclude: a file of SHA-256 digests of video names that stay out of everything.
    labels: a CSV of the videos that the classifier is measured on (column `source_path`): their scenes stay out too.
    """

    def __init__(self, folder: Path, exclude: Path, cache: Path, labels: Path | None = None) -> None:
        self.entries = _entries(folder, set(exclude.read_text().split()))
        self._measured = _scenes(self.entries, labels.read_text()) if labels else set()
        shape = (len(self.entries), CACHED_SIZE, CACHED_SIZE, 3)
        if not cache.exists():
            _fill(cache, shape, folder, self.entries)
        self.pictures = np.memmap(cache, np.uint8, "r", shape=shape)

    def pairs(self, *, held_out: bool) -> list[tuple[Entry, list[Entry]]]:
        """Each original of one side of the split, with its fakes."""
        fakes: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.fake:
                fakes.setdefault(entry.original, []).append(entry)
        reals = (entry for entry in self.entries if not entry.fake and entry.held_out == held_out)
        scenes = fakes.keys() - self._measured
        return [(real, fakes[real.original]) for real in reals if real.original in scenes]


def _scenes(entries: list[Entry], labels: str) -> set[str]:
    """The originals of every DFDC video that a table of labelled videos names."""
    named = {f"{name}.mp4" for name in re.findall(r"(?<![a-z])[a-z]{10}(?=\.mp4)", labels)}
    return named | {entry.original for entry in entries if entry.name in named}


def _entries(folder: Path, excluded: set[str]) -> list[Entry]:
    with (folder / "metadata.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if _digest(row["videoname"]) not in excluded]
    rows = [row for row in rows if _jpeg(folder, row["videoname"]).exists()]
    rows = [row for row in rows if row["label"] == "REAL" or row["original"].endswith(".mp4")]
    kept = [row for row in rows if row["label"] == "REAL" or _digest(row["original"]) not in excluded]
    names = [(row["videoname"], row["label"] == "FAKE") for row in kept]
    originals = [row["original"] if row["label"] == "FAKE" else row["videoname"] for row in kept]
    return [Entry(i, name, fake, originals[i]) for i, (name, fake) in enumerate(names)]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _jpeg(folder: Path, videoname: str) -> Path:
    return folder / "faces_224" / f"{Path(videoname).stem}.jpg"


def _fill(cache: Path, shape: tuple[int, ...], folder: Path, entries: list[Entry]) -> None:
    partial = cache.with_suffix(".partial")
    pictures = np.memmap(partial, np.uint8, "w+", shape=shape)
    for entry in tqdm(entries, "decoding crops"):
        picture = cv2.imread(str(_jpeg(folder, entry.name)), cv2.IMREAD_COLOR_RGB)
        pictures[entry.row] = cv2.resize(picture, (CACHED_SIZE, CACHED_SIZE), interpolation=cv2.INTER_AREA)
    pictures.flush()
    partial.rename(cache)


class PairStream(IterableDataset[tuple[Tensor, Tensor]]):
    """An endless stream of batches: `pairs` originals and a fake of each: uint8 [2 * pairs, 3, S, S], labels [2 *
    pairs].

    The first half is real, the second half holds the fakes in the same order. It depends on `seed` and `start` (the
    number of batches that went before) alone, so that training resumes on the data that it would have seen.
    pseudo: the share of fakes that are made on the spot from their original (`dfx.torch.pseudo_fakes`).
    """

    def __init__(self, crops: Crops, pairs: int, seed: int, start: int = 0, pseudo: float = 0.0) -> None:
        self._crops, self._count, self._seed, self._start, self._pseudo = crops, pairs, seed, start, pseudo
        self._pairs = crops.pairs(held_out=False)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batch after batch."""
        step = self._start
        while True:
            yield self._batch(np.random.default_rng([self._seed, step]))
            step += 1

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        chosen = rng.choice(len(self._pairs), self._count, replace=False)
        couples = [self._couple(self._pairs[i], rng) for i in chosen]
        pixels = np.stack([real for real, _ in couples] + [fake for _, fake in couples])
        labels = torch.arange(2 * self._count) >= self._count
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), labels.float()

    def _couple(self, pair: tuple[Entry, list[Entry]], rng: np.random.Generator) -> tuple[Picture, Picture]:
        real, fakes = pair
        change = Augmentation.draw(rng)
        original = self._crops.pictures[real.row]
        if rng.random() < self._pseudo:
            fake = self_blended(original, rng)
        else:
            fake = self._crops.pictures[fakes[rng.integers(len(fakes))].row]
        return change(original), change(fake)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One draw of everything that may befall a face crop besides manipulation; applied alike to both of a pair."""

    matrix: NDArray[np.float32]
    flip: bool
    gains: NDArray[np.float32]
    offset: float
    shrink: float
    blur: float
    quality: int
    noise: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        """Draws the change: a small turn, zoom and shift always; the rest now and then."""
        often = rng.random(5)
        relit = often[0] < 0.7
        zoom = CACHED_SIZE / CROP_SIZE * rng.uniform(0.78, 1.02)
        matrix = cv2.getRotationMatrix2D((CROP_SIZE / 2, CROP_SIZE / 2), rng.normal(0, 5), zoom)
        matrix[:, 2] += (CACHED_SIZE - CROP_SIZE) / 2 + rng.normal(0, 4, 2)
        return cls(
            matrix=matrix.astype(np.float32),
            flip=bool(rng.random() < 0.5),
            gains=np.asarray(rng.uniform(0.7, 1.3) * rng.normal(1, 0.05, 3) if relit else np.ones(3), np.float32),
            offset=rng.uniform(-20, 20) if relit else 0.0,
            shrink=rng.uniform(0.4, 1) if often[1] < 0.3 else 1.0,
            blur=rng.uniform(0.3, 1.5) if often[2] < 0.15 else 0.0,
            quality=int(rng.integers(35, 96)) if often[3] < 0.5 else 0,
            noise=rng.uniform(1, 6) if often[4] < 0.2 else 0.0,
            seed=int(rng.integers(2**31)),
        )

    def __call__(self, picture: Picture) -> Picture:
        """uint8 [CACHED_SIZE, CACHED_SIZE, 3] -> uint8 [CROP_SIZE, CROP_SIZE, 3], RGB."""
        size = (CROP_SIZE, CROP_SIZE)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out = cv2.warpAffine(picture, self.matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        out = np.ascontiguousarray(out[:, ::-1]) if self.flip else out
        if self.shrink < 1:
            small = cv2.resize(out, None, fx=self.shrink, fy=self.shrink, interpolation=cv2.INTER_AREA)
            out = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        if self.blur:
            out = cv2.GaussianBlur(out, (0, 0), self.blur)
        if self.offset or self.noise:
            grain = np.random.default_rng(self.seed).standard_normal(out.shape, np.float32) if self.noise else 0
            out = np.clip(out * self.gains + self.offset + self.noise * grain, 0, 255).astype(np.uint8)
        if self.quality:
            out = cv2.imdecode(cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1], cv2.IMREAD_COLOR)
        return np.asarray(out, np.uint8)


def centre(pictures: Picture) -> Tensor:
    """What is measured on: the whole crop at the network's size, uint8 [N, S, S, 3] -> uint8 [N, 3, S, S]."""
    size = (CROP_SIZE, CROP_SIZE)
    scaled = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)
