"""The main job: a folder of videos in, one calibrated probability a video out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from datetime import timedelta
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path

from dfx.arguments import whole
from dfx.device import Choice, Crew, choose
from dfx.errors import MissingInputError
from dfx.find import Found, find
from dfx.govern import Governor, Job, Once, Schedule, seconds_of
from dfx.infer.session import fingerprint
from dfx.journal import Journal, journal_of, state_of
from dfx.outputs import SCORES, check_apart, check_output
from dfx.pool import Pool
from dfx.process import FOREVER, default_workers
from dfx.results import FaceTracks, Predictions, unscored
from dfx.settings import FURTHER, Limits, Settings, limits_given, settings_given
from dfx.streams import bar, note
from dfx.values import Prediction, Reason

CSV_SECONDS = 10.0  # how stale the CSV may become while a run goes on
MARGIN = 0.5  # seconds before the end of a budget at which work ends


def predict_dir(
    source: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    sample_submission: str | Path | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    budget: str | float | timedelta | None = None,
    device: str = "auto",
    engines: str | Path | None = None,
    workers: int | None = None,
    fresh: bool = False,
    follow_symlinks: bool = False,
    progress: bool = True,
) -> Predictions:
    """Scores every video of a folder (a file, a glob or a list will do too), each with a probability and a reason.

    With `out`, a CSV of `filename,label` stands there from the start, filled with the prior, and is kept current; a
    journal beside it (`<out>.journal`) remembers every finished video, so that the same call resumes a run that was
    cut. Without `out` nothing is written.

    Args:
        source: what to score.
        out: the CSV to write.
        sample_submission: a CSV `filename,label` that fixes the rows and their order; a missing file keeps its row.
        settings: models, windows a video, prior, clip range. Of several classifiers the calibrated logits are averaged.
        limits: time, memory, pixels and duration a video.
        budget: wall time for this call, as "8h30m", 90.0 seconds or a timedelta. It ends in time with a complete CSV:
            first every video is given a short look, then what is left buys more windows for those where they change the
            answer most, up to eight each; what did not fit has the prior and the reason `out_of_budget`, and is scored
            by the next call.
        device: "auto" (GPUs where all is there for them, else the CPU), "cpu", "cuda" (all GPUs) or "cuda:N", and
            "tensorrt" or "tensorrt:N" for networks that run as TensorRT engines.
        engines: the folder of those engines ($XDG_CACHE_HOME/dfx/engines unless told). What does not fit this GPU, its
            driver or a model is built first, where time allows; else the CUDA provider serves, and says so.
        workers: processes on a CPU, one a core unless told; videos in hand at a time on each GPU.
        fresh: forget the journal and start over.
        follow_symlinks: also follow links that lead out of the folder.
        progress: show a bar on standard error.

    Returns:
        A row for every video, in the order of the sample submission, else sorted by name.

    Raises:
        MissingInputError, InputError, ModelError, OutputError, DependencyError, DeviceError: each in one line, before
        any work is done.
    """
    started = time.monotonic()
    settings, limits = settings_given(settings), limits_given(limits)
    deadline = None if budget is None else started + _less_margin(min(seconds_of(budget), FOREVER))
    workers = None if workers is None else whole("workers", workers, 1)
    found = find(source, follow_symlinks=follow_symlinks, sample_submission=sample_submission)
    if out is not None:
        _check_out(Path(out), [item.path for item in found], sample_submission, settings)
    choice = _choice(device, settings, Path(engines) if engines is not None else None, deadline)
    crews = _needed(choice.crews(workers, default_workers()), len(found))
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(Path(out), settings, limits, fresh)) if out is not None else None
        run = _Run(found, settings, Path(out) if out is not None else None, journal)
        schedule = run.schedule(settings.windows, limits.seconds, sum(crew.lanes for crew in crews), deadline)
        if schedule is not None:
            pool = stack.enter_context(Pool(settings, limits, crews, deadline))
            if pool.serves:
                run.begin()
            run.write()
            stack.callback(run.write)
            if progress and device != "cpu":
                note(f"dfx runs on {choice.why}")
            _drain(run, pool.run(schedule), schedule, progress)
        else:
            run.begin()
            run.write()
    return replace(run.predictions(), device=choice.why)


def _check_out(out: Path, videos: Iterable[Path | None], sample: str | Path | None, settings: Settings) -> None:
    """Raises where the CSV or its journal would take the place of what the run reads, or of any file but such a CSV."""
    inputs = [path for path in (*videos, sample, settings.detector, *settings.models) if path is not None]
    check_output(out, SCORES, inputs)
    check_apart(journal_of(out), inputs)


def _needed(crews: Sequence[Crew], videos: int) -> list[Crew]:
    """The first of the processes, and of the others as many as have a video to begin with."""
    before = accumulate((crew.lanes for crew in crews), initial=0)
    return [crew for crew, lanes in zip(crews, before, strict=False) if lanes < max(videos, 1)]


def predict_video(path: str | Path, *, settings: Settings | None = None) -> Prediction:
    """Scores one video in this process. For a hostile file use `predict_dir`, which contains it in a worker.

    Raises MissingInputError where there is no such file; all else that is wrong with it becomes the reason on the row.
    """
    if not Path(path).is_file():
        raise MissingInputError(f"no video at {path}: name a file that exists")
    from dfx.pipeline import Pipeline  # and the networks' code; a run's parent needs neither

    return Pipeline(settings_given(settings)).predict(path)


def find_faces(path: str | Path, *, settings: Settings | None = None) -> FaceTracks:
    """Finds and follows the faces in the windows that a prediction would look at, in this process.

    Raises MissingInputError, CorruptVideoError, UnsupportedVideoError or TooLargeVideoError.
    """
    from dfx.pipeline import Pipeline

    tracks, turned = Pipeline(settings_given(settings)).tracks(path)
    return FaceTracks(Path(path), tuple(tracks), turned)


class _Run:
    """The rows of one run: what is found, what is known, and the CSV that shows it."""

    def __init__(self, found: Sequence[Found], settings: Settings, out: Path | None, journal: Journal | None) -> None:
        self._found, self._prior, self._out, self._journal = found, settings.prior, out, journal
        self.paths = {item.filename: item.path for item in found if item.path is not None}
        self._states = {name: state_of(path) for name, path in self.paths.items()}
        self._known = journal.done(self.paths) if journal else {}
        self._written = 0.0

    @property
    def scored(self) -> int:
        """Videos that have a row of their own."""
        return len(self._known)

    def schedule(self, windows: int, limit: float, workers: int, deadline: float | None) -> Schedule | None:
        """What is left to do; None where nothing is.

        Without a budget that is every video that has not had its windows yet; one in which a shorter look showed nobody
        has not.
        """
        if deadline is not None and self.paths:
            return Governor(self.paths, self._known, deadline=deadline, workers=workers, limit=limit)
        left = {name: path for name, path in self.paths.items() if self._given(name) < self._wanted(name, windows)}
        return Once(left, windows, limit, self._known) if left else None

    def begin(self) -> None:
        """Notes what is asked for, now that nothing stands in the way of it."""
        if self._journal is None:
            return
        others = self._journal.begin({item.filename: self._states.get(item.filename) for item in self._found})
        if others:
            note(
                f"videos of the run before that this one leaves out ({others}) will not be in {self._out} any more: "
                "its journal keeps their scores, for when they are asked for again; another --out keeps both"
            )

    def add(self, job: Job, prediction: Prediction) -> None:
        """Remembers a row, in the journal first; the CSV follows when it has become stale.

        What did not fit into the budget, or could not be opened, is shown but not remembered: the next run tries again.
        """
        windows = max(job.windows, FURTHER) if _went_further(job, prediction) else job.windows
        if self._journal and prediction.reason not in (Reason.OUT_OF_BUDGET, Reason.MISSING):
            self._journal.add(self._states[prediction.filename], prediction, windows)
        self._known[prediction.filename] = prediction, windows
        if time.monotonic() - self._written > CSV_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the CSV as it stands now, with the prior for what is not scored yet."""
        if self._out is not None:
            self.predictions().to_csv(self._out)
        self._written = time.monotonic()

    def predictions(self) -> Predictions:
        """A row for every video that was found or asked for."""
        return Predictions(tuple(self._row(item) for item in self._found), self.paths)

    def _given(self, name: str) -> int:
        return self._known[name][1] if name in self._known else 0

    def _wanted(self, name: str, windows: int) -> int:
        faceless = name in self._known and self._known[name][0].reason == Reason.NO_FACE
        return max(windows, FURTHER) if faceless else windows

    def _row(self, item: Found) -> Prediction:
        if item.filename in self._known:
            return self._known[item.filename][0]
        return unscored(item.filename, self._prior, item.path is not None)


