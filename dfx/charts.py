"""Charts: the numbers behind the drawings of the report and of notebooks. Templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfx.table import text_of

BINS = 20  # of a histogram of scores
RELIABILITY_BINS = 10  # of equal width, of scores; those of the expected calibration error too
MOST_BARS = 10  # of one chart
LONGEST_NAME = 18  # characters beside a bar; of a longer one the middle is left out


@dataclass(frozen=True, slots=True)
class Bar:
    """Videos whose value is from `low` to `high`; height: count as a share of the highest bar's."""

    low: float
    high: float
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a value is spread. axis: its name and unit; half: whether a line marks the middle."""

    title: str
    axis: str
    bars: tuple[Bar, ...]
    half: bool = False

    @property
    def ticks(self) -> list[str]:
        """What stands below the axis, from its left end to its right one."""
        low, high = self.bars[0].low, self.bars[-1].high
        return [self.shown(low + (high - low) * part) for part in (0, 0.25, 0.5, 0.75, 1)]

    @staticmethod
    def shown(value: float) -> str:
        """A value of the axis as text."""
        return f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class Item:
    """One bar that lies: its name, its value as text, and its length as a share of the longest."""

    name: str
    value: str
    share: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar for each of several things."""

    title: str
    items: tuple[Item, ...]


Chart = Histogram | Bars


@dataclass(frozen=True, slots=True)
class Level:
    """Videos of about the same score: their mean score, the share of fakes among them, and how many they are."""

    score: float
    share: float
    count: int


def scores_chart(scores: Sequence[float]) -> Histogram:
    """How many scores fall in each of 20 equal bins from 0 to 1."""
    return Histogram(f"Scores of {len(scores)} scored videos", "score", histogram(scores, (0, 1)), half=True)


def spread_chart(title: str, axis: str, values: Sequence[float]) -> Histogram:
    """How many of one value or more fall in each of 20 equal bins between whole numbers."""
    low, high = math.floor(min(values)), math.ceil(max(values))
    return Histogram(title, axis, histogram(values, (low, max(high, low + 1))))


def bars_chart(title: str, values: Iterable[tuple[str, float]]) -> Bars:
    """A bar for each named value, of 0 or more; behind the tenth they are left out, and the title says so."""
    pairs = list(values)
    shown = pairs[:MOST_BARS]
    top = max((value for _, value in shown), default=0) or 1
    items = tuple(Item(_short(text_of(name)), text_of(value), value / top) for name, value in shown)
    return Bars(f"{title} ({MOST_BARS} of {len(pairs)})" if len(pairs) > MOST_BARS else title, items)


def histogram(values: Sequence[float], span: tuple[float, float] = (0, 1)) -> tuple[Bar, ...]:
    """How many values fall in each of 20 equal bins over the span."""
    counts, edges = np.histogram(np.asarray(values), bins=BINS, range=span)
    top = max(1, int(counts.max(initial=0)))
    return tuple(
        Bar(low, high, count, count / top)
        for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    )


def roc(y: NDArray[np.float64], p: NDArray[np.float64]) -> list[tuple[float, float]]:
    """The ROC curve: (share of real ones above a threshold, share of fakes above it), thresholds falling.

    Videos of equal score are one step. Empty with one class.
    """
    fakes, reals = float((y > 0.5).sum()), float((y <= 0.5).sum())
    if not fakes or not reals:
        return []
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)
    hits, alarms = np.cumsum(y[order] > 0.5)[last], np.cumsum(y[order] <= 0.5)[last]
    return [(0.0, 0.0), *zip((alarms / reals).tolist(), (hits / fakes).tolist(), strict=True)]


def reliability(y: NDArray[np.float64], p: NDArray[np.float64]) -> list[Level]:
    """The calibration curve: mean score and share of fakes in each of ten equal bins that is not empty."""
    bins = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    return [
        Level(float(p[bins == number].mean()), float(y[bins == number].mean()), int((bins == number).sum()))
        for number in np.unique(bins)
    ]


def _short(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    kept = LONGEST_NAME // 2
    return f"{name[: LONGEST_NAME - kept - 1]}…{name[-kept:]}"
