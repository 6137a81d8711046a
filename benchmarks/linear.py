"""Whether cost grows with the number of videos and no faster: `dfx predict` on 50, 200 and 800 videos.

Example:
    python benchmarks/linear.py --json benchmarks/results/linear.json
    python benchmarks/linear.py --full-hd --json benchmarks/results/linear.json

The videos are links to one small clip, so that it ends in minutes, or with --full-hd to a ten-second one of 1080p.
The sizes take turns. A time a video is that of what a run does beyond a run of one video a worker, which is start-up;
with it in, small sets cost more a video, and that figure is printed too. It wants a machine with nothing else to do: of
50 small clips start-up is a third, and its noise is the figure's.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import click
from figures import json_option, publish
from whole_job import challenge_clip, links_to, measure

from dfx.demo import SAMPLES
from dfx.process import default_workers

COUNTS = (50, 200, 800)
TIME, MEMORY = 1.05, 1.10  # the largest over the smallest


@click.command()
@click.option("--full-hd", is_flag=True, help="Ten-second clips of 1080p.")
@click.option("--counts", type=int, multiple=True, default=COUNTS, show_default=True)
@click.option("--runs", default=3, show_default=True)
@json_option
def main(full_hd: bool, counts: tuple[int, ...], runs: int, out: Path | None) -> None:
    """Print seconds a video and peak memory for each size, and whether they are as flat as they should be."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        clip = challenge_clip(work / "made.mp4") if full_hd else SAMPLES / "real.mp4"
        sets = {count: work / str(count) for count in (default_workers(), *counts)}
        for count, path in sets.items():
            links_to([clip], count, path)
        measure(next(iter(sets.values())), work / "warm.csv")  # from here on libraries come from the disk's cache
        rounds = [{count: _checked(path, count) for count, path in sets.items()} for _ in range(runs)]
    publish({"clip": "1080p, ten seconds" if full_hd else f"{SAMPLES.name}/real.mp4", **summary(rounds)}, out)


def _checked(folder: Path, count: int) -> tuple[float, int]:
    out = folder.with_suffix(".csv")
    wall, peak = measure(folder, out)
    assert len(out.read_text().splitlines()) == count + 1, "a row a video, and a header"
    return wall, peak


def summary(rounds: list[dict[int, tuple[float, int]]]) -> dict[str, object]:
    """rounds: videos of a run -> wall seconds, bytes, the run of one video a worker first. Medians over the rounds, of
    what is compared within each."""
    first, *counts = rounds[0]
    startup = statistics.median(found[first][0] for found in rounds)
    each = {n: statistics.median((found[n][0] - found[first][0]) / (n - first) for found in rounds) for n in counts}
    whole = {n: statistics.median(found[n][0] / n for found in rounds) for n in counts}
    peaks = {n: statistics.median(found[n][1] for found in rounds) for n in counts}
    time, memory = (max(some.values()) / min(some.values()) for some in (each, peaks))
    return {
        "seconds_of_one_video_a_worker": round(startup, 3),
        "seconds_a_video": {str(n): round(value, 4) for n, value in each.items()},
        "seconds_a_video_with_startup": {str(n): round(value, 4) for n, value in whole.items()},
        "peak_memory_mib": {str(n): round(value / 2**20) for n, value in peaks.items()},
        "time_ratio": round(time, 3),
        "memory_ratio": round(memory, 3),
        "time_within_5_percent": time <= TIME,
        "memory_within_10_percent": memory <= MEMORY,
    }


if __name__ == "__main__":
    main()
