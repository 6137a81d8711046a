"""Rehearsal: what a sample took, and with an upper bound what a whole set of videos is expected to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from dfx.cards import START_SECONDS, Card, Projection, Work, project
from dfx.govern import JUDGED
from dfx.table import Row, Tabular

CONFIDENCE = 0.95
WAITING = 1.5  # wall time over a core's, from which on it is told; workers that share a memory have up to 1.2
NOTE = "a projection from this machine's figures and published rates, not a measurement"


@dataclass(frozen=True, slots=True, repr=False)
class Rehearsal(Tabular):
    """What a sample took, and what the whole set is expected to take. Times are seconds.

    videos: of the whole set; budget: for it; windows: a video; source: where the sample came from; device: what it ran
    on, and why; lanes: videos in hand at a time; startup: before the first and after the last video; costs: of each
    video of the sample, in its lane; overhead: wall time of a run over the lanes' share of its costs, 1 at best;
    stages: a video, of one core; steps: windows a video -> cost, in units of that with `windows`; reasons: of the
    sample's rows; gpus: that it ran on; card and projection: where another machine is asked for.
    """

    videos: int
    budget: float
    windows: int
    source: str
    device: str
    lanes: int
    startup: float
    costs: tuple[float, ...]
    overhead: float
    stages: tuple[tuple[str, float], ...]
    steps: tuple[tuple[int, float], ...]
    reasons: tuple[tuple[str, int], ...]
    gpus: int = 0
    card: Card | None = None
    projection: Projection | None = None

    @property
    def seconds_a_video(self) -> float:
        """Expected wall time."""
        if self.projection is not None:
            return self.projection.expected
        return float(np.mean(self.costs)) * self.overhead / self.lanes

    @property
    def bound_a_video(self) -> float:
        """Upper bound on the mean wall time of the whole set's videos, at 95 %; projected: and nothing overlaps."""
        bound = upper_mean(self.costs, self.videos)
        if self.projection is not None:
            return self.projection.bound * bound / float(np.mean(self.costs))
        return bound * self.overhead / self.lanes

    @property
    def expected(self) -> float:
        """Of the whole set, start-up included."""
        return self.startup + self.videos * self.seconds_a_video

    @property
    def bound(self) -> float:
        """Of the whole set, start-up included: the verdict's."""
        return self._total(1.0)

    @property
    def fits(self) -> bool:
        """Whether the bound is within the budget."""
        return self.bound <= self.budget

    @property
    def windows_that_fit(self) -> int:
        """The most windows a video, of those that were tried, with which the bound is within the budget; 0: none."""
        return max((windows for windows, cost in self.steps if self._total(cost) <= self.budget), default=0)

    @property
    def broken(self) -> int:
        """Videos of the sample that could not be scored: they cost time too."""
        return sum(count for reason, count in self.reasons if reason not in JUDGED)

    @property
    def verdict(self) -> str:
        """One line for people."""
        said = f"{self.videos} videos, {_windows(self.windows)} each, in {spoken(self.budget)}"
        where = f"On a {self.card.name} ({NOTE}): " if self.card else ""
        word = "fits" if self.fits else "does not fit"
        gap = f"{spoken(abs(self.budget - self.bound))} {'left' if self.fits else 'over'} at least"
        gap = gap if self.fits else gap.replace("at least", "at most")
        takes = f"about {spoken(self.expected)}, at most {spoken(self.bound)}, {gap}"
        return f"{where}{word}: {said}: {takes}; {self._advice()}"

    def columns(self) -> tuple[str, ...]:
        """What, how much, and what there is to say about it."""
        return ("what", "value", "note")

    def rows(self) -> Iterator[Row]:
        """The sample, each stage, and the whole set."""
        yield "sample", f"{len(self.costs)} videos", self._said_of_the_sample()
        yield "device", f"{self.lanes} at a time", self.device
        total = sum(seconds for _, seconds in self.stages)
        for name, seconds in self.stages:
            yield (
                name,
                f"{1000 * seconds:.1f} ms",
                f"{seconds / total:.0%} of a video's {1000 * total:.0f} ms of one core",
            )
        yield from self._waited(total)
        yield from self._projected()
        yield "start-up", spoken(self.startup), "assumed" if self.projection else "measured"
        surety = "if no two parts overlap" if self.projection else f"with {CONFIDENCE:.0%} confidence"
        yield "a video", f"{self.seconds_a_video:.3f} s", f"at most {self.bound_a_video:.3f} s, {surety}"
        yield "videos a second", f"{1 / self.seconds_a_video:.1f}", f"at least {1 / self.bound_a_video:.1f}"
        yield "whole set", spoken(self.expected), f"at most {spoken(self.bound)}, of {spoken(self.budget)}"
        tried = ", ".join(str(windows) for windows, _ in self.steps)
        yield "windows that fit", str(self.windows_that_fit), f"tried: {tried}"

    def _waited(self, total: float) -> Iterator[Row]:
        """A word on what the stages do not explain. On a GPU they are not what ran."""
        share = float(np.mean(self.costs)) / total
        if share > WAITING and not self.gpus:
            yield "waiting", f"{share:.1f} times", "a video's wall time over its core's: a busy machine, or a slow disk"

    def _projected(self) -> Iterator[Row]:
        if self.projection is not None:
            for name, seconds in self.projection.parts.items():
                yield name, f"{1000 * seconds:.2f} ms", "projected, not measured"

    def _said_of_the_sample(self) -> str:
        counts = ", ".join(f"{count} {reason}" for reason, count in self.reasons)
        return f"{self.source}; {counts}"

    def _advice(self) -> str:
        most = self.windows_that_fit
        if most:
            return f"up to {_windows(most)} a video would fit"
        return "no number of windows fits: with --budget, dfx predict scores what does and gives the rest the prior"

    def _total(self, cost: float) -> float:
        return self.startup + self.videos * self.bound_a_video * cost

    def __repr__(self) -> str:
        return f"{Tabular.__repr__(self)}\n{self.verdict}"


