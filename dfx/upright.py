"""Upright: which way up people stand in a video, asked of the face detector, whatever the file says.

A detector that knows upright faces takes one on its head for a face too, a little less surely, and puts its eyes where
the mouth is: the classifier, which never saw such a face, then calls it manipulated. The constants were chosen on the
labelled videos of `benchmarks/turned.py`, which shows what they come to, and on drawn clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfx.crop import crop_middle
from dfx.detect import Detector
from dfx.values import Frames, Track

SIDE = 96  # pixels of the square around a face that is turned; the face fills two fifths
TRUSTED = 0.7  # a mean detector score from which on there is a face where one was found, whichever way it is turned
SURE = 0.8  # a score that speaks for turning a video
MARGIN = 0.04  # by which another way up must be surer
TURNS = (0, 90, 180, 270)  # degrees clockwise


class Upright:
    """What the windows of one video say of the way up that people stand in them.

    A video is turned where all windows that say anything say the same: a person who lies in one of them, or a picture
    in a picture, turns nothing.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector, self._searched = detector, False
        self._said: set[int] = set()

    @property
    def turn(self) -> int:
        """Degrees clockwise by which the video is to be turned, beside what its file says."""
        return next(iter(self._said)) if len(self._said) == 1 else 0

    def ask(self, frames: Frames, tracks: Sequence[Track]) -> None:
        """Hears a window, and the faces that were followed in it; none after one in which people stand upright."""
        if 0 not in self._said and (turn := self._wanted(frames, tracks)) is not None:
            self._said.add(turn)

    def _wanted(self, frames: Frames, tracks: Sequence[Track]) -> int | None:
        """By a small picture of the surest face; by a whole picture where that is hardly a face, or where the small one
        would turn it and is not sure. Of windows without any face one is searched. None where nothing is sure."""
        surest = max(tracks, key=_score, default=None)
        if surest is not None and _score(surest) >= TRUSTED:
            scores = self._detector.by_turn(np.asarray(crop_middle(frames, surest, SIDE)))
            if max(scores) >= SURE or not _turn(scores):
                return _turn(scores)
        if surest is None and self._searched:
            return None
        self._searched |= surest is None
        return self._of_whole(frames)

    def _of_whole(self, frames: Frames) -> int | None:
        """By the surest face of the middle picture."""
        scores = [self._seen(frames, turn) for turn in TURNS]
        return _turn(scores) if max(scores) >= SURE else None

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
