"""Track: faces on a few frames of each window -> real people, followed through all of its frames."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dfx.values import Faces, Float, Followed, Frames, Track, Verdict

LINK_IOU = 0.3  # boxes a quarter of a second apart that overlap by this much are one face
LINK_DISTANCE = 0.6  # or whose centres are within this share of the side: a quick turn of a small head
WEAK_IOU = 0.5  # a weak detection goes on with a face only where that was: ByteTrack's second matching asks for as much
JOIN_DISTANCE = 1.5  # between windows, seconds apart: centres within this many sides, and
JOIN_RATIO = 1.8  # sides within this factor, are one person
NESTED = 0.5  # share of the smaller of two boxes that lies in the other, above which they are one face: on the real
# videos, detections of a part of a large face share 0.51 to 1.0 with it, those of two people 0.23 at most
CAP, HAIR = 0.6, 0.25  # a face of less than this share of another's side, no higher above its box than this share of
# its height, is printed on its cap: a person behind would be hidden there by the head
PEOPLE = 4  # kept a window, at most: DFDC shows two at most


@dataclass(slots=True, eq=False)
class _Chain:
    """The detections of one face so far: positions in the window, boxes, scores, landmarks."""

    looks: list[int] = field(default_factory=list)
    boxes: list[Float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    landmarks: list[Float] = field(default_factory=list)

    def add(self, look: int, faces: Faces, number: int) -> None:
        at = bisect(self.looks, look)
        self.looks.insert(at, look)
        self.boxes.insert(at, faces.boxes[number])
        self.scores.insert(at, float(faces.scores[number]))
        self.landmarks.insert(at, faces.landmarks[number])

    def near(self, look: int) -> Float:
        """The box of the look that is nearest in time."""
        return min(zip(self.looks, self.boxes, strict=True), key=lambda pair: abs(pair[0] - look))[1]

    @property
    def box(self) -> Float:
        """The mean box, float32 [4]."""
        return np.asarray(np.stack(self.boxes).mean(axis=0), np.float32)

    @property
    def side(self) -> float:
        """The root of the mean box's area, pixels."""
        return _side(self.box)

    @property
    def weight(self) -> float:
        """What says how much of a main character it is: area, confidence and presence."""
        return self.side**2 * sum(self.scores)

    @property
    def strength(self) -> float:
        """Which of two that overlap is the face: a part of it scores 0.6 to 0.85 where it scores 0.9 to 1, so that the
        cube of confidence outweighs boxes a half larger, and area alone a face inside a face."""
        return self.side**2 * sum(self.scores) ** 3


def follow(frames: Frames, looked: Mapping[int, Faces], sure: float = 0.0) -> list[Track]:
    """Links detections into tracks, drops what is no real face, and interpolates to every frame of the window.

    looked: position in the window -> the faces found there; sure: the score above which one may begin a track. Returns
    at most PEOPLE tracks, the largest and surest first. Linking is greedy on overlap, like SORT (Bewley et al., ICIP
    2016) without its motion model: a quarter of a second lies between two looks. Where a track lacks a look, a weaker
    detection goes on with it, as in ByteTrack (Zhang et al., ECCV 2022). Interpolation is linear; before the first and
    after the last detection the face is held still.
    """
    return [each.track for each in track_faces(frames, looked, sure) if each.verdict is None]


def track_faces(frames: Frames, looked: Mapping[int, Faces], sure: float = 0.0) -> list[Followed]:
    """As `follow`, with what was dropped, and why, after what is kept."""
    left = _link(looked, sure)
    judged: list[tuple[_Chain, Verdict | None]] = []
    for verdict, rule in _RULES:
        false = rule(left, len(looked))
        judged += [(chain, verdict) for chain in left if chain in false]
        left = [chain for chain in left if chain not in false]
    kept = sorted(left, key=lambda chain: -chain.weight)
    judged = [*((chain, None) for chain in kept), *judged]
    return [Followed(_interpolated(frames, chain), verdict) for chain, verdict in judged]


def join(tracks: Sequence[Track]) -> list[int]:
    """Numbers the people: tracks of different windows at about the same place and size are the same person.

    tracks: in order of time, those of one window together. Returns a number for each, counted from 0.
    """
    people: list[Track] = []
    numbers: list[int] = []
    for track in tracks:
        taken = {n for n, other in zip(numbers, tracks, strict=False) if other.index[0] == track.index[0]}
        near = [(_apart(people[n], track), n) for n in range(len(people)) if n not in taken]
        distance, number = min(near, default=(np.inf, -1))
        if distance > JOIN_DISTANCE:
            number = len(people)
            people.append(track)
        people[number] = track
        numbers.append(number)
    return numbers


def _link(looked: Mapping[int, Faces], sure: float) -> list[_Chain]:
    chains: list[_Chain] = []
    for look in sorted(looked):
        faces = looked[look][looked[look].scores > sure]
        for number in _extended(chains, look, faces, LINK_IOU, LINK_DISTANCE):
            chains.append(_Chain())
            chains[-1].add(look, faces, number)
    for look in sorted(looked):
        without = [chain for chain in chains if look not in chain.looks]
        _extended(without, look, looked[look][looked[look].scores <= sure], WEAK_IOU)
    return chains


