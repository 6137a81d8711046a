"""What windows at keyframes cost in accuracy: the default plan beside evenly spread windows and beside all frames.

Example:
    python benchmarks/plans.py ../shared/data/videos --json benchmarks/results/plans.json

Each plan scores the same labelled videos with the shipped models; its price is in packets sent to the decoder and in
seconds of one core (CPU time). The shipped classifier's calibration and what texture lets expect were fitted on
these videos, on clips that begin at keyframes, which flatters it, and the default plan most. Resamples take videos for
independent, though some share people, so intervals are a little narrow.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from figures import json_option, publish
from tqdm import tqdm

from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.plan import Timeline, plan
from dfx.results import Predictions
from dfx.score import read_labels, score
from dfx.values import Plan, Prediction, Window

Planner = Callable[[VideoInfo, int, int, int], Plan]
RESAMPLES = 2000  # of the bootstrap


def at_keyframes(info: VideoInfo, windows: int, count: int, stride: int) -> Plan:
    """dfx's own."""
    return plan(info, windows=windows, count=count, stride=stride)


def evenly_spread(info: VideoInfo, windows: int, count: int, stride: int) -> Plan:
    """As many windows, each in the middle of its share of the video."""
    span = (count - 1) * stride + 1
    return _windows(
        info, [int((part + 0.5) * info.frames / windows - span / 2) for part in range(windows)], count, stride
    )


def all_frames(info: VideoInfo, windows: int, count: int, stride: int) -> Plan:
    """Window behind window, to the end."""
    return _windows(info, list(range(0, info.frames, count * stride)), count, stride)


def _windows(info: VideoInfo, starts: list[int], count: int, stride: int) -> Plan:
    """Whole windows at these frames, none before the first keyframe; the default plan where none is whole."""
    timeline, span, stop = Timeline.of(info.packets), (count - 1) * stride + 1, 0
    chosen: list[Window] = []
    for start in starts:
        if timeline.starts.min() <= start <= info.frames - span and (not chosen or start >= chosen[-1].start + span):
            chosen.append(timeline.window(start, count, stride, stop))
            stop = chosen[-1].stop
    return Plan(tuple(chosen)) if chosen else plan(info, windows=1, count=count, stride=stride)


PLANS: dict[str, Planner] = {"keyframes": at_keyframes, "evenly spread": evenly_spread, "all frames": all_frames}


class Planned(Pipeline):
    """The pipeline with another plan."""

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self.planner, self.packets, self.windows = planner, 0, 0

    def _plan(self, info: VideoInfo, windows: int) -> Plan:
        contract = self.classifier.contract
        chosen = self.planner(info, windows, contract.clip_length, contract.clip_stride)
        self.packets += chosen.price
        self.windows += len(chosen.windows)
        return chosen


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--limit", type=int, help="Videos, drawn with a fixed seed; all unless told.")
@json_option
def main(folder: Path, limit: int | None, out: Path | None) -> None:
    """Print AUC, log loss and price of each plan on the videos of FOLDER, which holds a labels.csv."""
    truth = read_labels(folder / "labels.csv")
    names = sorted(name for name in truth if (folder / name).exists())
    if limit is not None:
        names = sorted(random.Random(0).sample(names, min(limit, len(names))))
    found = {plan: measured(planner, folder, names, plan) for plan, planner in PLANS.items()}
    base, _ = found["keyframes"]
    figures = {
        "videos": len(names),
        "of": len(truth),
        "plans": {plan: facts for plan, (_, facts) in found.items()},
        "log_loss_over_keyframes": {plan: apart(base, rows, truth) for plan, (rows, _) in found.items()},
    }
    publish(figures, out)


def measured(planner: Planner, folder: Path, names: list[str], title: str) -> tuple[Predictions, dict[str, float]]:
    """The rows and the figures of one plan; prices are means a video."""
    pipeline = Planned(planner)
    started = time.process_time()
    rows = Predictions(tuple(pipeline.predict(folder / name) for name in tqdm(names, title)))
    seconds = time.process_time() - started
    assert [row.filename for row in rows] == names, "a row a video"
    report = score(rows, folder / "labels.csv")
    return rows, {
        "auc": round(report.auc or 0.0, 4),
        "log_loss": round(report.log_loss, 4),
        "packets": round(pipeline.packets / len(names), 1),
        "windows": round(pipeline.windows / len(names), 2),
        "seconds": round(seconds / len(names), 4),
        "scored": sum(row.reason == "ok" for row in rows),
    }


def apart(base: Predictions, rows: Predictions, truth: dict[str, int]) -> list[float]:
    """Mean difference in log loss, and its central 95 % over bootstrap draws of videos (paired; Efron, 1979)."""
    gaps = np.array([_loss(b, truth) - _loss(a, truth) for a, b in zip(base, rows, strict=True)])
    rng = np.random.default_rng(0)
    drawn = rng.choice(gaps, (RESAMPLES, len(gaps))).mean(axis=1)
    return [round(float(value), 4) for value in (gaps.mean(), *np.quantile(drawn, [0.025, 0.975]))]


def _loss(row: Prediction, truth: dict[str, int]) -> float:
    return float(-np.log(row.probability if truth[row.filename] else 1 - row.probability))


if __name__ == "__main__":
    main()
