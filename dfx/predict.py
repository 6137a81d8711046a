"""The main job: a folder of videos in, one calibrated probability a video out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from dfx.errors import InputError, MissingInputError
from dfx.find import Found, find
from dfx.infer.session import fingerprint
from dfx.journal import Journal
from dfx.pipeline import Pipeline
from dfx.pool import Job, Pool, default_workers
from dfx.results import FaceTracks, Predictions
from dfx.settings import Limits, Settings
from dfx.values import Prediction, Reason

CSV_SECONDS = 10.0  # how stale the CSV may become while a run goes on


def predict_dir(
    source: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    sample_submission: str | Path | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
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
        settings: models, windows a video, prior, clip range.
        limits: time and memory a video.
        workers: processes; one a core unless told.
        fresh: forget the journal and start over.
        follow_symlinks: also follow links that lead out of the folder.
        progress: show a bar on standard error.

    Returns:
        A row for every video, in the order of the sample submission, else sorted by name.

    Raises:
        MissingInputError, InputError, ModelError, OutputError, DependencyError: each in one line, before any work is
        done.
    """
    settings, limits = settings or Settings(), limits or Limits()
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; at least 1 is needed")
    found = find(source, follow_symlinks=follow_symlinks, sample_submission=sample_submission)
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(Path(out), settings, fresh)) if out is not None else None
        run = _Run(found, settings, Path(out) if out is not None else None, journal)
        if run.jobs:
            pool = stack.enter_context(Pool(settings, limits, min(workers or default_workers(), len(run.jobs))))
            run.write()
            stack.callback(run.write)
            _drain(run, pool.run(run.jobs), progress)
        else:
            run.write()
    return run.predictions()


def predict_video(path: str | Path, *, settings: Settings | None = None) -> Prediction:
    """Scores one video in this process. For a hostile file use `predict_dir`, which contains it in a worker.

    Raises MissingInputError where there is no such file; all else that is wrong with it becomes the reason on the row.
    """
    if not Path(path).is_file():
        raise MissingInputError(f"no video at {path}: name a file that exists")
    return Pipeline(settings).predict(path)


def find_faces(path: str | Path, *, settings: Settings | None = None) -> FaceTracks:
    """Finds and follows the faces in the windows that a prediction would look at, in this process.

    Raises MissingInputError, CorruptVideoError, UnsupportedVideoError or TooLargeVideoError.
    """
    return FaceTracks(Path(path), tuple(Pipeline(settings).tracks(path)))


class _Run:
    """The rows of one run: what is found, what is known, and the CSV that shows it."""

    def __init__(self, found: Sequence[Found], settings: Settings, out: Path | None, journal: Journal | None) -> None:
        self._found, self._prior, self._out, self._journal = found, settings.prior, out, journal
        self._paths = {item.filename: item.path for item in found if item.path is not None}
        known = journal.done(self._paths) if journal else {}
        self._known: dict[str, Prediction] = dict(known)
        self._written = 0.0
        self.jobs = [Job(name, path) for name, path in self._paths.items() if name not in known]

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, prediction: Prediction) -> None:
        """Remembers a row, in the journal first; the CSV follows when it has become stale."""
        if self._journal:
            self._journal.add(self._paths[prediction.filename], prediction)
        self._known[prediction.filename] = prediction
        if time.monotonic() - self._written > CSV_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the CSV as it stands now, with the prior for what is not scored yet."""
        if self._out is not None:
            self.predictions().to_csv(self._out)
        self._written = time.monotonic()

    def predictions(self) -> Predictions:
        """A row for every video that was found or asked for."""
        return Predictions(tuple(self._known.get(item.filename) or self._unscored(item) for item in self._found))

    def _unscored(self, item: Found) -> Prediction:
        if item.path is None:
            return Prediction(item.filename, self._prior, Reason.MISSING, "no such file in the folder")
        return Prediction(item.filename, self._prior, Reason.OUT_OF_BUDGET, "the run ended before its turn came")


def _drain(run: _Run, results: Iterable[Prediction], progress: bool) -> None:
    done = len(run) - len(run.jobs)
    with tqdm(
        total=len(run), initial=done, unit="video", disable=not progress, smoothing=0.05, dynamic_ncols=True
    ) as bar:
        for prediction in results:
            run.add(prediction)
            bar.update()


def _journal(out: Path, settings: Settings, fresh: bool) -> AbstractContextManager[Journal]:
    named = settings.to_json() | {
        "detector": fingerprint(settings.detector),
        "model": fingerprint(settings.model),
        "dfx": version("dfx"),
    }
    return Journal.open(out.with_name(out.name + ".journal"), named, fresh=fresh)
