"""Sift: which of the people followed through a video are pictures of people: posters on a wall, prints on a shirt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfx.ops.cuda import DeviceArray
from dfx.values import Float, Pixels, Track, Verdict

BACK = 0.8  # side, as a share of the main face's, from which on a face is never taken for a picture
ALIKE_POSTER, ALIKE_PRINT = 0.028, 0.065
"""What the aligned face changes by, from `change`, up to which it is a picture. Measured on tests/false_faces.py and
on the REAL videos of ../shared/data/videos, in two windows: posters change by 0.001 to 0.026, prints, whose cloth
bends and whose shading moves, by 0.013 to 0.064; of living faces 95 % by more than 0.029, 90 % by more than 0.06.
The looser bound holds on a chest only, where a living face is rare."""
CHEST = (1.5, 0.8, 4.0)  # a chest: at most so far to the side of a face's middle, and so far below, in its sides
MARGIN, BLOCK = 0.3, 3  # of the crop: the share cut off at each edge, which is background; pixels that are averaged
LOOKS = 4  # frames of a clip that are compared
SHIFT = 3  # blocks, both ways, that two frames are slid over each other: a small face's landmarks err by a pixel


def pictures(
    tracks: Sequence[Track], clips: Sequence[Pixels | DeviceArray], people: Sequence[int]
) -> list[Verdict | None]:
    """Judges each track by all windows of its person: POSTER, PRINT, or None for a living face.

    clips: the aligned face clips, uint8 [T, 3, S, S], of the tracks; people: their numbers from `join`. The main face
    and any other that is not much smaller are never judged, nor is a person seen in one window only: a living listener
    may hold still for half a second, but not for the seconds between two windows. Of clips on a GPU, only those of
    suspects come to the host.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for i, person in enumerate(people):
        groups[person].append(i)
    boxes = {person: np.mean([tracks[i].boxes.mean(axis=0) for i in rows], axis=0) for person, rows in groups.items()}
    main = max(groups, key=lambda p: sum(_side(tracks[i].boxes.mean(axis=0)) ** 2 for i in groups[p]), default=-1)
    verdicts: list[Verdict | None] = [None] * len(tracks)
    for person, rows in groups.items():
        if person != main and len(rows) > 1 and _side(boxes[person]) < BACK * _side(boxes[main]):
            verdict = _judged(change([np.asarray(clips[i]) for i in rows]), boxes[person], boxes[main])
            for i in rows:
                verdicts[i] = verdict
    return verdicts


def change(clips: Sequence[Pixels]) -> float:
    """How much an aligned face changes over its clips, uint8 [T, 3, S, S] each: 0 for a picture, about 0.15 alive.

    One less the correlation of two frames' green samples where they match best, the 90th percentile over all pairs of
    LOOKS frames a clip. Correlation is blind to exposure; averages over blocks are to noise, and sliding is to
    landmarks that err. It takes about one millisecond.
    """
    faces = np.concatenate([_blocks(clip[:: -(-len(clip) // LOOKS), 1]) for clip in clips])
    high, wide = (side - 2 * SHIFT for side in faces.shape[1:])
    slid = np.lib.stride_tricks.sliding_window_view(faces, (high, wide), axis=(1, 2))  # [T, shifts, shifts, high, wide]
    normed = _normed(slid.reshape(-1, high * wide)).reshape(len(faces), -1, high * wide)
    middle = normed[:, normed.shape[1] // 2]
    alike = (middle @ normed.reshape(-1, high * wide).T).reshape(len(faces), len(faces), -1).max(axis=2)
    return float(np.percentile(1 - np.maximum(alike, alike.T), 90))


def _normed(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of mean 0 and length 1, whose products are correlations."""
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3))


def _judged(changed: float, box: Float, main: Float) -> Verdict | None:
    if changed <= ALIKE_PRINT and _on_chest(box, main):
        return Verdict.PRINT
    return Verdict.POSTER if changed <= ALIKE_POSTER else None


def _on_chest(box: Float, main: Float) -> bool:
    right, down = (box[:2] + box[2:] - main[:2] - main[2:]) / 2 / _side(main)
    aside, neck, waist = CHEST
    return bool(abs(right) <= aside and neck <= down <= waist)


def _blocks(samples: Pixels) -> NDArray[np.float32]:
    """[T, S, S] -> means of blocks of the middle of the crop, float32 [T, S', S']."""
    edge = int(samples.shape[-1] * MARGIN)
    count = (samples.shape[-1] - 2 * edge) // BLOCK
    inner = samples[:, edge : edge + count * BLOCK, edge : edge + count * BLOCK]
    blocks = inner.reshape(len(samples), count, BLOCK, count, BLOCK)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))


def _side(box: Float) -> float:
    return float(np.sqrt(max(box[2] - box[0], 1e-3) * max(box[3] - box[1], 1e-3)))
