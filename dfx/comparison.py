"""Comparison: what several face detectors found in the same pictures, and the tables that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfx.agree import grouped, matched, overlaps
from dfx.files import write_bytes
from dfx.table import Listed, Row, Table
from dfx.values import Float, Pixels

if TYPE_CHECKING:
    from dfx.charts import Chart

DECILES = tuple(range(10, 100, 10))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one detector found in one picture: boxes float32 [K, 4] xyxy, confidence float32 [K].

    milliseconds: of processor time, which other work on the machine does not lengthen.
    """

    boxes: Float
    confidence: Float
    milliseconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture: the frame counted from 0, its second, and what each detector saw in it, in their order."""

    index: int
    seconds: float
    seen: tuple[Seen, ...]

    @property
    def faces(self) -> list[dict[int, int]]:
        """The faces by all detectors together, as `dfx.agree.grouped` has them: detector -> its box."""
        return grouped([one.boxes for one in self.seen])

    @property
    def disputed(self) -> int:
        """The faces that some detectors see and others do not."""
        return sum(len(face) < len(self.seen) for face in self.faces)


@dataclass(frozen=True, slots=True)
class Looked:
    """One video: its pictures, or the reason and the sentence why there are none."""

    filename: str
    looks: tuple[Look, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture for the sheet: RGB uint8 [H, W, 3]; scale: its pixels a pixel of the video."""

    filename: str
    look: Look
    picture: Pixels
    scale: float


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Listed[Looked]):
    """What the detectors found, video by video. As a table: a row a box.

    detectors: their names, in the order in which they were given; shown: pictures for `sheet`, the most disputed.
    """

    detectors: tuple[str, ...]
    items: tuple[Looked, ...]
    shown: tuple[Shown, ...] = ()

    def columns(self) -> tuple[str, ...]:
        """Boxes in pixels of the upright picture; votes: of the detectors, those that see this face."""
        box = ("left", "top", "right", "bottom", "confidence", "votes")
        return ("filename", "frame", "seconds", "detector", *box, "milliseconds", "problem")

    def rows(self) -> Iterator[Row]:
        """A row a box; one with blanks for a picture in which a detector finds none, and for a video without any."""
        for item in self.items:
            if item.problem:
                yield item.filename, *[""] * 10, item.problem
            for look in item.looks:
                for row in _rows(look, self.detectors):
                    yield item.filename, *row, ""

    @property
    def looks(self) -> list[Look]:
        """The pictures of all videos."""
        return [look for item in self.items for look in item.looks]

    @property
    def failed(self) -> list[Looked]:
        """The videos that could not be looked at."""
        return [item for item in self.items if item.problem]

    @property
    def overview(self) -> Table:
        """A row a detector: videos and pictures with a face, faces, most at once, confidence, median processor time.

        at once: the most faces in one picture of a video, mean over the videos.
        """
        columns = ("detector", "videos", "pictures", "faces", "at once", "confidence", "ms a picture")
        return Table(columns, tuple(self._overview(n) for n in range(len(self.detectors))))

    @property
    def sizes(self) -> Table:
        """A row a detector: mean and deciles of the roots of the boxes' areas, in pixels of the upright picture."""
        columns = ("detector", *(f"{decile}%" for decile in DECILES), "mean")
        return Table(columns, tuple((name, *self._sizes(number)) for number, name in enumerate(self.detectors)))

    @property
    def pairs(self) -> Table:
        """A row a pair of detectors: boxes that match by IoU >= 0.4, those of one alone, and how well they match.

        misses: the second's boxes that the first has not; extras: the first's that the second has not; agreement: the
        share of matches among all three; IoU: mean over the matches.
        """
        columns = ("detector", "beside", "matches", "misses", "extras", "agreement", "IoU")
        pairs = combinations(range(len(self.detectors)), 2)
        return Table(columns, tuple(self._pair(first, second) for first, second in pairs))

    @property
    def votes(self) -> Table:
        """A row a number k of votes: the faces that at least k detectors see, and each one's boxes among them.

        What stands in the first row and not in the second is what a vote of two would drop.
        """
        every = [face for look in self.looks for face in look.faces]
        rows = []
        for least in range(1, len(self.detectors) + 1):
            kept = [face for face in every if len(face) >= least]
            boxes = [sum(n in face for face in kept) for n in range(len(self.detectors))]
            rows.append((f"{least} of {len(self.detectors)}", len(kept), *boxes))
        return Table(("agree", "faces", *self.detectors), tuple(rows))

    def kept(self, votes: int) -> Comparison:
        """The same without the boxes of faces that fewer than so many detectors see."""
        return replace(self, items=tuple(replace(item, looks=_voted(item.looks, votes)) for item in self.items))

    def sheet(self, path: str | Path) -> None:
        """Writes a PNG of the most disputed pictures, each detector's boxes in its colour.

        Raises OutputError, or DependencyError where OpenCV, which draws it, is not installed.
        """
        from dfx.sheet import draw

        write_bytes(Path(path), draw(self.detectors, self.shown))

    def __repr__(self) -> str:
        return "\n\n".join(repr(table) for table in (self.overview, self.sizes, self.pairs, self.votes))

    def _repr_html_(self) -> str:
        tables = (self.overview, self.sizes, self.pairs, self.votes)
        return "".join(table._repr_html_() for table in tables) + self._charts_html()

    def charts(self) -> tuple[Chart, ...]:
        """For each detector the faces that it finds and its time; for each pair how far the two agree."""
        from dfx.charts import bars_chart

        rows = list(self.overview.rows())
        faces = bars_chart("Faces found", [(row[0], row[3]) for row in rows])
        times = bars_chart("Processor time a picture, ms", [(row[0], row[6] or 0) for row in rows])
        pairs = [(f"{first}, {second}", share) for first, second, *_, share, _ in self.pairs.rows() if share != ""]
        return (faces, times, bars_chart("Agreement of a pair", pairs)) if pairs else (faces, times)

    def _sizes(self, number: int) -> Row:
        boxes = np.concatenate([look.seen[number].boxes for look in self.looks] or [np.zeros((0, 4), np.float32)])
        sides = _sides(boxes)
        return (*(_measured(partial(np.percentile, q=decile), sides) for decile in DECILES), _measured(np.mean, sides))

    def _overview(self, number: int) -> Row:
        seen = [[look.seen[number] for look in item.looks] for item in self.items if item.looks]
        every = [one for video in seen for one in video]
        most = [max(len(one.boxes) for one in video) for video in seen]
        confidence = np.concatenate([one.confidence for one in every] or [np.zeros(0, np.float32)])
        times = [one.milliseconds for one in every]
        return (
            self.detectors[number],
            sum(count > 0 for count in most),
            sum(len(one.boxes) > 0 for one in every),
            len(confidence),
            _measured(np.mean, most, 2),
            _measured(np.mean, confidence, 2),
            _measured(np.median, times, 1),
        )

    def _pair(self, first: int, second: int) -> Row:
        boxes = [(look.seen[first].boxes, look.seen[second].boxes) for look in self.looks]
        shares = [overlaps(*both)[pair] for both in boxes for pair in matched(*both)]
        misses, extras = (sum(len(both[n]) for both in boxes) - len(shares) for n in (1, 0))
        every = len(shares) + misses + extras
        agreement = round(len(shares) / every, 3) if every else ""
        names = self.detectors[first], self.detectors[second]
        return (*names, len(shares), misses, extras, agreement, _measured(np.mean, shares, 2))