def _went_further(job: Job, prediction: Prediction) -> bool:
    """Whether a video was looked at in as many windows as there are, up to FURTHER, since fewer showed nobody."""
    return job.further and (prediction.windows > job.windows or prediction.reason == Reason.NO_FACE)


def _drain(run: _Run, results: Iterable[tuple[Job, Prediction]], schedule: Schedule, progress: bool) -> None:
    with bar(total=len(run.paths), initial=run.scored, unit="video", shown=progress, smoothing=0.05) as shown:
        for job, prediction in results:
            run.add(job, prediction)
            shown.set_postfix_str(schedule.status(), refresh=False)
            shown.update(run.scored - shown.n)


def _less_margin(budget: float) -> float:
    """A budget less what it takes to end workers and write the last CSV."""
    return budget - min(MARGIN, budget / 10)


def _choice(device: str, settings: Settings, engines: Path | None, deadline: float | None) -> Choice:
    choice = choose(device)
    if not choice.tensorrt:
        return choice
    from dfx.equip import equip  # loaded for TensorRT only

    return equip(choice, [settings.detector, *settings.models], engines, deadline)


def _journal(out: Path, settings: Settings, limits: Limits, fresh: bool) -> AbstractContextManager[Journal]:
    named = settings.to_json() | {
        "detector": fingerprint(settings.detector),
        "models": [fingerprint(path) for path in settings.models],
        "dfx": version("dfx"),
        "limits": asdict(limits),
    }
    return Journal.open(journal_of(out), named, fresh=fresh)
