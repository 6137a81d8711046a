"""The governor: a budget is kept and spent well, on a simulated clock; no video is run."""

from __future__ import annotations

import heapq
import math
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfx.errors import InputError
from dfx.govern import LADDER, PER_WINDOW, Governor, Job, gain, seconds_of
from dfx.values import ClipScore, Prediction, Reason

Cost = Callable[[str, int, float], float]


def row(name: str, windows: int, *logits: float, reason: Reason = Reason.OK, probability: float = 0.5) -> Prediction:
    clips = tuple(ClipScore(0, 0.0, 1.0, (0.0, 0.0, 9.0, 9.0), 0.9, logit) for logit in logits or (0.0,) * windows)
    return Prediction(name, probability, reason, clips=clips if reason == Reason.OK else (), windows=windows)


class Simulation:
    """Workers that take simulated time; `cost` says how long a video with so many windows takes at some time."""

    def __init__(self, names: list[str], budget: float, cost: Cost, *, workers: int = 2, limit: float = 120.0) -> None:
        self.now, self.cost = 0.0, cost
        self.jobs: list[Job] = []
        self.rows: dict[str, Prediction] = {}
        self.given: dict[str, int] = {}
        paths = {name: Path(name) for name in names}
        self.governor = Governor(paths, {}, deadline=budget, workers=workers, limit=limit, clock=lambda: self.now)
        self._run(workers, budget)

    def _run(self, workers: int, budget: float) -> None:
        flying: list[tuple[float, int, Job, Prediction]] = []
        while True:
            while len(flying) < workers and (job := self.governor.offer()) is not None:
                self.jobs.append(job)
                heapq.heappush(flying, (*self._outcome(job), job, self._prediction(job)))
            if not flying or flying[0][0] > budget:
                self.end = min(self.now, budget)
                return
            self.now, _, job, prediction = heapq.heappop(flying)
            counts = self.governor.done(job, prediction)
            if counts is not None:
                self.rows[job.filename], self.given[job.filename] = counts, job.windows

    def _outcome(self, job: Job) -> tuple[float, int]:
        return self.now + min(job.seconds, self.cost(job.filename, job.windows, self.now)), len(self.jobs)

    def _prediction(self, job: Job) -> Prediction:
        seconds = self.cost(job.filename, job.windows, self.now)
        if seconds > job.seconds:
            return replace(row(job.filename, 0, reason=Reason.TIMEOUT), seconds=job.seconds)
        return replace(row(job.filename, job.windows, *map(float, range(job.windows))), seconds=seconds)


def steady(name: str, windows: int, now: float) -> float:
    return 0.2 * (1 + PER_WINDOW * (windows - 1))


NAMES = [f"{number:03}.mp4" for number in range(100)]


def test_a_budget_for_short_looks_gives_every_video_one() -> None:
    run = Simulation(NAMES, 100 * 0.2 / 2 * 1.15, steady)
    assert set(run.rows) == set(NAMES)
    assert sum(windows == 1 for windows in run.given.values()) > 80


def test_an_ample_budget_gives_every_video_all() -> None:
    run = Simulation(NAMES, 3600, steady)
    assert set(run.given.values()) == {LADDER[-1]}
    assert run.end < 100


def test_what_is_left_is_spent_on_more_windows() -> None:
    short, long = (Simulation(NAMES, budget, steady) for budget in (14, 40))
    assert sum(long.given.values()) > 2 * sum(short.given.values())
    assert long.end > 35


def test_too_short_a_budget_is_spent_on_first_looks_alone() -> None:
    run = Simulation(NAMES, 5, steady)
    assert 45 <= len(run.rows) <= 50
    assert {job.windows for job in run.jobs} == {1}


def test_videos_that_hold_up_the_others_stand_back_and_get_the_rest() -> None:
    def cost(name: str, windows: int, now: float) -> float:
        return 30.0 if name < "004" else steady(name, windows, now)

    tight, ample = (Simulation(NAMES, budget, cost) for budget in (30, 200))
    assert set(tight.rows) >= set(NAMES[4:])
    assert all(row.reason == Reason.OK for name, row in tight.rows.items() if name >= "004")
    assert {ample.rows[name].reason for name in NAMES} == {Reason.OK}


def test_one_that_never_ends_is_stopped_at_the_limit_for_good() -> None:
    def cost(name: str, windows: int, now: float) -> float:
        return math.inf if name == "050.mp4" else steady(name, windows, now)

    run = Simulation(NAMES, 600, cost, limit=20)
    assert run.rows["050.mp4"].reason == Reason.TIMEOUT
    assert sum(job.filename == "050.mp4" for job in run.jobs) <= 2


def test_a_machine_that_becomes_slow_is_noticed() -> None:
    def cost(name: str, windows: int, now: float) -> float:
        return steady(name, windows, now) * (4 if now > 4 else 1)

    run = Simulation(NAMES, 50, cost)
    assert set(run.rows) == set(NAMES)


