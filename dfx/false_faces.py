"""Sift: which of the people followed through a video are none: posters on a wall, prints on a shirt, and what the
detector hardly takes for a face.

A picture moves in one piece, however it is held, tilted and filmed. So the looks at a face are brought onto each other
by the motion of a plane, or of cloth where a shirt would be, and what that leaves is measured: a mouth, lids or a head
that turns still move in a few places, a picture nowhere. Half a second is too short for that, since a listener may hold
still; the windows of a video lie seconds apart.
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

BACK = 0.8  # side, as a share of the main face's, from which on a face is never taken for a picture: on the labelled
# videos somebody as large as the one who speaks sits still for both windows of a clip of two seconds
UNREST = {PLANE: 0.2, CLOTH: 0.3}
"""`unrest` of a face, up to which it is a picture. Chosen on the part "tune" of tests/false_faces.py (seeds 0 to 2,
four of each kind) just above the pictures, since a person lost is the dearer error, and it changes by a tenth with how
a video is encoded. Moved as planes, 59 of 60 framed, held, glossy, paused and flat pictures leave 0.17 at most, and 60
of 61 living faces 0.58 and more (the last one 0.2); as cloth, 22 of 24 prints 0.23 at most, and all 8 living faces 0.57
and more."""
CHEST = (1.5, 0.8, 4.0)  # a chest: at most so far to the side of a face's middle, and so far below, in its sides
BLOCK = 2  # pixels of a crop that are averaged: noise halves, and a face of 64 pixels still has 32 samples
HALF, FACE = 18, 16  # samples from the middle that are aligned, and that are judged
SHADES = 8.0  # samples: slower changes of brightness are light
CELL = 4  # samples, the side of a square whose changes count together: a lid is as high
PLACES, TIMES = 98, 90
"""Percentiles. Lids and mouths are small: a face is judged by its most restless places, all but two in a hundred cells,
at restless times, all but a tenth of its pairs of pictures, since one may be covered or fail to align."""
NOISE = 2.0
"""How much more noise changes the most restless cell than the middle one: for means over 16 samples, chi-square with 16
degrees of freedom, the 98th percentile is 1.9 times the median."""
DOUBT = 0.25
"""Share of the scores that count as a face, from the lowest on, up to which the detector is unsure of somebody: mean
scores up to 0.62 with the shipped one. With the detector before it, of 20 such tracks in 12 labelled videos 18 were
hands, walls, plants and the like, and two lay beside the faces of people who walk by."""
PICTURES = 12  # of a person, at most: the cost grows with their pairs


def pictures(
    tracks: Sequence[Track], around: Sequence[Pixels | DeviceArray | None], people: Sequence[int]
) -> list[Verdict | None]:
    """Judges each track by all windows of its person: POSTER, PRINT, or None for a living face.

    around: of each track its face with what is around it, uint8 [F, 3, S, S] from `crop_around`, None where it was
    alone in its window; people: their numbers from `join`. The main face and any other that is not much smaller are
    never judged, nor is who is seen beside others in one window only: half a second tells nothing. Of crops on a GPU,
    only those of suspects come to the host. A suspect costs about 50 ms of one core.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for i, person in enumerate(people):
        groups[person].append(i)
    boxes = {person: np.mean([tracks[i].boxes.mean(axis=0) for i in rows], axis=0) for person, rows in groups.items()}
    main = max(groups, key=lambda p: sum(_side(tracks[i].boxes.mean(axis=0)) ** 2 for i in groups[p]), default=-1)
    verdicts: list[Verdict | None] = [None] * len(tracks)
    for person, rows in groups.items():
        if person != main and _side(boxes[person]) < BACK * _side(boxes[main]):
            views = [_followed(tracks[i], crops) for i in rows if (crops := around[i]) is not None]
            verdict = _verdict(views, boxes[person], boxes[main])
            for i in rows:
                verdicts[i] = verdict
    return verdicts


def unsure(tracks: Sequence[Track], people: Sequence[int], sure: float) -> list[Verdict | None]:
    """UNSURE for every track of who scores little in the mean, if there is anybody who scores more.

    people: their numbers from `join`; sure: the score above which the detector takes something for a face.
    """
    scores: dict[int, list[float]] = defaultdict(list)
    for track, person in zip(tracks, people, strict=True):
        scores[person].append(float(track.scores.mean(dtype=np.float64)))
    known = {person for person, means in scores.items() if np.mean(means) > sure + DOUBT * (1 - sure)}
    return [Verdict.UNSURE if known and person not in known else None for person in people]


def unrest(views: Sequence[Pixels], motion: Motion) -> float:
    """How far the restless places of a face move beside its own motion, in about square samples: 0 for a picture.

    views: uint8 [T, S, S], one channel, a window each. A change over the slope at its place is a movement (brightness
    constancy; Horn and Schunck, 1981). So a dark face counts as a bright one does, and what sampling between pixels
    does to the edges of a picture, which is a share of their slope, stays small.
    """
    every = np.concatenate(views)
    some = every[np.linspace(0, len(every) - 1, min(len(every), PICTURES)).round().astype(int)]
    faces = aligned(_blocks(some, BLOCK), motion, HALF)
    edge = HALF - FACE
    details = (faces - blurred(faces, SHADES))[:, edge:-edge, edge:-edge]
    slopes = np.square(np.gradient(faces.mean(axis=0))).mean(axis=0)[edge:-edge, edge:-edge]
    steep = (_blocks(slopes[None], CELL)[0] + slopes.mean()) / 2  # smooth skin has changes that are not its slope's too
    first, second = np.triu_indices(len(details), 1)
    apart = _blocks(np.square(details[first] - details[second]) / 2, CELL)
    restless = np.percentile(apart, TIMES, axis=0)
    beyond = np.maximum(restless - NOISE * np.median(restless), 0)
    return float(np.percentile(beyond / np.maximum(steep, 1.0), PLACES))


def _verdict(views: Sequence[Pixels], box: Float, main: Float) -> Verdict | None:
    """Of a person, by the windows that show others too."""
    if len(views) < 2:
        return None
    if _on_chest(box, main) and unrest(views, CLOTH) <= UNREST[CLOTH]:
        return Verdict.PRINT
    return Verdict.POSTER if unrest(views, PLANE) <= UNREST[PLANE] else None


def _followed(track: Track, around: Pixels | DeviceArray) -> Pixels:
    """The green of its crops from the first to the last detection; before and after, its place is a guess."""
    found = np.flatnonzero(track.detected)
    return np.asarray(around)[found[0] : found[-1] + 1, 1]


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
