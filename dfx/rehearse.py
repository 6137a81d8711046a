"""Rehearse: runs on a sample, and says with an upper bound whether a whole set of videos fits a budget of time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from numbers import Integral
from pathlib import Path
from statistics import NormalDist

import numpy as np

from dfx.arguments import check_kind, whole
from dfx.cards import START_SECONDS, Card, Projection, Work, card_named, project
from dfx.clocked import ClockedPipeline
from dfx.device import choose
from dfx.equip import equip
from dfx.errors import InputError
from dfx.find import find
from dfx.govern import LADDER, seconds_of
from dfx.mix import made_clips
from dfx.predict import predict_dir
from dfx.process import default_workers
from dfx.results import Predictions
from dfx.settings import Settings
from dfx.table import Row, Tabular
from dfx.values import Prediction, Reason

SAMPLE = 40  # videos
FEWEST = 5  # videos that a bound can be built on
RUNS = 2  # of the whole sample
LADDER_SAMPLE = 8  # videos whose cost is measured for other numbers of windows
CONFIDENCE = 0.95
WAITING = 1.5  # wall time over a core's, from which on it is told; workers that share a memory have up to 1.2
SCORED = (Reason.OK, Reason.NO_FACE)
UNSAFE = (Reason.CRASHED, Reason.TIMEOUT)  # not to be opened outside of a worker
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
        return sum(count for reason, count in self.reasons if reason not in SCORED)

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


def rehearse(
    source: str | Path | Sequence[str | Path] | None = None,
    *,
    videos: int = 4000,
    budget: str | float | timedelta = "9h",
    settings: Settings | None = None,
    device: str = "auto",
    workers: int | None = None,
    card: str | None = None,
    sample: int = SAMPLE,
    progress: bool = True,
) -> Rehearsal:
    """Runs on a sample of videos as a user would, times every stage, and says whether the whole set fits the budget.

    The bound covers what differs from video to video. It cannot know of a machine that slows down later, of a disk
    that is slower than this one's cache, nor of videos unlike the sample.

    Args:
        source: videos to draw the sample from; without any, clips in the challenge's manner are made once and kept.
        videos: of the whole set. budget: wall time for it. settings, device, workers: as for `predict_dir`.
        card: "p100", "t4", "l4", "a100" or "h100": projects to a machine with this card. See `dfx.cards`.
        sample: videos that are run on, at most; four a core or more, since the last ones leave cores idle.
        progress: show bars on standard error.

    Raises:
        InputError: fewer than five videos, an unknown card, and what `predict_dir` raises.
    """
    videos = whole("videos", videos, 1)
    check_kind("sample", sample, Integral, f"a whole number of at least {FEWEST}")
    check_kind("card", card, str | None, "a text, as 't4',")
    check_kind("settings", settings, Settings | None, "a dfx.Settings, as dfx.Settings(windows=2),")
    workers = None if workers is None else whole("workers", workers, 1)
    if sample < FEWEST:
        raise InputError(f"sample is {sample}; a bound needs at least {FEWEST} videos")
    settings, seconds = settings or Settings(), seconds_of(budget)
    wanted = card_named(card) if card is not None else None
    choice = equip(choose(device), [settings.detector, *settings.models])  # builds before anything is timed
    paths = drawn(made_clips(progress=progress) if source is None else source, sample)
    lanes = min(len(paths), sum(crew.lanes for crew in choice.crews(workers, default_workers())))

    def run(some: Sequence[Path]) -> tuple[Predictions, float]:
        return _timed_run(some, settings, device, workers, progress)

    startup = _startup(run, paths[0])
    runs = [run(paths) for _ in range(RUNS)]
    safe, scored = _openable(paths, runs[0][0])
    clocked = ClockedPipeline(settings)
    measured = clocked.measure(safe, settings.windows, progress)
    found = Rehearsal(
        videos=videos,
        budget=seconds,
        windows=settings.windows,
        source="made by dfx" if source is None else str(source),
        device=choice.why,
        gpus=len(choice.gpus),
        lanes=lanes,
        startup=startup,
        costs=tuple(np.mean([[row.seconds for row in rows] for rows, _ in runs], axis=0).tolist()),
        overhead=max(overhead(rows, wall - startup, lanes) for rows, wall in runs),
        stages=tuple(measured.stages.items()),
        steps=_steps(clocked, scored[:LADDER_SAMPLE], settings.windows, progress),
        reasons=tuple(Counter(str(row.reason) for row in runs[0][0]).most_common()),
    )
    return found if wanted is None else projected(found, measured.work(core_flops()), wanted)


def projected(found: Rehearsal, work: Work, card: Card) -> Rehearsal:
    """The rehearsal, said of another machine."""
    return replace(found, card=card, projection=project(work, card), startup=START_SECONDS)


def drawn(source: str | Path | Sequence[str | Path], count: int) -> list[Path]:
    """A random sample of the videos, the same one every time, in order of name. Of two with one name, one is drawn."""
    found = {item.path.name: item.path for item in find(source) if item.path is not None}
    if len(found) < FEWEST:
        raise InputError(
            f"{len(found)} videos bear no bound; at least {FEWEST} are needed: name a larger folder, or none, and dfx "
            "makes clips"
        )
    names = sorted(found)
    return [found[name] for name in sorted(random.Random(0).sample(names, min(count, len(names))))]


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


def overhead(rows: Sequence[Prediction], wall: float, lanes: int) -> float:
    """What a run took without start-up over what its lanes' share of the videos' seconds is: at least 1.

    The last videos of a sample leave lanes idle; in the whole set that is less, so this errs upwards.
    """
    return max(1.0, wall * lanes / sum(row.seconds for row in rows))


def spoken(seconds: float) -> str:
    """A duration for people: "1h 02m", "3m 07s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02}m" if minutes >= 60 else f"{minutes}m {rest:02}s"


