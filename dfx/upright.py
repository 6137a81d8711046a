"""Upright: which way up people stand in a video, asked of the face detector, whatever the file says.

A detector that knows upright faces takes one on its head for a face too, a little less surely, and puts its eyes where
the mouth is: the classifier, which never saw such a face, then calls it manipulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from dfx.crop import crop_middle
from dfx.detect import Detector
from dfx.values import Frames, Track

SIDE = 96  # pixels of the square around a face that is turned; the face fills two fifths
TRUSTED = 0.7  # a mean detector score from which on there is a face where one was found, whichever way it is turned
SURE = 0.8  # a score of the small picture that speaks for itself
MARGIN = 0.04  # by which another way up must be surer; `benchmarks/turned.py` shows what margins there are
TURNS = (0, 90, 180, 270)  # degrees clockwise
Found = TypeVar("Found")


class Upright(Generic[Found]):
    """A stage that is given the windows of a video as people stand upright in them.

    stage: what is done with a window; tracks_of: the faces in what it found.
    turn: degrees clockwise by which the windows are turned; None until a face has shown it.
    """

    def __init__(
        self,
        detector: Detector,
        stage: Callable[[Frames], list[Found]],
        tracks_of: Callable[[list[Found]], list[Track]],
    ) -> None:
        self._detector, self._stage, self._tracks_of = detector, stage, tracks_of
        self._searched = False
        self.turn: int | None = None

    def __call__(self, frames: Frames) -> list[Found]:
        """What the stage finds in a window; done again for the one that shows which way up people stand."""
        found = self._stage(frames.turned(self.turn or 0))
        if self.turn is None:
            self.turn = self._wanted(frames, self._tracks_of(found))
            if self.turn:
                return self._stage(frames.turned(self.turn))
        return found

    def _wanted(self, frames: Frames, tracks: Sequence[Track]) -> int | None:
        """By a small picture of the surest face; by a whole picture, once in a video, where there is hardly a face, or
        where the small one would turn it and is not sure."""
        surest = max(tracks, key=_score, default=None)
        if surest is not None and _score(surest) >= TRUSTED:
            scores = self._detector.by_turn(np.asarray(crop_middle(frames, surest, SIDE)))
            if max(scores) >= SURE or not _turn(scores):
                return _turn(scores)
        if self._searched:
            return None
        self._searched = True
        return _turn([self._seen(frames, turn) for turn in TURNS])

    def _seen(self, frames: Frames, turn: int) -> float:
        """The score of the surest face in the middle picture, turned."""
        middle = frames.pictures[len(frames) // 2].turned(turn)
        (faces,) = self._detector.detect([middle])  # type: ignore[arg-type]
        return float(faces.scores.max(initial=0.0))


def _score(track: Track) -> float:
    return float(track.scores.mean())


def _turn(scores: Sequence[float]) -> int | None:
    """The way up that is surest, the file's own where they are about the same, None where there is no face at all."""
    if not max(scores):
        return None
    best = int(np.argmax(scores))
    return TURNS[best] if scores[best] > scores[0] + MARGIN else 0
