"""What the public functions return: rows that know how to show and save themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dfx.doubts import uncertain
from dfx.table import Listed, Row, write_csv
from dfx.values import Prediction, Reason, Track

if TYPE_CHECKING:
    from dfx.charts import Chart


@dataclass(frozen=True, slots=True, repr=False)
class Predictions(Listed[Prediction]):
    """The rows of a run, in the order of the CSV.

    paths: where the videos lie, by name; device: what the run was done on, and why, in one line.
    """

    items: tuple[Prediction, ...]
    paths: Mapping[str, Path] = field(default_factory=dict, compare=False)
    device: str = field(default="", compare=False)

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows there are for each reason, the most frequent first."""
        return {str(reason): count for reason, count in Counter(row.reason for row in self.items).most_common()}

    def columns(self) -> tuple[str, ...]:
        """What is shown; `to_csv` writes the challenge's two columns only."""
        return ("filename", "probability", "reason", "uncertain", "faces", "seconds", "detail")

    def rows(self) -> Iterator[Row]:
        """A row a video."""
        for row in self.items:
            unsure = uncertain(row)
            yield row.filename, row.probability, str(row.reason), unsure, row.faces, round(row.seconds, 3), row.detail

    def charts(self) -> tuple[Chart, ...]:
        """How the scores are spread, and the reasons."""
        from dfx.charts import bars_chart, scores_chart

        scores = [row.probability for row in self.items if row.reason == Reason.OK]
        reasons = bars_chart("Videos by reason", self.reasons.items())
        return (scores_chart(scores), reasons) if scores else (reasons,)

    def to_csv(self, path: str | Path) -> None:
        """Writes the challenge's `filename,label`, atomically, with six decimals. Raises OutputError."""
        write_csv(Path(path), ("filename", "label"), ((row.filename, f"{row.probability:.6f}") for row in self.items))


def unscored(filename: str, prior: float, there: bool) -> Prediction:
    """The row of a video that has none of its own. there: whether a file is there for it."""
    if there:
        return Prediction(filename, prior, Reason.OUT_OF_BUDGET, "the run ended before its turn came")
    return Prediction(filename, prior, Reason.MISSING, "no such file in the folder")


@dataclass(frozen=True, slots=True, repr=False)
class FaceTracks(Listed[Track]):
    """The people of one video: a track for each person and window, in order of time.

    turned: degrees clockwise by which dfx turned its pictures beside what the file says, since nobody stood upright in
    them; boxes and landmarks are in pixels of pictures turned so.
    """

    path: Path
    items: tuple[Track, ...]
    turned: int = 0

    def columns(self) -> tuple[str, ...]:
        """Boxes are means over the track, in pixels of the upright picture; times are seconds."""
        return ("track", "start", "end", "frames", "left", "top", "right", "bottom", "confidence")

    def rows(self) -> Iterator[Row]:
        """A row a track."""
        for number, track in enumerate(self.items):
            box = [round(float(value), 1) for value in track.boxes.mean(axis=0)]
            times = float(track.seconds[0]), float(track.seconds[-1])
            yield number, *times, len(track), *box, round(float(track.scores.mean()), 3)