def core_flops() -> float:
    """FP32 operations/s of one core, in a product of matrices: the best of five, in a process with one thread."""
    code = (
        "import time, numpy as np; a = np.ones((1024, 1024), np.float32); times = []\n"
        "for _ in range(6): t = time.perf_counter(); a @ a; times.append(time.perf_counter() - t)\n"
        "print(2 * 1024**3 / min(times[1:]))"
    )
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | one
    )
    return float(done.stdout)


def _timed_run(
    paths: Sequence[Path], settings: Settings, device: str, workers: int | None, progress: bool
) -> tuple[Predictions, float]:
    """The rows in the order of `paths`, and wall seconds, journal and CSV included."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        rows = predict_dir(
            list(paths), Path(folder) / "out.csv", settings=settings, device=device, workers=workers, progress=progress
        )
        return rows, time.monotonic() - started


def _startup(run: Callable[[Sequence[Path]], tuple[Predictions, float]], path: Path) -> float:
    rows, wall = run([path])
    return max(0.0, wall - rows[0].seconds)


def _openable(paths: Sequence[Path], rows: Sequence[Prediction]) -> tuple[list[Path], list[Path]]:
    """The videos that may be opened in this process, since no worker died of them; and those of them with a score."""
    safe = [(path, row) for path, row in zip(paths, rows, strict=True) if row.reason not in UNSAFE]
    scored = [path for path, row in safe if row.reason in SCORED]
    if not scored:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in rows).most_common())
        raise InputError(f"no video of the sample could be scored ({reasons}; {rows[0].detail}): name another folder")
    return [path for path, _ in safe], scored


def _steps(
    clocked: ClockedPipeline, paths: Sequence[Path], windows: int, progress: bool
) -> tuple[tuple[int, float], ...]:
    """Windows a video -> cost in units of that with `windows`, each measured on the same videos."""
    tried = sorted({*LADDER, windows})
    seconds = {step: sum(clocked.measure(paths, step, progress).stages.values()) for step in tried}
    return tuple((step, seconds[step] / seconds[windows]) for step in tried)


def _windows(count: int) -> str:
    return f"{count} window" + "s" * (count != 1)
