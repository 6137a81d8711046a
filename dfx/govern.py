"""Govern: which video is scored next, with how many windows, and for how long at most: so a budget of time is kept.

First looks: every video once, with as many windows as leave half of the time over. Then second looks: those videos that
were stopped because they held up the others, and then more windows for the videos where more evidence changes the
answer most. What is measured on the way corrects the plan before every video.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from dfx.arguments import finite
from dfx.settings import FURTHER
from dfx.values import Prediction, Reason

LADDER = (1, 2, 4, FURTHER)  # windows a video: each step doubles the evidence
FIRST_LOOKS = 0.5  # share of the time left that first looks may plan for; the rest is for what goes wrong, and for more
PER_WINDOW = 0.7  # what a further window costs, as a share of a video with one; only until it is measured
MEMORY = 24  # videos after which a measurement is forgotten by two thirds
PATIENCE = 6.0  # a first look may take this many times the usual before it stands back
SHORTEST = 2.0  # seconds that any first look may take, whatever is usual
LISTEN = 0.5  # seconds after which a waiting thread looks again
BLIND = 0.25  # share of the time left that a video may take while nothing has been measured yet
FACELESS = 0.25  # clips that a video without a face counts as: a second look changes such an answer most
JUDGED = (Reason.OK, Reason.NO_FACE)  # by the network, or for want of a face; all else is a failure


@dataclass(frozen=True, slots=True)
class Job:
    """A video to score: the name on its row, where it lies, windows at most, and the seconds it may take.

    further: whether more windows are looked at where these show nobody.
    """

    filename: str
    path: Path
    windows: int
    seconds: float
    further: bool = False


class Schedule(Protocol):
    """Hands out jobs to the threads of a pool, and hears how they went."""

    def take(self) -> Job | None:
        """The next job; None where there is none left. May wait for a job that is under way."""

    def done(self, job: Job, prediction: Prediction) -> Prediction | None:
        """Hears of a finished job; returns the row that now counts, None where the one before still counts."""

    def status(self) -> str:
        """How the time is being spent, for the progress bar."""


class Once:
    """Every video once, with the same windows and the same limit, further where they show nobody: without a budget.

    known: rows of an earlier run that gave some of the videos fewer windows.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        windows: int,
        seconds: float,
        known: Mapping[str, tuple[Prediction, int]] | None = None,
    ) -> None:
        self._jobs = deque(Job(name, path, windows, seconds, further=True) for name, path in paths.items())
        self._known = dict(known or {})

    def take(self) -> Job | None:
        """The next of the videos, in order."""
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def done(self, job: Job, prediction: Prediction) -> Prediction | None:
        """Every row counts, but for that of a failure where an earlier run had a score: that one stands."""
        before, _ = self._known.get(job.filename, (prediction, 0))
        return None if before.reason in JUDGED and prediction.reason not in JUDGED else prediction

    def status(self) -> str:
        """Nothing beyond what the progress bar says itself."""
        return ""


