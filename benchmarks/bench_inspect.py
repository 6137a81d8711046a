"""What an inspection costs beside reading the same packets with PyAV alone, on as many processes.

Example:
    python benchmarks/bench_inspect.py ../shared/data/videos/*.m* --json benchmarks/results/inspect.json

They take turns, so that a machine that slows down slows all: a script that does nothing but read packets, which starts
a Python of its own and forks; `dfx.inspect` without and with hashes, from a Python that runs already; and the command
`dfx inspect` as it is typed, hashes, bar and tables included, with the start of its Python. The start of each one's
processes is part of it, and byte code is cached, as pip leaves it: the first round, which makes it, is not counted.
All on `--count` videos: links of other names. Beside wall time there is processor time, of all processes together,
which other work on the machine lengthens less.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from figures import json_option, publish
from whole_job import links_to

import dfx
from dfx.process import default_workers

Spent = tuple[float, float]  # seconds: wall time, processor time
WALL, CPU = 0, 1
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
@click.option("--runs", default=11, show_default=True)
@click.option("--workers", default=default_workers(), show_default=True)
@json_option
def main(videos: tuple[Path, ...], count: int, runs: int, workers: int, out: Path | None) -> None:
    """Print the ratios of an inspection's time to that of reading the packets: hashing off, on, and the command."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        links = [str(link) for link in links_to(videos, count, work / "in")]
        bare = [sys.executable, "-P", "-c", BARE, str(workers), *links]
        command = [sys.executable, "-P", "-m", "dfx", "inspect", str(work / "in"), "--follow-symlinks"]

        def one_round() -> dict[str, Spent]:
            return {
                "packets": spent(lambda: run(bare, work)),
                "inspect": spent(lambda: look(work / "in", workers, digest=False)),
                "inspect_and_hash": spent(lambda: look(work / "in", workers, digest=True)),
                "command": spent(lambda: run([*command, "--workers", str(workers)], work)),
            }

        rounds = [one_round() for _ in range(runs + 1)][1:]  # the first one warms up
    figures = {
        "videos": count,
        "workers": workers,
        "seconds": _medians(rounds, WALL),
        "ratio": _ratio(rounds, WALL),
        "ratios": _ratios(rounds, WALL),
        "cpu_seconds": _medians(rounds, CPU),
        "cpu_ratio": _ratio(rounds, CPU),
    }
    publish(figures, out)


def run(command: list[str], folder: Path) -> None:
    """Runs a command, whose words nobody reads."""
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def look(folder: Path, workers: int, *, digest: bool) -> None:
    """Inspects, from this Python."""
    dfx.inspect(folder, digest=digest, workers=workers, follow_symlinks=True)


def spent(work: Callable[[], None]) -> Spent:
    """Seconds that a piece of work took: wall time, and processor time with that of the processes it started."""
    started, busy = time.monotonic(), _processor()
    work()
    return time.monotonic() - started, _processor() - busy


def _processor() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _medians(rounds: list[dict[str, Spent]], clock: int) -> dict[str, float]:
    return {name: round(statistics.median(one[name][clock] for one in rounds), 3) for name in rounds[0]}


def _ratio(rounds: list[dict[str, Spent]], clock: int) -> dict[str, float]:
    """Medians of what each round says: the load of a machine that others use drifts from one round to the next."""
    return {name: statistics.median(values) for name, values in _ratios(rounds, clock).items()}


def _ratios(rounds: list[dict[str, Spent]], clock: int) -> dict[str, list[float]]:
    return {name: [round(one[name][clock] / one["packets"][clock], 3) for one in rounds] for name in rounds[0]}


if __name__ == "__main__":
    main()
