"""Where the time of a video goes, and how far the whole is from what cannot be spared, on one core.

Example:
    python benchmarks/shares.py ../shared/data/videos/dfdc_0*.mp4 --json benchmarks/results/shares.json

What cannot be spared is decoding the planned frames and running the two networks. Seconds are the core's, so that other
work on the machine counts for little. Without videos it makes one in the challenge's manner.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from figures import json_option, publish
from whole_job import challenge_clip

from dfx.classify import Classifier
from dfx.clocked import ClockedPipeline
from dfx.detect import Detector
from dfx.infer import Session
from dfx.settings import Settings


@click.command()
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--runs", default=5, show_default=True)
@json_option
def main(videos: tuple[Path, ...], runs: int, out: Path | None) -> None:
    """Print the seconds of each stage, of one core a video, and the whole beside what cannot be spared."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(videos or [challenge_clip(Path(folder) / "made.mp4")], runs)
    publish(figures, out)


def measured(videos: Sequence[Path], runs: int) -> dict[str, Any]:
    """Medians over the runs: seconds a video by stage, and the ratio of the whole."""
    pipeline = ClockedPipeline(Settings())
    parts: list[Detector | Classifier] = [pipeline.detector, *pipeline.classifier.members]
    networks = [Stopwatch(part._session) for part in parts]
    rounds = []
    for _ in range(runs):
        stages = pipeline.measure(videos, pipeline.settings.windows).stages
        rounds.append(stages | {"networks": sum(network.lap() for network in networks) / (len(videos) + 1)})
    ratios = [_ratio(stages) for stages in rounds]
    seconds = {name: statistics.median(stages[name] for stages in rounds) for name in rounds[0]}
    return {
        "videos": len(videos),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def _ratio(stages: dict[str, float]) -> float:
    """The whole over decoding and networks."""
    whole = sum(seconds for name, seconds in stages.items() if name != "networks")
    return whole / (stages["decode"] + stages["networks"])


class Stopwatch:
    """Sums what a session's runs take of the core, the one that warms up included."""

    def __init__(self, session: Session) -> None:
        self._run, self._seconds = session.run, 0.0
        session.run = self._timed  # type: ignore[method-assign]

    def _timed(self, inputs: Any) -> Any:
        started = time.thread_time()
        try:
            return self._run(inputs)
        finally:
            self._seconds += time.thread_time() - started

    def lap(self) -> float:
        """Seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


if __name__ == "__main__":
    main()
