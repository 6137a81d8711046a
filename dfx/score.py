"""Score: a submission against labels. Every measure is written out here, with its source."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfx.charts import RELIABILITY_BINS
from dfx.errors import InputError, MissingInputError
from dfx.labels import WORDS, label_of, read_entries, read_text
from dfx.results import Predictions
from dfx.table import Row, Tabular

Array = NDArray[np.float64]
Ranks = NDArray[np.intp]
SMALLEST = 1e-15  # the challenge's bound on a probability before its logarithm is taken
RESAMPLES, SEED = 2000, 0


@dataclass(frozen=True, slots=True, repr=False)
class Report(Tabular):
    """How good a submission is.

    log_loss: the challenge's; auc: area under the ROC curve, None where all labels are the same; auc_interval: 95 %,
    bootstrap; accuracy: at 0.5; brier: mean squared error (Brier, 1950); calibration_error: expected, over the bins of
    the reliability diagram. videos: scored; fakes: of these; unlabelled: rows without a label; unscored: labels without
    a row.
    """

    videos: int
    fakes: int
    log_loss: float
    auc: float | None
    auc_interval: tuple[float, float] | None
    accuracy: float
    brier: float
    calibration_error: float
    unlabelled: int
    unscored: int

    def columns(self) -> tuple[str, ...]:
        """Measure, value, and what there is to say about it."""
        return ("measure", "value", "note")

    def rows(self) -> list[Row]:
        """A row a measure."""
        interval = self.auc_interval
        note = f"95 % interval {interval[0]:.4f} to {interval[1]:.4f}" if interval else "all labels are the same"
        return [
            ("videos", self.videos, f"{self.fakes} fake, {self.videos - self.fakes} real"),
            ("log loss", f"{self.log_loss:.4f}", "always 0.5 gives 0.6931"),
            ("AUC", "-" if self.auc is None else f"{self.auc:.4f}", note),
            ("accuracy", f"{self.accuracy:.4f}", "at 0.5"),
            ("Brier score", f"{self.brier:.4f}", "always 0.5 gives 0.25"),
            ("calibration error", f"{self.calibration_error:.4f}", f"expected, {RELIABILITY_BINS} bins"),
            ("without a label", self.unlabelled, "rows that were left out"),
            ("without a row", self.unscored, "labels that were left out"),
        ]


def score(submission: str | Path | Predictions, labels: str | Path | Mapping[str, int | str]) -> Report:
    """Measures a submission.

    Args:
        submission: a CSV of `filename,label` with probabilities, or what `predict_dir` returned.
        labels: the challenge's `metadata.json`, a folder that holds one or several, a CSV of `filename,label`
            (REAL/FAKE or 0/1; more columns do no harm), or a mapping of names to such labels.

    Raises:
        MissingInputError, InputError: a file that is missing, odd, or shares no name with the other.
    """
    given = _probabilities(submission)
    truth = _from_mapping(labels) if isinstance(labels, Mapping) else read_labels(Path(labels))
    names = sorted(given.keys() & truth.keys())
    if not names:
        rows, known = (next(iter(each), None) for each in (given, truth))
        raise InputError(
            f"none of the {len(given)} rows has one of the {len(truth)} labels: there are {rows!r} and {known!r}, for "
            "one; names in a folder that holds several metadata.json are paths from that folder"
        )
    p, y = np.array([given[name] for name in names]), np.array([truth[name] for name in names], np.float64)
    return Report(
        videos=len(names),
        fakes=int(y.sum()),
        log_loss=log_loss(y, p),
        auc=auc(y, p),
        auc_interval=auc_interval(y, p),
        accuracy=float(((p > 0.5) == (y > 0.5)).mean()),
        brier=float(((p - y) ** 2).mean()),
        calibration_error=calibration_error(y, p),
        unlabelled=len(given) - len(names),
        unscored=len(truth) - len(names),
    )


def log_loss(y: Array, p: Array) -> float:
    """The challenge's metric: -mean(y log p + (1 - y) log(1 - p)), p held within 1e-15 of 0 and 1."""
    p = p.clip(SMALLEST, 1 - SMALLEST)
    return float(-np.where(y > 0.5, np.log(p), np.log1p(-p)).mean())


