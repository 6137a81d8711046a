"""Sheet: pictures that face detectors differ on, each one's boxes in its colour, as one PNG. OpenCV draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.frame import VideoFrame

from dfx.errors import DependencyError
from dfx.origin import install
from dfx.stills import encoded
from dfx.table import text_of
from dfx.values import Pixels

if TYPE_CHECKING:
    from dfx.comparison import Shown

COLOURS = ((230, 159, 0), (86, 180, 233), (0, 200, 140), (240, 228, 66), (213, 94, 0), (204, 121, 167), (255, 255, 255))
"""Told apart by the colour-blind (Okabe and Ito), the green lighter and the blue left out for a dark ground."""
CELL = 384  # pixels of a picture's place, which is square
ACROSS = 4  # pictures a row
LINE, TEXT, GAP = 28, 0.45, 8  # pixels of a line of text, OpenCV's scale of it, pixels between pictures
GROUND, INK = 24, (230, 230, 230)


def draw(detectors: Sequence[str], shown: Sequence[Shown]) -> bytes:
    """The PNG: a legend, then the pictures in rows, each with its file's name, its frame and its second."""
    cv2 = opencv()
    rows = [shown[start : start + ACROSS] for start in range(0, len(shown), ACROSS)]
    heights = [LINE + GAP + max(_size(one.picture)[0] for one in row) for row in rows]
    sheet: Pixels = np.full((LINE + GAP + sum(heights), ACROSS * (CELL + GAP) + GAP, 3), GROUND, np.uint8)
    _legend(cv2, sheet, detectors if shown else [*detectors, "- they agree on every picture"])
    top = LINE + GAP
    for row, height in zip(rows, heights, strict=True):
        for place, one in enumerate(row):
            _place(cv2, sheet, one, top, GAP + place * (CELL + GAP))
        top += height
    return encoded(VideoFrame.from_ndarray(sheet, format="rgb24"), "png")


def opencv() -> Any:
    """OpenCV; raises DependencyError where it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise DependencyError(f"a sheet is drawn by OpenCV ({error}): run {install('detectors')}") from error
    return cv2


def _place(cv2: Any, sheet: Pixels, one: Shown, top: int, left: int) -> None:
    """One picture and its line of text, whose head is cut where it is too long: the end of a name tells more."""
    height, width = _size(one.picture)
    factor = width / one.picture.shape[1]
    picture = cv2.resize(one.picture, (width, height), interpolation=cv2.INTER_AREA)
    for number, seen in enumerate(one.look.seen):
        for box in seen.boxes * one.scale * factor:
            _box(cv2, picture, box, number)
    where = f"  f{one.look.index}  {one.look.seconds:.2f} s"
    name = text_of(one.filename).encode("ascii", "backslashreplace").decode()  # all that OpenCV's font has
    _write(cv2, sheet, name[-(44 - len(where)) :] + where, left, top, INK)
    sheet[top + LINE : top + LINE + height, left : left + width] = picture


def _box(cv2: Any, picture: Pixels, box: Any, number: int) -> None:
    """A frame of two pixels, pulled in by one a detector, so that boxes that are the same stand beside each other."""
    left, top, right, bottom = (round(float(side)) for side in box)
    corners = (left + number, top + number), (right - number, bottom - number)
    cv2.rectangle(picture, *corners, COLOURS[number % len(COLOURS)], 2)


def _legend(cv2: Any, sheet: Pixels, words: Sequence[str]) -> None:
    left = GAP
    for number, word in enumerate(words):
        colour = COLOURS[number % len(COLOURS)]
        _write(cv2, sheet, word, left, GAP // 2, colour)
        left += cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, TEXT, 1)[0][0] + 3 * GAP


def _write(cv2: Any, sheet: Pixels, words: str, left: int, top: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(sheet, words, (left, top + LINE - GAP), cv2.FONT_HERSHEY_SIMPLEX, TEXT, colour, 1, cv2.LINE_AA)


def _size(picture: Pixels) -> tuple[int, int]:
    """Height and width that a picture has on the sheet; small ones are enlarged, so that boxes can be told apart."""
    factor = CELL / max(picture.shape[:2])
    return max(1, round(picture.shape[0] * factor)), max(1, round(picture.shape[1] * factor))
