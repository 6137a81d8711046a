"""What an inspection costs beside reading the same packets with PyAV alone, on as many processes.

Example:
    python benchmarks/bench_inspect.py ../shared/data/videos/*.m* --json benchmarks/results/inspect.json

They take turns, so that a machine that slows down slows all: a script that does nothing but read packets, and
`dfx.inspect` without and with hashes, from a Python that runs already; the start of each one's processes is part of
it. The command `dfx inspect` is timed beside them, with the start of its own Python. All on `--count` videos: links
of other names.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import click
from supervision import timed
from whole_job import machine

import dfx
from dfx.pool import default_workers

BARE = """
import sys, av, multiprocessing
def packets(path):
    with av.open(path) as container:
        return sum(1 for _ in container.demux(container.streams.video[0]))
with multiprocessing.get_context("fork").Pool(int(sys.argv[1])) as pool:
    assert sum(pool.imap_unordered(packets, sys.argv[2:])) > 0
"""


@click.command()
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=400, show_default=True, help="Videos in a run.")
@click.option("--runs", default=5, show_default=True)
@click.option("--workers", default=default_workers(), show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="File for the figures and the machine's data.")
def main(videos: tuple[Path, ...], count: int, runs: int, workers: int, out: Path | None) -> None:
    """Print the median ratio of an inspection's time to that of reading the packets, hashing off and on."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        links = [str(link) for link in linked(videos, count, work / "in")]
        bare = [sys.executable, "-P", "-c", BARE, str(workers), *links]
        command = [sys.executable, "-P", "-m", "dfx", "inspect", str(work / "in"), "--follow-symlinks", "--quiet"]

        def one_round() -> dict[str, float]:
            return {
                "packets": timed(bare, work),
                "inspect": inspected(work / "in", workers, digest=False),
                "inspect_and_hash": inspected(work / "in", workers, digest=True),
                "command": timed([*command, "--workers", str(workers)], work),
            }

        rounds = [one_round() for _ in range(runs + 1)][1:]  # the first one warms up
    figures = {
        "videos": count,
        "workers": workers,
        "seconds": {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]},
        "ratio": {name: round(statistics.median(_ratios(rounds, name)), 3) for name in rounds[0]},
        "ratios": {name: [round(value, 3) for value in _ratios(rounds, name)] for name in rounds[0]},
        "machine": machine(),
    }
    click.echo(json.dumps(figures, indent=2))
    if out:
        out.write_text(json.dumps(figures, indent=2) + "\n")


def linked(videos: tuple[Path, ...], count: int, folder: Path) -> list[Path]:
    """As many links to the videos, in turn."""
    folder.mkdir()
    links = []
    for number, video in enumerate(islice(cycle(videos), count)):
        links.append(folder / f"{number:04}{video.suffix}")
        links[-1].symlink_to(video.resolve())
    return links


def inspected(folder: Path, workers: int, *, digest: bool) -> float:
    """Wall seconds of an inspection."""
    started = time.monotonic()
    dfx.inspect(folder, digest=digest, workers=workers, follow_symlinks=True)
    return time.monotonic() - started


def _ratios(rounds: list[dict[str, float]], name: str) -> list[float]:
    return [one[name] / one["packets"] for one in rounds]


if __name__ == "__main__":
    main()
