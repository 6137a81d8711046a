"""What supervision costs: `predict_dir` with one worker beside the same pipeline in a process of its own, unsupervised.

Example:
    python benchmarks/supervision.py ../shared/data/videos/dfdc_0*.mp4 --json benchmarks/results/supervision.json

The two take turns, so that a machine that slows down slows both. Start-up is part of both: each run starts a process,
loads the models and scores all videos.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from figures import json_option, publish
from whole_job import linked

DFX = [sys.executable, "-P", "-m", "dfx"]
OPTIONS = ["--fresh", "--quiet", "--workers", "1", "--follow-symlinks"]
BARE = (
    "import sys; from dfx.pipeline import Pipeline; pipeline = Pipeline()\n"
    "for path in sys.argv[1:]: assert pipeline.predict(path).reason == 'ok', path"
)


@click.command()
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--copies", default=4, show_default=True, help="Times that each video is scored in a run.")
@click.option("--runs", default=7, show_default=True)
@json_option
def main(videos: tuple[Path, ...], copies: int, runs: int, out: Path | None) -> None:
    """Print the median ratio of the time with supervision to the time without."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        links = linked(videos, copies, work)
        supervised = [*DFX, "predict", str(work / "in"), "--out", str(work / "out.csv"), *OPTIONS]
        bare = [sys.executable, "-P", "-c", BARE, *map(str, links)]
        pairs = [(timed(supervised, work), timed(bare, work)) for _ in range(runs)]
    ratios = [with_it / without for with_it, without in pairs]
    figures = {
        "videos": len(links),
        "supervised_seconds_a_video": round(statistics.median(pair[0] for pair in pairs) / len(links), 4),
        "bare_seconds_a_video": round(statistics.median(pair[1] for pair in pairs) / len(links), 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }
    publish(figures, out)


def timed(command: list[str], folder: Path) -> float:
    """Wall seconds of a command; start-up included."""
    started = time.monotonic()
    subprocess.run(command, check=True, cwd=folder)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