def _rows(one: Look, detectors: Sequence[str]) -> Iterator[Row]:
    votes = {(detector, number): len(face) for face in one.faces for detector, number in face.items()}
    for place, (name, seen) in enumerate(zip(detectors, one.seen, strict=True)):
        start, spent = (one.index, round(one.seconds, 3), name), round(seen.milliseconds, 2)
        for number, (box, sure) in enumerate(zip(seen.boxes.tolist(), seen.confidence.tolist(), strict=True)):
            yield *start, *(round(side, 1) for side in box), round(sure, 4), votes[place, number], spent
        if not len(seen.boxes):
            yield *start, *[""] * 6, spent


def _voted(looks: Sequence[Look], votes: int) -> tuple[Look, ...]:
    return tuple(replace(one, seen=_voters(one, votes)) for one in looks)


def _voters(one: Look, votes: int) -> tuple[Seen, ...]:
    faces = [face for face in one.faces if len(face) >= votes]
    rows = [sorted(face[n] for face in faces if n in face) for n in range(len(one.seen))]
    return tuple(
        replace(seen, boxes=seen.boxes[kept], confidence=seen.confidence[kept])
        for seen, kept in zip(one.seen, rows, strict=True)
    )


def _sides(boxes: Float) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)))


def _measured(measure: Callable[[Any], Any], values: Any, digits: int | None = None) -> float | str:
    """A measure of values, for people: a whole number unless digits are asked for, a blank of no values."""
    return round(float(measure(values)), digits) if len(values) else ""
