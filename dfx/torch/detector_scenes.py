"""The detector's training scenes: pictures laid over each other, with other people's faces in their heads, in any
weather."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dfx.torch.boxes import floats
from dfx.torch.detector_layers import CANVAS, cloth, covered, mirrored, pasted, screened, swapped, viewed
from dfx.torch.labelled import Labelled, Picture
from dfx.values import Float

CROWD = (14.0, 80.0)  # pixels of a face in a crowd, drawn evenly in octaves
CLOSE = 0.5  # share of a crowd's heads that stand close to another face
SCREENED = 0.35  # share of the scenes in which some faces are behind a shoulder, an arm, or the edge of a hood
AROUND = 0.7  # of a face's longer side: the width of what is cut out with it on every side, hair and shoulders
PLAIN = 0.25  # share of the scenes that show photographs as they are, at about the size that they are judged at
ABSENT = -1.0  # the target of a row that is no face
SHARED = Path("/dev/shm")  # of Linux
AHEAD = 4  # batches that each worker makes ahead
NICE = 5  # of the workers, beside the process that keeps the device busy
Sample = tuple[Picture, Float, Float, Float]


class Scenes(Dataset[Sample]):
    """Samples without end: pixels uint8 [320, 320, 3], boxes [K, 4], landmarks [K, 5, 2], targets [K].

    faces: for the heads of the people in the pictures. heads: to be pasted anywhere, alone or as a crowd.
    """

    def __init__(
        self, pictures: Sequence[Labelled], faces: Sequence[Labelled], heads: Sequence[Labelled], seed: int
    ) -> None:
        self._pictures, self._faces, self._heads, self._seed = pictures, faces, heads, seed

    def __getitem__(self, number: int) -> Sample:
        """The sample of that number: it depends on the seed and on nothing else, whoever draws it."""
        rng = np.random.default_rng([self._seed, number])
        plain = rng.random() < PLAIN
        scene = viewed(covered(_draw(self._pictures, rng), rng), _draw(self._pictures, rng), rng, plain)
        if plain:
            return scene.pixels, scene.boxes, scene.marks, scene.target
        scene = self._peopled(scene, rng)
        return _weather(scene.pixels, rng), scene.boxes, scene.marks, scene.target

    def _peopled(self, scene: Labelled, rng: np.random.Generator) -> Labelled:
        while rng.random() < 0.4:
            scene = swapped(scene, _draw(self._faces, rng), rng)
        for _ in range(rng.integers(3, 16) if rng.random() < 0.3 else 0):
            scene = pasted(scene, _draw(self._heads, rng), rng, CROWD, CLOSE)
        while rng.random() < 0.3:
            scene = pasted(scene, _draw(self._heads, rng), rng)
        for _ in range(rng.integers(1, 4) if rng.random() < SCREENED else 0):
            scene = screened(scene, cloth(_draw(self._pictures, rng), rng), rng)
        return scene


def batches(scenes: Scenes, size: int, start: int, workers: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Batches without end from a scene's number on, the same whatever the number of worker processes.

    Yields pixels uint8 [size, 320, 320, 3], boxes [size, K, 4], landmarks [size, K, 5, 2], targets [size, K], ABSENT
    where a scene has fewer faces than another.
    """
    numbers = (list(range(first, first + size)) for first in count(start, size))
    more: dict[str, Any] = {"prefetch_factor": AHEAD} if workers else {}
    collate = _tensors if _shares(workers * AHEAD * size * CANVAS**2 * 3) else _arrays
    for pixels, boxes, marks, target in DataLoader(
        scenes, batch_sampler=numbers, num_workers=workers, collate_fn=collate, worker_init_fn=_give_way, **more
    ):
        yield torch.as_tensor(pixels), torch.as_tensor(boxes), torch.as_tensor(marks), torch.as_tensor(target)


def _give_way(_: int) -> None:
    os.nice(NICE)


def _shares(bytes_needed: int) -> bool:
    """Whether the shared memory that a loader's tensors go through has room to spare; many containers have 64 MiB."""
    return SHARED.is_dir() and shutil.disk_usage(SHARED).free > 2 * bytes_needed


def _tensors(samples: list[Sample]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in _arrays(samples))


def _arrays(samples: list[Sample]) -> Sample:
    """One batch; arrays go through a pipe, at more work for who reads it."""
    most = max(len(target) for *_, target in samples)
    rows = [
        (
            pixels,
            np.pad(boxes, ((0, most - len(boxes)), (0, 0))),
            np.pad(marks, ((0, most - len(boxes)), (0, 0), (0, 0))),
            np.pad(target, (0, most - len(boxes)), constant_values=ABSENT),
        )
        for pixels, boxes, marks, target in samples
    ]
    pixels, boxes, marks, target = (np.stack(parts) for parts in zip(*rows, strict=True))
    return pixels, boxes, marks, target


def heads(pictures: Sequence[Labelled], smallest: float = 24.0) -> Iterator[Labelled]:
    """The bare faces of pictures, each cut out with what is around it; others near it are unknown there."""
    for picture in pictures:
        sizes = (picture.boxes[:, 2:] - picture.boxes[:, :2]).max(axis=1, initial=0)
        marked = ~np.isnan(picture.marks).any(axis=(1, 2))
        for k in np.flatnonzero((picture.target == 1) & marked & (sizes >= smallest)):
            yield _cut(picture, int(k), AROUND * float(sizes[k]))


def _cut(picture: Labelled, k: int, margin: float) -> Labelled:
    height, width = picture.pixels.shape[:2]
    low = (picture.boxes[k, :2] - margin).clip(0).astype(int)
    high = np.ceil(picture.boxes[k, 2:] + margin).clip(0, [width, height]).astype(int)
    order = np.argsort(np.arange(len(picture.boxes)) != k, kind="stable")
    boxes, marks = picture.boxes[order] - np.tile(low, 2), picture.marks[order] - low
    target = floats(np.where(order == k, 1.0, np.nan))
    near = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < high - low).all(axis=1)
    pixels = np.ascontiguousarray(picture.pixels[low[1] : high[1], low[0] : high[0]])
    return Labelled(picture.name, pixels, floats(boxes[near]), floats(marks[near]), target[near])


def _draw(pictures: Sequence[Labelled], rng: np.random.Generator) -> Labelled:
    """One of the pictures, mirrored every other time."""
    picture = pictures[int(rng.integers(len(pictures)))]
    return mirrored(picture) if rng.random() < 0.5 else picture


def _weather(pixels: Picture, rng: np.random.Generator) -> Picture:
    """Light, colour, blur, noise and compression, each now and then."""
    out = pixels
    if rng.random() < 0.7:
        gain, offset = rng.uniform(0.25, 1.4) * rng.normal(1, 0.07, 3), rng.uniform(-25, 25)
        levels = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
        out = np.asarray(cv2.LUT(out, levels[None]), np.uint8)
    if rng.random() < 0.12:
        out = np.asarray(cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    if rng.random() < 0.35:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.2:
        noise = rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(2, 10))
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        out = np.asarray(cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(out)
