"""Scores damaged videos by the thousand: each must get its row, in time and in bounds, whatever it holds.

Example:
    python tests/fuzz.py --cases 5000 --seed 0 --keep findings

Prints how often each reason was given and what is worth a look: files that killed their worker or outstayed the limit,
and errors that dfx has no reason for. Ends with status 1 where a row is missing or wrong, or time or memory ran over.
"""

from __future__ import annotations

import csv
import faulthandler
import hashlib
import math
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import click
import numpy as np
import psutil
from clips import encode, numbered
from mutate import mutate_named
from numpy.typing import NDArray

import dfx
from dfx.demo import SAMPLES
from dfx.process import default_workers
from dfx.values import Prediction, Reason

LIMITS = dfx.Limits(seconds=10)
RESTART_SECONDS = 15.0  # a worker loads its libraries and models again, on a machine that does other things too
GRACE_SECONDS = 5.0  # by which a busy machine may notice late that the limit is over
SPARE_BYTES = 2**30  # for this process, beside its workers
EVERY = 0.1  # seconds from one look at the memory to the next


def make_seeds(folder: Path) -> list[Path]:
    """Small sound videos of every kind, some with a face; those that this FFmpeg has an encoder for."""
    faces, numbers = _faces(12), [numbered(number) for number in range(12)]
    wanted = [
        _Seed("face.mp4", faces),
        _Seed("face.mkv", faces),
        _Seed("face.ts", faces),
        _Seed("face.webm", faces, "libvpx-vp9"),
        _Seed("face.avi", faces, "mpeg4"),
        _Seed("hevc.mp4", faces, "libx265", options={"x265-params": "log-level=none"}),
        _Seed("sound.mp4", numbers, options={"audio": True}),
        _Seed("turned.mov", numbers, options={"rotation": 90}),
        _Seed("prores.mov", numbers[:4], "prores_ks", "yuv422p10le"),
        _Seed("numbers.gif", numbers[:4], "gif", "rgb8"),
    ]
    return [seed.write(folder) for seed in wanted if seed.codec in av.codecs_available]


@dataclass(frozen=True, slots=True)
class _Seed:
    name: str
    pictures: Sequence[NDArray[np.uint8]]
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict[str, object] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        return encode(path, self.pictures, codec=self.codec, pix_fmt=self.pix_fmt, **self.options)  # type: ignore[arg-type]


def _faces(count: int) -> list[NDArray[np.uint8]]:
    with av.open(str(SAMPLES / "real.mp4")) as container:
        frames = container.decode(video=0)
        return [next(frames).reformat(160, 120, "rgb24").to_ndarray() for _ in range(count)]


def make_cases(seeds: Sequence[Path], folder: Path, numbers: Iterable[int], seed: int) -> None:
    """Writes a damaged file for each number, named by what was done to it and by what it holds."""
    sound = [path.read_bytes() for path in seeds]
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        which, other = (int(one) for one in rng.integers(len(seeds), size=2))
        name, data = mutate_named(sound[which], rng, sound[other])
        digest = hashlib.sha256(data).hexdigest()[:12]
        (folder / f"{name}-{digest}{seeds[which].suffix}").write_bytes(data)


@dataclass(slots=True)
class Report:
    """What came of all batches so far. failures: what must not be; the rest is worth a look."""

    reasons: Counter[str] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    died: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: int = 0

    def add(self, rows: Sequence[Prediction]) -> None:
        self.reasons.update(str(row.reason) for row in rows)
        raised = (row.detail for row in rows if row.reason == Reason.CRASHED and not killed(row))
        self.exceptions.update(re.sub(r"\d+", "#", detail) for detail in raised)
        self.died += sum(map(killed, rows))
        self.slowest = max([self.slowest, *(row.seconds for row in rows)])

    def __str__(self) -> str:
        cases = self.reasons.total()
        counts = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        lines = [
            f"{cases} cases in {self.seconds:.0f} s, {self.seconds / max(1, cases):.3f} s each: {counts}",
            f"workers that died: {self.died}; slowest row {self.slowest:.2f} s; peak memory {self.peak >> 20} MiB",
            *(f"no reason for it, {count} times: {text}" for text, count in self.exceptions.most_common()),
            *(f"FAILED: {failure}" for failure in self.failures),
        ]
        return "\n".join(lines)