def projected(found: Rehearsal, work: Work, card: Card) -> Rehearsal:
    """The rehearsal, said of another machine."""
    return replace(found, card=card, projection=project(work, card), startup=START_SECONDS)


def upper_mean(costs: Sequence[float], future: int) -> float:
    """A bound that the mean cost of `future` videos stays below with 95 % confidence, from a random sample of costs.

    Student's t on the difference of two means, widened for skewness by the second-order term of its Edgeworth
    expansion (Johnson, JASA 1978; Hall, JRSS B 1992), since a few videos cost many times the usual. Simulated with 40
    videos it holds in 94 % of samples of a log-normal cost of sigma 0.5, in 90 % at 0.8, and in 87 % where one video in
    twenty costs five times the others: what a sample has not met, no bound knows.
    """
    values = np.asarray(costs, np.float64)
    count, spread = len(values), float(values.std(ddof=1))
    if spread == 0:
        return float(values.mean())
    t = _student(count - 1)
    skewness = max(0.0, float(((values - values.mean()) ** 3).mean()) / spread**3)
    width = t * (1 / count + 1 / future) ** 0.5 + skewness * (1 + 2 * t * t) / (6 * count)
    return float(values.mean() + spread * width)


def _student(degrees: int) -> float:
    """The one-sided quantile of Student's t, by its expansion in 1/degrees (Abramowitz and Stegun, 26.7.5)."""
    z: float = NormalDist().inv_cdf(CONFIDENCE)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return float(z + sum(term / degrees**power for power, term in enumerate(terms, 1)))


def spoken(seconds: float) -> str:
    """A duration for people: "1h 02m", "3m 07s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02}m" if minutes >= 60 else f"{minutes}m {rest:02}s"


def _windows(count: int) -> str:
    return f"{count} window" + "s" * (count != 1)