def auc(y: Array, p: Array) -> float | None:
    """The chance that a fake scores above a real, ties counting half (Mann and Whitney, 1947); None with one class."""
    real, fake = _ranks(y, p)
    return _auc(real, fake) if len(real) and len(fake) else None


def auc_interval(y: Array, p: Array) -> tuple[float, float] | None:
    """95 % percentile interval over 2,000 resamples within each class (Efron, 1979), seeded. None with one class."""
    real, fake = _ranks(y, p)
    if not len(real) or not len(fake):
        return None
    rng = np.random.default_rng(SEED)
    draws = [_auc(rng.choice(real, len(real)), rng.choice(fake, len(fake))) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _ranks(y: Array, p: Array) -> tuple[Ranks, Ranks]:
    """The dense ranks, from 0, of the reals and of the fakes: sorted once, however often they are drawn again."""
    ranks = np.unique(p, return_inverse=True)[1]
    return ranks[y <= 0.5], ranks[y > 0.5]


def _auc(real: Ranks, fake: Ranks) -> float:
    counts = np.bincount(real, minlength=int(fake.max()) + 1)
    below = np.cumsum(counts) - counts / 2
    return float(below[fake].mean() / len(real))


def calibration_error(y: Array, p: Array, weights: Array | None = None) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015): the gap between probability and share of fakes, averaged
    over the bins of the reliability diagram. weights: of each video, alike unless given."""
    bins = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    each = np.ones(len(p)) if weights is None else weights
    gaps = np.bincount(bins, weights=each * (p - y), minlength=RELIABILITY_BINS)
    return float(np.abs(gaps).sum() / each.sum())


def read_labels(path: Path) -> dict[str, int]:
    """Labels by file name, 1 for fake: from `metadata.json`, a folder of it, or a CSV. Raises as `score` does."""
    if path.is_dir():
        return _from_folder(path)
    return {name: WORDS[entry.label] for name, entry in read_entries(path).items()}


def _from_folder(folder: Path) -> dict[str, int]:
    """All that lies below, as the challenge's training set comes in parts; names are those that `predict_dir` gives."""
    files = sorted(folder.rglob("metadata.json"))
    if not files:
        raise MissingInputError(f"no metadata.json in {folder}: name the file with the labels")
    return {
        (file.parent.relative_to(folder) / name).as_posix(): label
        for file in files
        for name, label in read_labels(file).items()
    }


def _from_mapping(labels: Mapping[str, int | str]) -> dict[str, int]:
    return {name: WORDS[label_of(word, f"labels, {name}: the label")] for name, word in labels.items()}


def _probabilities(submission: str | Path | Predictions) -> dict[str, float]:
    if isinstance(submission, Predictions):
        return {row.filename: _probability(row.probability, row.filename) for row in submission}
    path = Path(submission)
    return {name: _probability(text, f"{path}, {name}") for name, text in _rows(path)}


def _probability(text: str | float, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise InputError(f"{where}: the probability is {text!r}; a number from 0 to 1 is needed")
    return value


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Name and score of each row of a submission, as they stand there."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV ({error})") from error
    if not {"filename", "label"} <= set(reader.fieldnames or []):
        raise InputError(f"{path}: its header is {reader.fieldnames}; columns 'filename' and 'label' are needed")
    seen: set[str] = set()
    for row in rows:
        if row["filename"] is None:
            raise InputError(f"{path}: the row {list(row.values())} is cut short; it needs a 'filename'")
        if row["filename"] in seen:
            raise InputError(f"{path}: {row['filename']!r} stands there twice; each video may have one row")
        seen.add(row["filename"])
        yield row["filename"], row["label"] or ""