def _extended(chains: Sequence[_Chain], look: int, faces: Faces, iou: float, reach: float = 0.0) -> list[int]:
    """Adds to each chain the detection that goes on with it, and returns the numbers of those that are left."""
    free = set(range(len(faces)))
    waiting = set(range(len(chains)))
    for chain, number in _pairs(chains, look, faces, iou, reach):
        if chain in waiting and number in free:
            waiting.remove(chain)
            free.remove(number)
            chains[chain].add(look, faces, number)
    return sorted(free)


def _pairs(chains: Sequence[_Chain], look: int, faces: Faces, iou: float, reach: float) -> Iterable[tuple[int, int]]:
    """Chains and detections that may be one face, the best overlap first."""
    scored = []
    for i, chain in enumerate(chains):
        last = chain.near(look)
        for j, box in enumerate(faces.boxes):
            overlap, distance = _iou(last, box), _distance(last, box)
            if overlap >= iou or distance <= reach:
                scored.append((-overlap, distance, i, j))
    return [(i, j) for *_, i, j in sorted(scored)]


def _blips(chains: Sequence[_Chain], looks: int) -> list[_Chain]:
    """Faces seen in fewer than half of the looks."""
    return [chain for chain in chains if 2 * len(chain.looks) < looks]


def _nested(chains: Sequence[_Chain], _: int) -> list[_Chain]:
    """Faces that share a head with a surer or larger one: greedy, the strongest first."""
    kept: list[_Chain] = []
    for chain in sorted(chains, key=lambda chain: -chain.strength):
        if not any(_one_head(chain, other) for other in kept):
            kept.append(chain)
    return [chain for chain in chains if chain not in kept]


def _one_head(first: _Chain, second: _Chain) -> bool:
    """Whether one lies half in the other, the mean over the looks that saw both, or on the other's cap in most."""
    theirs = dict(zip(second.looks, second.boxes, strict=True))
    pairs = [(box, theirs[look]) for look, box in zip(first.looks, first.boxes, strict=True) if look in theirs]
    if not pairs:
        return False
    shares = [_shared(*pair) / min(map(_area, pair)) for pair in pairs]
    return bool(np.mean(shares) > NESTED or np.mean([_capped(*sorted(pair, key=_area)) for pair in pairs]) > 0.5)


def _capped(small: Float, large: Float) -> bool:
    """Whether a far smaller box has its middle in the larger one, or in the hair above it."""
    x, y = (small[:2] + small[2:]) / 2
    inside = large[0] < x < large[2] and large[1] - HAIR * (large[3] - large[1]) < y < large[3]
    return bool(inside and _side(small) < CAP * _side(large))


def _crowd(chains: Sequence[_Chain], _: int) -> list[_Chain]:
    """All but the PEOPLE largest and surest."""
    return sorted(chains, key=lambda chain: -chain.weight)[PEOPLE:]


_RULES = ((Verdict.BLIP, _blips), (Verdict.NESTED, _nested), (Verdict.CROWD, _crowd))


def _interpolated(frames: Frames, chain: _Chain) -> Track:
    at = np.arange(len(frames))
    rows = [np.concatenate([box, marks.ravel()]) for box, marks in zip(chain.boxes, chain.landmarks, strict=True)]
    values = _smoothed(np.stack(rows).astype(np.float64))
    dense = np.stack([np.interp(at, chain.looks, column) for column in values.T], axis=1).astype(np.float32)
    return Track(
        index=frames.index,
        seconds=frames.seconds,
        boxes=dense[:, :4],
        landmarks=dense[:, 4:].reshape(-1, 5, 2),
        scores=np.interp(at, chain.looks, chain.scores).astype(np.float32),
        detected=np.isin(at, chain.looks),
    )


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quarter of each neighbour, which does not lag: jitter of single detections halves, steady motion stays."""
    if len(values) < 3:
        return values
    inner = values[:-2] / 4 + values[1:-1] / 2 + values[2:] / 4
    return np.concatenate([values[:1], inner, values[-1:]])


def _apart(first: Track, second: Track) -> float:
    """Distance of two tracks' places in sides of a face; infinite where their sizes differ too much."""
    mine, theirs = first.boxes.mean(axis=0), second.boxes.mean(axis=0)
    ratio = _side(mine) / max(_side(theirs), 1e-6)
    return _distance(mine, theirs) if 1 / JOIN_RATIO < ratio < JOIN_RATIO else float("inf")


def _side(box: Float) -> float:
    return float(np.sqrt(_area(box)))


def _area(box: Float) -> float:
    return float(max(box[2] - box[0], 1e-3) * max(box[3] - box[1], 1e-3))


def _shared(first: Float, second: Float) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    return float(np.clip(high - low, 0, None).prod())


def _iou(first: Float, second: Float) -> float:
    shared = _shared(first, second)
    return shared / (_area(first) + _area(second) - shared)


def _distance(first: Float, second: Float) -> float:
    """Between centres, in sides of the smaller face."""
    apart = (first[:2] + first[2:] - second[:2] - second[2:]) / 2
    return float(np.linalg.norm(apart)) / min(_side(first), _side(second))