@given(
    st.lists(st.floats(0.01, 60), min_size=1, max_size=40),
    st.floats(0.1, 200),
    st.integers(1, 4),
)
def test_no_job_comes_late_and_none_is_for_nothing(costs: list[float], budget: float, workers: int) -> None:
    names = [str(number) for number in range(len(costs))]
    run = Simulation(names, budget, lambda name, windows, _: costs[int(name)] * windows, workers=workers, limit=30)
    assert run.end <= budget
    for name in names:
        jobs = [job for job in run.jobs if job.filename == name]
        assert len(jobs) <= 1 + len(LADDER)
        scored = [job.windows for job in jobs if costs[int(name)] * job.windows <= job.seconds]
        assert scored == sorted(set(scored)), "a second look has more windows"
        assert all(job.seconds <= 30 for job in jobs)


def test_earlier_rows_get_second_looks_only() -> None:
    known = {"a": (row("a", 2, 0.0, 3.0), 2), "b": (row("b", 0, reason=Reason.CORRUPT), 2)}
    paths = {name: Path(name) for name in "abc"}
    governor = Governor(paths, known, deadline=100.0, workers=1, limit=30, clock=lambda: 0.0)
    first = governor.take()
    assert first is not None
    assert (first.filename, first.windows) == ("c", 1)
    governor.done(first, replace(row("c", 1), seconds=0.1))
    rest = [governor.offer(), governor.offer(), governor.offer()]
    assert [(job.filename, job.windows) for job in rest if job] == [("c", 2), ("a", 4)]


def test_a_second_look_that_fails_costs_nothing() -> None:
    governor = Governor({"a": Path("a")}, {"a": (row("a", 1), 1)}, deadline=100.0, workers=1, limit=30, clock=lambda: 0)
    job = governor.take()
    assert job is not None
    assert governor.done(job, row("a", 0, reason=Reason.CRASHED)) is None
    assert governor.take() is None


class Counted(Governor):
    """How often it ranked."""

    ranked = 0

    def _ranked(self) -> deque[str]:
        self.ranked += 1
        return super()._ranked()


def test_where_nothing_fits_nothing_is_ranked() -> None:
    """Ranking takes its time, and while it does the run cannot end."""
    known = {name: (replace(row(name, 1), seconds=1.0), 1) for name in NAMES}
    paths = {name: Path(name) for name in NAMES}
    now = [0.0]
    governor = Counted(paths, known, deadline=100.0, workers=2, limit=30, clock=lambda: now[0])
    first = governor.offer()
    assert first is not None
    governor.done(first, replace(row(first.filename, 2), seconds=1.7))
    now[0] = 99.0
    governor._ranking.clear()
    before = governor.ranked
    assert governor.offer() is None
    assert governor.ranked == before == 1


def test_status_waits_for_no_ranking() -> None:
    known = {"a": (row("a", 1), 1), "b": (row("b", 4, -1.0, 0.0, 1.0, 0.0), 4)}
    governor = Governor(dict.fromkeys("ab", Path("a")), known, deadline=100.0, workers=1, limit=30, clock=lambda: 0.0)
    with governor._changed, ThreadPoolExecutor(1) as pool:
        said = pool.submit(governor.status).result(5)
    assert said.endswith("second looks: 2.5 windows a video")
    job = governor.take()
    assert job is not None
    assert (job.filename, job.windows) == ("a", 2)
    governor.done(job, row("a", 2))
    assert governor.status().endswith("second looks: 3.0 windows a video")


@pytest.mark.parametrize(
    "settled",
    [row("a", 8), row("a", 2, reason=Reason.CORRUPT), replace(row("a", 3), windows=3)],
    ids=["at the top", "cannot be scored", "has no more windows"],
)
def test_nothing_is_gained_where_nothing_can_change(settled: Prediction) -> None:
    assert gain(settled, 4 if settled.windows == 3 else max(settled.windows, 8), 1.0) == 0


def test_gain_is_largest_where_the_answer_is_open() -> None:
    open_, sure = row("a", 1, 0.1, probability=0.5), row("b", 1, 0.1, probability=0.95)
    torn, agreed = row("c", 2, -3.0, 3.0), row("d", 2, 0.1, 0.2)
    faceless = row("e", 1, reason=Reason.NO_FACE)
    assert gain(open_, 1, 1.0) > gain(sure, 1, 1.0) > 0
    assert gain(torn, 2, 1.0) > gain(agreed, 2, 1.0) > 0
    assert gain(faceless, 1, 1.0) > gain(open_, 1, 1.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h30m", 30600), ("90m", 5400), ("45s", 45), ("1h 2m 3.5s", 3723.5), ("12", 12), (7, 7), (0.5, 0.5)],
)
def test_budgets_as_people_write_them(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert seconds_of(timedelta(hours=1, seconds=2)) == 3602


@pytest.mark.parametrize(
    "text",
    ["", "soon", "8x", "8h30", "2m 5", "-3", "0", "h", 0, -1.0, math.inf, math.nan, timedelta(0), 10**400, [1], None],
)
def test_other_budgets_are_refused(text: Any) -> None:
    with pytest.raises(InputError, match=rf"the budget is {re.escape(repr(text))}; .* as 8h30m"):
        seconds_of(text)