def killed(row: Prediction) -> bool:
    """Whether the worker died of it, rather than raised something."""
    return row.reason == Reason.CRASHED and "died" in row.detail


def score_folder(folder: Path, out: Path, report: Report) -> list[Prediction]:
    """Has dfx score the files of a folder, and notes in the report what is wrong with its answers."""
    started = time.monotonic()
    with PeakMemory() as memory:
        rows = list(dfx.predict_dir(folder, out, limits=LIMITS, progress=False))
    took = time.monotonic() - started
    report.add(rows)
    report.seconds += took
    report.peak = max(report.peak, memory.peak)
    report.failures += [*_wrong_rows(folder, out, rows), *_wrong_costs(rows, took, memory.peak)]
    return rows


def _wrong_rows(folder: Path, out: Path, rows: Sequence[Prediction]) -> list[str]:
    files = sorted(path.name for path in folder.iterdir())
    with out.open(newline="", encoding="utf-8") as lines:
        written = {row["filename"]: float(row["label"]) for row in csv.DictReader(lines)}
    wrong = [f"{row.filename}: the probability is {row.probability}" for row in rows if not _sound(row.probability)]
    wrong += [f"{name}: the CSV says {label}" for name, label in written.items() if not _sound(label)]
    if sorted(row.filename for row in rows) != files:
        wrong.append(f"{len(files)} files, but the rows are others")
    if sorted(written) != files:
        wrong.append(f"{len(files)} files, but the rows of the CSV are others")
    return wrong


def _sound(probability: float) -> bool:
    return math.isfinite(probability) and 0 <= probability <= 1


def _wrong_costs(rows: Sequence[Prediction], took: float, peak: int) -> list[str]:
    lost = sum(row.reason == Reason.TIMEOUT or killed(row) for row in rows)
    most = sum(row.seconds for row in rows) + lost * (LIMITS.seconds + RESTART_SECONDS) + 4 * RESTART_SECONDS
    memory = default_workers() * LIMITS.memory + SPARE_BYTES
    late = LIMITS.seconds + GRACE_SECONDS
    wrong = [f"{row.filename}: it took {row.seconds:.1f} s" for row in rows if row.seconds > late]
    if took > most:
        wrong.append(f"{len(rows)} files took {took:.0f} s, {most:.0f} s at most by the sum of their rows")
    if peak > memory:
        wrong.append(f"all processes together took {peak >> 20} MiB; {memory >> 20} MiB is the limit")
    return wrong


class PeakMemory:
    """The largest sum of the proportional memory (PSS) of this process and its children, in bytes, while in context."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(EVERY):
            self.peak = max(self.peak, sum(map(_memory, [me, *me.children(recursive=True)])))


def _memory(process: psutil.Process) -> int:
    try:
        return int(getattr(process.memory_full_info(), "pss", 0))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def keep_findings(rows: Sequence[Prediction], folder: Path, kept: Path) -> None:
    """Copies the files that killed a worker, outstayed the limit, or raised what dfx has no reason for."""
    for row in rows:
        if row.reason in {Reason.CRASHED, Reason.TIMEOUT}:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / row.filename, kept)
            click.echo(f"{row.reason}: {row.filename}: {row.detail}")


@click.command()
@click.option("--cases", default=5000, show_default=True, help="How many damaged files.")
@click.option("--seed", default=0, show_default=True, help="The same seed damages in the same way.")
@click.option("--batch", default=250, show_default=True, help="Files of one call of dfx.predict_dir.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the files that are worth a look.")
def main(cases: int, seed: int, batch: int, keep: Path | None) -> None:
    """Score damaged videos, and tell what came of it."""
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "seeds").mkdir()
        seeds = make_seeds(work / "seeds")
        for first in range(0, cases, batch):
            folder = work / "in"
            folder.mkdir()
            make_cases(seeds, folder, range(first, min(cases, first + batch)), seed)
            faulthandler.dump_traceback_later(batch * (LIMITS.seconds + RESTART_SECONDS), exit=True)
            rows = score_folder(folder, work / f"{first}.csv", report)
            faulthandler.cancel_dump_traceback_later()
            if keep:
                keep_findings(rows, folder, keep)
            shutil.rmtree(folder)
            click.echo(f"{first + len(rows)} of {cases}: {report}".splitlines()[0])
    click.echo(report)
    raise SystemExit(bool(report.failures))


if __name__ == "__main__":
    main()
