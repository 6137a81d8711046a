"""Gives the labelled videos random budgets on a machine with stalls, and checks that each is kept and well spent.

Example:
    python tests/endurance/budgets.py --videos ../shared/data/videos --runs 30
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import dfx
from dfx import pool
from dfx.score import read_labels

SHORTEST, LONGEST = 1.0, 150.0  # seconds: from next to nothing to more than eight windows a video take
RESAMPLES = 10_000


@click.command()
@click.option("--videos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder with labels.csv.")
@click.option("--runs", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(videos: Path, runs: int, seed: int) -> None:
    """Run with RUNS budgets; print how long each took, and log loss by budget."""
    labels = read_labels(videos / "labels.csv")
    rng = random.Random(seed)
    edges = np.exp(np.linspace(np.log(SHORTEST), np.log(LONGEST), runs + 1))
    budgets = [rng.uniform(low, high) for low, high in pairwise(edges)]
    losses = {}
    for budget in sorted(budgets, key=lambda _: rng.random()):
        losses[budget] = run(videos, labels, budget, rng)
    click.echo(verdict(losses))


def run(videos: Path, labels: dict[str, int], budget: float, rng: random.Random) -> NDArray[np.float64]:
    """One run with stalls; returns the log loss of each video; raises AssertionError where a promise is broken."""
    begins = time.monotonic() + rng.uniform(0, budget)
    stall = {"slow": 0.05, "monsters": 0.02, "begins": begins, "ends": begins + 0.15 * budget, "seed": rng.random()}
    os.environ["STALL"] = json.dumps(stall)
    pool.COMMAND[:] = [sys.executable, str(Path(__file__).with_name("stalling.py"))]
    with tempfile.TemporaryDirectory() as folder:
        out, started = Path(folder) / "out.csv", time.monotonic()
        result = dfx.predict_dir(videos, out, budget=budget, progress=False)
        took = time.monotonic() - started
        rows = out.read_text().splitlines()
    over = took - budget
    windows = np.mean([row.windows for row in result])
    click.echo(f"budget {budget:7.2f} s, took {took:7.2f} s, {windows:.2f} windows a video, {result.reasons}")
    assert over <= max(2.0, 0.01 * budget), f"{over:.2f} s over the budget"
    assert {line.rsplit(",", 1)[0] for line in rows[1:]} >= labels.keys(), "the CSV is not complete"
    return np.array([loss(row.probability, labels[row.filename]) for row in result if row.filename in labels])


def loss(probability: float, label: int) -> float:
    return -math.log(probability if label else 1 - probability)


def verdict(losses: dict[float, NDArray[np.float64]]) -> str:
    """Log loss of the short, middle and ample third of the budgets, and the paired gains with 95 % intervals."""
    ordered = np.stack([losses[budget] for budget in sorted(losses)])
    thirds = dict(
        zip(("short", "middle", "ample"), (part.mean(axis=0) for part in np.array_split(ordered, 3)), strict=True)
    )
    lines = [f"log loss of the {name} third: {part.mean():.4f}" for name, part in thirds.items()]
    for (first, small), (second, large) in pairwise(thirds.items()):
        low, high = interval(small - large)
        lines.append(f"{second} over {first}: {np.mean(small - large):+.4f} better ({low:+.4f} to {high:+.4f})")
    return "\n".join(lines)


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The bootstrap's 95 % interval of the mean, over videos."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(0, len(differences), (RESAMPLES, len(differences)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
