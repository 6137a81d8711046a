"""Charts: the numbers behind the report's drawings. The template draws them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 20  # of a histogram of scores
RELIABILITY_BINS = 10


@dataclass(frozen=True, slots=True)
class Bar:
    """Videos whose score is from `low` to `high`; height: count as a share of the highest bar's."""

    low: float
    high: float
    count: int
    height: float


@dataclass(frozen=True, slots=True)
class Level:
    """Videos of about the same score: their mean score, the share of fakes among them, and how many they are."""

    score: float
    share: float
    count: int


def histogram(scores: Sequence[float]) -> list[Bar]:
    """How many scores fall in each of 20 equal bins from 0 to 1."""
    counts, edges = np.histogram(np.asarray(scores), bins=BINS, range=(0, 1))
    top = max(1, int(counts.max(initial=0)))
    return [
        Bar(low, high, count, count / top)
        for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    ]


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
