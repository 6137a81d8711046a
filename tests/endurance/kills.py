"""Kills a run again and again at random moments, and checks that nothing is lost and nothing is done twice.

Example:
    python tests/endurance/kills.py --kills 200 --videos 90
"""

from __future__ import annotations

import csv
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from dfx.demo import SAMPLES

START_UP = 1.2  # seconds, about, in which no video is scored yet
MOMENT = 0.02  # seconds, from the beginning of a commit on
SIGNALLED = Path(__file__).parents[1] / "signalled.py"
SPARE = 20  # videos that no life aims at: after a slow commit, all that waited for it are journaled at once


@click.command()
@click.option("--kills", default=200, show_default=True)
@click.option("--videos", default=90, show_default=True, help="Copies of the short clips that ship with dfx.")
@click.option("--seed", default=0, show_default=True)
def main(kills: int, videos: int, seed: int) -> None:
    """Kill one run KILLS times, let it end, and compare it with a run that nobody disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        click.echo(disturbed(Path(folder), kills, videos, seed))


def disturbed(work: Path, kills: int, videos: int, seed: int) -> str:
    """Runs it all in the folder `work`; returns what was seen; raises AssertionError where a promise is broken."""
    source = work / "in"
    source.mkdir()
    clips = sorted(SAMPLES.glob("*.mp4"))
    for number in range(videos):
        shutil.copy(clips[number % len(clips)], source / f"{number:03}.mp4")
    calm = run(source, work / "calm.csv")
    assert calm.wait() == 0
    truth, rng, known, done = table(work / "calm.csv"), random.Random(seed), dict[str, str](), 0
    while done < kills:
        share = (videos - len(known)) / (kills - done + 1)
        rows = min(int(rng.uniform(0, 2 * share) + rng.random()), videos - SPARE - len(known))
        if not killed(source, work / "killed.csv", rows, rng):
            break
        done += 1
        now = journal(work / "killed.csv.journal")
        assert known.items() <= now.items(), "a journaled row was lost, or scored again"
        known = now
        check_table(work / "killed.csv", truth)
    before = len(known)
    assert run(source, work / "killed.csv").wait() == 0
    assert known.items() <= journal(work / "killed.csv.journal").items()
    assert (work / "killed.csv").read_bytes() == (work / "calm.csv").read_bytes(), "the CSV differs"
    assert done == kills, f"the run ended after {done} kills: more videos are needed"
    assert before, "no video was scored before the last kill: more videos are needed"
    return (
        f"{done} kills over one run of {videos} videos, {before} of them journaled by the last: the CSV is that of "
        "an undisturbed run to the byte, and no journaled video was scored again"
    )


def killed(source: Path, out: Path, rows: int, rng: random.Random) -> bool:
    """Runs until the commit of so many videos more, for none until some moment before it; False if it ended before."""
    moment = rng.uniform(0, MOMENT) if rows > 0 else 0.0
    victim = run(source, out, [str(SIGNALLED), str(max(1, rows)), str(moment), str(int(signal.SIGKILL))])
    if rows <= 0:
        time.sleep(rng.uniform(0, START_UP))
        victim.kill()
    return victim.wait() == -signal.SIGKILL


def run(source: Path, out: Path, program: Sequence[str] = ("-P", "-m", "dfx")) -> subprocess.Popen[bytes]:
    """Starts `dfx predict` outside the checkout, so that it is the installed package that runs.

    With two workers, whatever the machine: many would end the run within that moment.
    """
    command = [sys.executable, *program, "predict", str(source), "--out", str(out), "--quiet", "--workers", "2"]
    return subprocess.Popen(command, cwd=out.parent)


def table(path: Path) -> dict[str, str]:
    with path.open(newline="") as lines:
        return {row["filename"]: row["label"] for row in csv.DictReader(lines)}


def check_table(path: Path, truth: dict[str, str]) -> None:
    """A CSV that is there is whole: every row, each with the prior or the score that it ends with."""
    if path.exists():
        rows = table(path)
        assert rows.keys() == truth.keys(), "a row is missing"
        assert all(label in ("0.500000", truth[name]) for name, label in rows.items()), "a row is wrong"


def journal(path: Path) -> dict[str, str]:
    """The rows as they were noted, times included: one that is scored again differs."""
    if not path.exists():
        return {}
    connection = sqlite3.connect(path)
    try:
        return {bytes(name).decode(): row for name, row in connection.execute("SELECT filename, row FROM videos")}
    except sqlite3.OperationalError:  # killed before the tables were made
        return {}
    finally:
        connection.close()


if __name__ == "__main__":
    main()
