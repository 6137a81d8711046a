"""Sift: which of the people followed through a video are pictures of people: posters on a wall, prints on a shirt.

A picture moves in one piece, however it is held, tilted and filmed. So the looks at a face are brought onto each other
by the motion of a plane, or of cloth where a shirt would be, and what that leaves unexplained is measured: a mouth,
lids or a head that turns leave much in a few places, a picture only noise. Half a second is too short for that, since
a listener may hold still; the windows of a video lie seconds apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx.align import CLOTH, PLANE, Motion, aligned, blurred
from dfx.ops.cuda import DeviceArray
from dfx.values import Float, Pixels, Track, Verdict

BACK = 0.8  # side, as a share of the main face's, from which on a face is never taken for a picture
SMALL = 0.33  # side, as a share of the main face's, below which
STILL = 0.04  # a face of one window whose landmarks move by less than this share of its side is a picture
UNREST_POSTER, UNREST_PRINT = 0.05, 0.1
"""What `unrest` leaves of a face, up to which it is a picture. Chosen on the part "tune" of tests/false_faces.py, in
two windows of four frames. Moved as a plane, 32 of 33 framed, held, glossy and paused pictures leave less than 0.05,
living second faces 0.055 and more. Moved as cloth, which explains more, all 10 prints leave less than 0.1, and living
faces on a chest 0.115 and more."""
CHEST = (1.5, 0.8, 4.0)  # a chest: at most so far to the side of a face's middle, and so far below, in its sides
BLOCK = 2  # pixels of a crop that are averaged: noise halves, and a face of 64 pixels still has 32 samples
HALF, FACE = 18, 16  # samples from the middle that are aligned, and that are judged
SHADES = 8.0  # samples: slower changes of brightness are light
CELL = 4  # samples, the side of a square whose changes count together: a lid is as high
PLACES, TIMES = 98, 90
"""Percentiles. Lids and mouths are small: a face is judged by its restless places, nearly the most restless of its
cells, at restless times, all but a tenth of its pairs of pictures, since one may be covered or fail to align."""
PICTURES = 12  # of a person, at most: the cost grows with their pairs


def pictures(
    tracks: Sequence[Track], around: Sequence[Pixels | DeviceArray | None], people: Sequence[int]
) -> list[Verdict | None]:
    """Judges each track by all windows of its person: POSTER, PRINT, or None for a living face.

    around: of each track its face with what is around it, uint8 [F, 3, S, S] from `crop_around`, None where it was
    alone in its window; people: their numbers from `join`. The main face and any other that is not much smaller are
    never judged. Of crops on a GPU, only those of suspects come to the host. A suspect costs about 50 ms of one core.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for i, person in enumerate(people):
        groups[person].append(i)
    boxes = {person: np.mean([tracks[i].boxes.mean(axis=0) for i in rows], axis=0) for person, rows in groups.items()}
    main = max(groups, key=lambda p: sum(_side(tracks[i].boxes.mean(axis=0)) ** 2 for i in groups[p]), default=-1)
    verdicts: list[Verdict | None] = [None] * len(tracks)
    for person, rows in groups.items():
        if person != main and _side(boxes[person]) < BACK * _side(boxes[main]):
            seen = [(tracks[i], crops) for i in rows if (crops := around[i]) is not None]
            verdict = _verdict(seen, boxes[person], boxes[main])
            for i in rows:
                verdicts[i] = verdict
    return verdicts


def unrest(views: Sequence[Pixels], motion: Motion) -> float:
    """What no motion explains of how a face changes over its views, as a share of its contrast: 0 for a picture.

    views: uint8 [T, S, S], one channel, a window each.
    """
    every = np.concatenate(views)
    some = every[np.linspace(0, len(every) - 1, min(len(every), PICTURES)).round().astype(int)]
    faces = aligned(_blocks(some, BLOCK), motion, HALF)
    edge = HALF - FACE
    details = (faces - blurred(faces, SHADES))[:, edge:-edge, edge:-edge]
    usual = details.mean(axis=0)
    first, second = np.triu_indices(len(details), 1)
    apart = _blocks(np.square(details[first] - details[second]) / 2, CELL)
    return float(np.percentile(np.percentile(apart, TIMES, axis=0), PLACES) / max(np.mean(usual**2), 1.0))


def _verdict(seen: Sequence[tuple[Track, Pixels | DeviceArray]], box: Float, main: Float) -> Verdict | None:
    """Of a person, by the windows that show others too. One window tells of nothing but the far and still."""
    if len(seen) > 1:
        return _judged([_followed(*each) for each in seen], box, main)
    far = seen and _side(box) < SMALL * _side(main)
    return Verdict.POSTER if far and _movement(seen[0][0]) <= STILL else None


def _judged(seen: Sequence[Pixels], box: Float, main: Float) -> Verdict | None:
    if _on_chest(box, main) and unrest(seen, CLOTH) <= UNREST_PRINT:
        return Verdict.PRINT
    return Verdict.POSTER if unrest(seen, PLANE) <= UNREST_POSTER else None


def _followed(track: Track, around: Pixels | DeviceArray) -> Pixels:
    """The green of its crops from the first to the last detection; before and after, its place is a guess."""
    found = np.flatnonzero(track.detected)
    return np.asarray(around)[found[0] : found[-1] + 1, 1]


def _movement(track: Track) -> float:
    """The largest mean movement of the landmarks from their mean place, in sides of the face; infinite if seen once."""
    marks = track.landmarks[track.detected]
    if len(marks) < 2:
        return float("inf")
    return float(
        np.linalg.norm(marks - marks.mean(axis=0), axis=2).mean(axis=1).max() / _side(track.boxes.mean(axis=0))
    )


def _on_chest(box: Float, main: Float) -> bool:
    right, down = (box[:2] + box[2:] - main[:2] - main[2:]) / 2 / _side(main)
    aside, neck, waist = CHEST
    return bool(abs(right) <= aside and neck <= down <= waist)


def _blocks(samples: NDArray[Any], side: int) -> Float:
    """[T, n, n] -> means of squares of `side` samples, float32 [T, n / side, n / side]."""
    count = samples.shape[-1] // side
    squares = samples.reshape(len(samples), count, side, count, side)
    return np.asarray(squares.mean(axis=(2, 4), dtype=np.float32))


def _side(box: Float) -> float:
    return float(np.sqrt(max(box[2] - box[0], 1e-3) * max(box[3] - box[1], 1e-3)))