class Governor:
    """Spends a budget of time on a set of videos.

    Args:
        paths: every video, name on the row -> file.
        known: rows of an earlier run, and the windows that each was given: they get second looks only.
        deadline: when all must end, on `clock`.
        workers: how many videos are scored at a time.
        limit: seconds that a video may take in any case.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        known: Mapping[str, tuple[Prediction, int]],
        *,
        deadline: float,
        workers: int,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._until, self._workers, self._limit, self._clock = deadline, workers, limit, clock
        self._paths = dict(paths)
        self._rows = dict(known)
        self._given = sum(windows for _, windows in known.values())
        self._waiting = deque(sorted(paths.keys() - known.keys(), key=_lot))
        self._held_up: deque[str] = deque()
        self._stopped: set[str] = set()
        self._flying: set[str] = set()
        self._ranking: deque[str] = deque()
        self._cost = _Cost()
        self._changed = threading.Condition()

    def take(self) -> Job | None:
        """The next job; waits while none is left but one under way may bring one; None at the deadline."""
        with self._changed:
            while (left := self._until - self._clock()) > 0:
                job = self.offer()
                if job is not None or not self._flying:
                    return job
                self._changed.wait(min(left, LISTEN))
        return None

    def offer(self) -> Job | None:
        """The next job, without waiting; None where there is none now."""
        with self._changed:
            left = self._until - self._clock()
            if left <= 0:
                return None
            job = self._first_look(left) or self._second_chance(left) or self._second_look(left)
            if job is not None:
                self._flying.add(job.filename)
            return job

    def done(self, job: Job, prediction: Prediction) -> Prediction | None:
        """Learns what it cost; a video that was stopped for the others' sake gets one more chance at the end."""
        with self._changed:
            self._changed.notify_all()
            self._flying.discard(job.filename)
            if prediction.reason == Reason.TIMEOUT and job.seconds < self._limit:
                return self._held(job, prediction)
            self._cost.learn(prediction)
            before = self._rows.get(job.filename)
            if before is not None and prediction.reason not in JUDGED:
                self._note(before[0], LADDER[-1])
                return None
            self._note(prediction, job.windows)
            return prediction

    def status(self) -> str:
        """How the time is being spent, for the progress bar, which waits for no lock: a ranking may hold it."""
        left = timedelta(seconds=max(0, round(self._until - self._clock())))
        if self._waiting:
            return f"{left} of the budget left, first looks"
        held = f", {len(self._held_up)} held up" if self._held_up else ""
        mean = self._given / max(1, len(self._rows))
        return f"{left} of the budget left, second looks: {mean:.1f} windows a video{held}"

    def _first_look(self, left: float) -> Job | None:
        if not self._waiting:
            return None
        windows = self._affordable(left)
        patience = self._patience(left)
        return self._job(self._waiting.popleft(), windows, patience)

    def _affordable(self, left: float) -> int:
        """Windows that every video still waiting could be given, in the share of the time that is planned for them."""
        if not self._cost.known:
            return LADDER[0]
        videos = len(self._waiting) + len(self._held_up)
        planned = FIRST_LOOKS * left * self._workers
        return max((step for step in LADDER if self._cost.of(step) * videos <= planned), default=LADDER[0])

    def _patience(self, left: float) -> float:
        """Seconds after which a first look stands back: never so long that the others could not have theirs."""
        if not self._cost.known:
            return max(SHORTEST, BLIND * left)
        usual = self._cost.of(LADDER[0])
        spare = left - usual * len(self._waiting) / self._workers
        return max(SHORTEST, PATIENCE * usual, spare / 2)

    def _second_chance(self, left: float) -> Job | None:
        return self._job(self._held_up.popleft(), LADDER[0], left) if self._held_up else None

    def _second_look(self, left: float) -> Job | None:
        """More windows for the video that gains most by them, as long as they fit.

        To rank a hundred thousand videos takes part of a second, so it is not done where nothing fits any more.
        """
        if min(map(self._cost.of, LADDER[1:])) >= left:
            return None
        if not self._ranking:
            self._ranking = self._ranked()
        while self._ranking:
            name = self._ranking.popleft()
            windows = _next_step(self._rows[name][1])
            if self._cost.of(windows) < left:
                return self._job(name, windows, left)
        return None

    def _ranked(self) -> deque[str]:
        """The tenth of the videos, sixteen at least, that gains most; ranked anew when it is used up."""
        rows = {name: row for name, row in self._rows.items() if name in self._paths and name not in self._flying}
        spread = _spread([prediction for prediction, _ in rows.values()])
        gains = {name: gain(*row, spread) for name, row in rows.items()}
        best = sorted((name for name, value in gains.items() if value > 0), key=lambda name: -gains[name])
        return deque(best[: max(16, len(best) // 10)])

    def _held(self, job: Job, prediction: Prediction) -> Prediction | None:
        if job.filename in self._rows:
            self._note(self._rows[job.filename][0], LADDER[-1])
            return None
        if job.filename in self._stopped:
            return replace(
                prediction, reason=Reason.OUT_OF_BUDGET, detail=f"not done after {job.seconds:.1f} s, which was all"
            )
        self._stopped.add(job.filename)
        self._held_up.append(job.filename)
        return None

    def _note(self, prediction: Prediction, windows: int) -> None:
        before = self._rows.get(prediction.filename, (prediction, 0))[1]
        self._rows[prediction.filename] = prediction, windows
        self._given += windows - before

    def _job(self, name: str, windows: int, seconds: float) -> Job:
        return Job(name, self._paths[name], windows, min(seconds, self._limit))


class _Cost:
    """Seconds that a video takes, by its windows: running means that forget, so that a slower disk is noticed."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._count: dict[int, int] = defaultdict(int)

    @property
    def known(self) -> bool:
        return bool(self._seconds)

    def learn(self, prediction: Prediction) -> None:
        windows = max(1, prediction.windows)
        self._count[windows] += 1
        before = self._seconds.get(windows, prediction.seconds)
        self._seconds[windows] = before + (prediction.seconds - before) / min(self._count[windows], MEMORY)

    def of(self, windows: int) -> float:
        """From the nearest number of windows that has been measured; 0 where none has."""
        if not self._seconds:
            return 0.0
        nearest = min(self._seconds, key=lambda measured: abs(measured - windows))
        return self._seconds[nearest] * _weight(windows) / _weight(nearest)


def gain(prediction: Prediction, windows: int, spread: float) -> float:
    """What the next step of the ladder is expected to take off the log loss of a video, up to a common factor.

    The second-order term of log loss in the logit, p (1 - p) Var / 2, where the variance of a mean of n clips falls
    from Var / n to Var / n'. A video's own variance is shrunk towards `spread`, that of all videos, as by one clip. 0
    where more windows bring nothing: at the top, where the video has no more, where it cannot be scored. What is in
    doubt (`dfx.infer.Calibration`) is at 0.5, and gets as much as what is there of itself.
    """
    if windows >= LADDER[-1] or prediction.windows < windows or prediction.reason not in JUDGED:
        return 0.0
    count = len(prediction.clips) or FACELESS
    variance = (spread + _scatter(prediction)) / max(1.0, count)
    p = prediction.probability
    return p * (1 - p) * variance * (1 / count - windows / (count * _next_step(windows)))


def _spread(rows: list[Prediction]) -> float:
    """The variance of a clip's logit within a video, over all videos; 1 where no video has two clips."""
    degrees = sum(len(row.clips) - 1 for row in rows if row.clips)
    return sum(map(_scatter, rows)) / degrees if degrees else 1.0


def _scatter(prediction: Prediction) -> float:
    """The sum of squares of the clips' logits about their mean; eight at most, so that NumPy would be slower."""
    logits = [clip.logit for clip in prediction.clips]
    mean = sum(logits) / max(1, len(logits))
    return sum((logit - mean) ** 2 for logit in logits)


def _next_step(windows: int) -> int:
    return next((step for step in LADDER if step > windows), windows)


def _weight(windows: int) -> float:
    return 1 + PER_WINDOW * (windows - 1)


def _lot(name: str) -> bytes:
    """A fixed, arbitrary order: what is measured first must stand for all, whatever the names say."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def seconds_of(budget: str | float | timedelta) -> float:
    """A budget in seconds: a number of them, a timedelta, or a text such as "8h30m", "90m", "45s".

    Raises:
        InputError: it is none of these, or not above 0.
    """
    seconds = _parsed(budget) if isinstance(budget, str) else budget
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    needed = "a finite time above 0, as 8h30m, 90m, 45s, or seconds,"
    return finite("the budget", seconds, needed, lambda seconds: seconds > 0, shown=budget)


def _parsed(text: str) -> float:
    number = r"(\d+(?:\.\d+)?)"
    pattern = rf"(?:{number}h)?\s*(?:{number}m)?\s*(?:{number}s)?|{number}"  # 8h30 may mean minutes or seconds: neither
    if match := re.fullmatch(pattern, text.strip().lower()):
        hours, minutes, seconds, bare = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds + bare
    return 0.0
