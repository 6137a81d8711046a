"""Rehearse: runs on a sample of videos, and measures what says whether a whole set of them fits a budget of time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np

from dfx.arguments import check_kind, whole
from dfx.cards import card_named
from dfx.clocked import ClockedPipeline
from dfx.device import choose
from dfx.equip import equip
from dfx.errors import InputError
from dfx.find import find
from dfx.govern import JUDGED, LADDER, seconds_of
from dfx.mix import made_clips
from dfx.predict import predict_dir
from dfx.process import default_workers
from dfx.rehearsal import Rehearsal, projected
from dfx.results import Predictions
from dfx.settings import Settings, settings_given
from dfx.values import Prediction, Reason

SAMPLE = 40  # videos
FEWEST = 5  # videos that a bound can be built on
LONGEST_ENDING = 16  # characters of a file name that its link keeps
RUNS = 2  # of the whole sample
LADDER_SAMPLE = 8  # videos whose cost is measured for other numbers of windows
UNSAFE = (Reason.CRASHED, Reason.TIMEOUT)  # not to be opened outside of a worker


def rehearse(
    source: str | Path | Sequence[str | Path] | None = None,
    *,
    videos: int = 4000,
    budget: str | float | timedelta = "9h",
    settings: Settings | None = None,
    device: str = "auto",
    workers: int | None = None,
    card: str | None = None,
    sample: int = SAMPLE,
    progress: bool = True,
) -> Rehearsal:
    """Runs on a sample of videos as a user would, times every stage, and says whether the whole set fits the budget.

    The bound covers what differs from video to video. It cannot know of a machine that slows down later, of a disk
    that is slower than this one's cache, nor of videos unlike the sample.

    Args:
        source: videos to draw the sample from; without any, clips in the challenge's manner are made once and kept.
        videos: of the whole set. budget: wall time for it. settings, device, workers: as for `predict_dir`.
        card: "p100", "t4", "l4", "a100" or "h100": projects to a machine with this card. See `dfx.cards`.
        sample: videos that are run on, at most; four a core or more, since the last ones leave cores idle.
        progress: show bars on standard error.

    Raises:
        InputError: fewer than five videos, an unknown card, and what `predict_dir` raises.
    """
    videos = whole("videos", videos, 1)
    check_kind("sample", sample, Integral, f"a whole number of at least {FEWEST}")
    check_kind("card", card, str | None, "a text, as 't4',")
    workers = None if workers is None else whole("workers", workers, 1)
    if sample < FEWEST:
        raise InputError(f"sample is {sample}; a bound needs at least {FEWEST} videos")
    settings, seconds = settings_given(settings), seconds_of(budget)
    wanted = card_named(card) if card is not None else None
    choice = equip(choose(device), [settings.detector, *settings.models])  # builds before anything is timed
    paths = drawn(made_clips(progress=progress) if source is None else source, sample)
    lanes = min(len(paths), sum(crew.lanes for crew in choice.crews(workers, default_workers())))
    run = partial(_timed_run, settings=settings, device=device, workers=workers, progress=progress)
    startup = _startup(run, paths[0])
    runs = [run(paths) for _ in range(RUNS)]
    safe, scored = _openable(paths, runs[0][0])
    clocked = ClockedPipeline(settings)
    measured = clocked.measure(safe, settings.windows, progress)
    found = Rehearsal(
        videos=videos,
        budget=seconds,
        windows=settings.windows,
        source="made by dfx" if source is None else str(source),
        device=choice.why,
        gpus=len(choice.gpus),
        lanes=lanes,
        startup=startup,
        costs=tuple(np.mean([[row.seconds for row in rows] for rows, _ in runs], axis=0).tolist()),
        overhead=max(overhead(rows, wall - startup, lanes) for rows, wall in runs),
        stages=tuple(measured.stages.items()),
        steps=_steps(clocked, scored[:LADDER_SAMPLE], settings.windows, progress),
        reasons=tuple(Counter(str(row.reason) for row in runs[0][0]).most_common()),
    )
    return found if wanted is None else projected(found, measured.work(core_flops()), wanted)


def drawn(source: str | Path | Sequence[str | Path], count: int) -> list[Path]:
    """A random sample of the videos, the same one every time, in order of name."""
    found = {item.filename: item.path for item in find(source) if item.path is not None}
    if len(found) < FEWEST:
        raise InputError(
            f"{len(found)} videos bear no bound; at least {FEWEST} are needed: name a larger folder, or none, and dfx "
            "makes clips"
        )
    names = sorted(found)
    return [found[name] for name in sorted(random.Random(0).sample(names, min(count, len(names))))]


def overhead(rows: Sequence[Prediction], wall: float, lanes: int) -> float:
    """What a run took without start-up over what its lanes' share of the videos' seconds is: at least 1.

    The last videos of a sample leave lanes idle; in the whole set that is less, so this errs upwards.
    """
    return max(1.0, wall * lanes / sum(row.seconds for row in rows))


def core_flops() -> float:
    """FP32 operations/s of one core, in a product of matrices: the best of five, in a process with one thread."""
    code = (
        "import time, numpy as np; a = np.ones((1024, 1024), np.float32); times = []\n"
        "for _ in range(6): t = time.perf_counter(); a @ a; times.append(time.perf_counter() - t)\n"
        "print(2 * 1024**3 / min(times[1:]))"
    )
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | one
    )
    return float(done.stdout)


def _timed_run(
    paths: Sequence[Path], settings: Settings, device: str, workers: int | None, progress: bool
) -> tuple[Predictions, float]:
    """The rows in the order of `paths`, and wall seconds, journal and CSV included."""
    with tempfile.TemporaryDirectory() as folder:
        links = _linked(paths, Path(folder) / "videos")
        started = time.monotonic()
        rows = predict_dir(
            links, Path(folder) / "out.csv", settings=settings, device=device, workers=workers, progress=progress
        )
        return rows, time.monotonic() - started


def _linked(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Links to the videos, whose names are all different: those of files in several folders may not be."""
    folder.mkdir()
    links = [folder / f"{number:04}{path.suffix[:LONGEST_ENDING]}" for number, path in enumerate(paths)]
    for link, path in zip(links, paths, strict=True):
        link.symlink_to(path.resolve())
    return links


def _startup(run: Callable[[Sequence[Path]], tuple[Predictions, float]], path: Path) -> float:
    rows, wall = run([path])
    return max(0.0, wall - rows[0].seconds)


def _openable(paths: Sequence[Path], rows: Sequence[Prediction]) -> tuple[list[Path], list[Path]]:
    """The videos that may be opened in this process, since no worker died of them; and those of them with a score."""
    safe = [(path, row) for path, row in zip(paths, rows, strict=True) if row.reason not in UNSAFE]
    scored = [path for path, row in safe if row.reason in JUDGED]
    if not scored:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in rows).most_common())
        raise InputError(f"no video of the sample could be scored ({reasons}; {rows[0].detail}): name another folder")
    return [path for path, _ in safe], scored


def _steps(
    clocked: ClockedPipeline, paths: Sequence[Path], windows: int, progress: bool
) -> tuple[tuple[int, float], ...]:
    """Windows a video -> cost in units of that with `windows`, each measured on the same videos."""
    tried = sorted({*LADDER, windows})
    seconds = {step: sum(clocked.measure(paths, step, progress).stages.values()) for step in tried}
    return tuple((step, seconds[step] / seconds[windows]) for step in tried)
