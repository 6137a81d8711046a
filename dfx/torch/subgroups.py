"""False alarms by subgroup: which REAL videos the classifier takes for fakes, as far as the labelled videos can say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy.stats import binomtest

from dfx.torch.clip_data import Sample

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]
THIRDS = (0, 1 / 3, 2 / 3, 1)
FEWEST = 5  # videos of a source that has a row of its own
ALARM = 0.5
OTHERS = "other sources"


def false_alarms(data: Sequence[Sample], probabilities: Float) -> Table:
    """A row a subgroup of the real videos: how many score above ALARM, with Wilson's 95 % interval (1927).

    The interval takes videos as independent; those of one source or person are not, so it is too narrow.
    """
    real = [(sample, p) for sample, p in zip(data, probabilities.tolist(), strict=True) if not sample.video.fake]
    samples, alarms = [sample for sample, _ in real], np.array([p > ALARM for _, p in real])
    table = Table("real videos", "videos", "above 0.5", "share", "95 % interval")
    for name, rows in _groups(samples):
        count, above = int(rows.sum()), int(alarms[rows].sum())
        low, high = wilson(above, count)
        table.add_row(name, str(count), str(above), f"{above / count:.2f}", f"{low:.2f} to {high:.2f}")
    return table


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def brightness(sample: Sample) -> float:
    """The mean sample of the main person's face crops, 0 to 255."""
    return float(sample.clips.pixels[sample.clips.main].mean())


def _groups(samples: Sequence[Sample]) -> Iterator[tuple[str, Bool]]:
    """Name of a subgroup, and which of the videos are in it: bool [N]."""
    yield "all", np.ones(len(samples), np.bool_)
    yield from _thirds("face {:.0f} to {:.0f} pixels wide", np.array([sample.video.face_width for sample in samples]))
    yield from _thirds("mean of the crops {:.0f} to {:.0f} of 255", np.array([brightness(s) for s in samples]))
    counts = Counter(sample.video.source for sample in samples)
    sources = np.array([s.video.source if counts[s.video.source] >= FEWEST else OTHERS for s in samples])
    for source in sorted(set(sources.tolist()), key=lambda name: (name == OTHERS, name)):
        yield source, sources == source


def _thirds(name: str, values: Float) -> Iterator[tuple[str, Bool]]:
    """The videos in three parts of like size, by a measure; NaN is in none of them."""
    known = values[~np.isnan(values)]
    edges = np.quantile(known, THIRDS) if len(known) else np.zeros(0)
    for low, high in pairwise(edges.tolist()):
        rows = (values >= low) & ((values < high) | ((values == high) & (high == edges[-1])))
        if rows.any():
            yield name.format(low, high), rows
