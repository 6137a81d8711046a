"""Report: a run as one HTML file that needs no network: what the scores are, and what they rest on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dfx.aggregate import aggregate
from dfx.arguments import whole
from dfx.classify import Ensemble
from dfx.doubts import Weigh, doubts
from dfx.errors import InputError, MissingInputError
from dfx.evidence import Sight, gather, request
from dfx.files import replacement
from dfx.infer.session import fingerprint
from dfx.journal import Remembered, read, state_of
from dfx.outputs import PAGE, check_output
from dfx.page import LEFT_OUT, SHIPPED, Entry, page
from dfx.results import Predictions, unscored
from dfx.score import read_labels, score
from dfx.settings import Limits, Settings, limits_given
from dfx.streams import bar, note
from dfx.table import text_of
from dfx.values import Prediction

WITH_DROPPED = 3  # version of the journal from which on it notes tracks that were dropped
PICTURES = 400  # videos with pictures, at most: about 11 MB of them


def from_journal(
    journal: str | Path,
    out: str | Path = "report.html",
    *,
    videos: str | Path | None = None,
    labels: str | Path | None = None,
    detector: Path = SHIPPED.detector,
    models: Sequence[Path] = SHIPPED.models,
    limits: Limits | None = None,
    workers: int | None = None,
    pictures: int = PICTURES,
    progress: bool = True,
) -> None:
    """Writes the report of the run that a journal remembers.

    Args:
        journal: `<CSV>.journal`, beside the CSV of the run.
        out: the HTML file to write.
        videos: the folder that was scored; without it, or for a file that is missing or not the one that was scored
            (by size and date), a video has its row without pictures.
        labels: the challenge's metadata.json, or a CSV of filename,label.
        detector, models: those of the run.
        limits: what decoding a video again may cost.
        workers: processes that decode, one a core unless told.
        pictures: videos that get pictures, at most; those with the highest scores come first.
        progress: show a bar on standard error.

    Raises:
        MissingInputError, InputError, ModelError, OutputError, DependencyError: each in one line.
    """
    check_output(out, PAGE, [journal, str(journal).removesuffix(".journal")])
    remembered = read(Path(journal))
    settings = _settings(remembered.settings, detector, models, Path(journal))
    rows = _rows(remembered)
    states = {name: state for name, (_, _, state) in remembered.rows.items() if name in rows}
    paths, absent = _files(Path(videos) if videos is not None else None, states)
    if videos is not None and absent:
        note(f"{len(paths)} of the {len(states)} videos of the run are in {videos} as they were scored")
    write(
        Predictions(tuple(rows.values())),
        out,
        paths=paths,
        settings=settings,
        absent=absent,
        labels=labels,
        facts=_facts(remembered.settings),
        limits=limits,
        workers=workers,
        pictures=pictures,
        progress=progress,
    )


def write(
    predictions: Predictions,
    out: str | Path,
    *,
    paths: Mapping[str, Path],
    settings: Settings,
    absent: Mapping[str, str] | None = None,
    labels: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    pictures: int = PICTURES,
    progress: bool = True,
) -> None:
    """Writes the report of rows. paths: where the videos lie; absent: why one has none; facts: more for the summary.

    The rest, and what it raises, as for `from_journal`.
    """
    limits, pictures = limits_given(limits), whole("pictures", pictures, 0)
    needed = [*paths.values(), settings.detector, *settings.models]
    check_output(out, PAGE, needed if labels is None else [*needed, labels])
    truth = read_labels(Path(labels)) if labels is not None else {}
    measures = score(predictions, truth) if labels is not None else None
    chosen = _chosen(predictions, paths, pictures)
    sights = _gathered(predictions, chosen, settings, limits, workers, progress)
    why = dict.fromkeys(paths, f"only the {pictures} videos with the highest scores have pictures") | dict(absent or {})
    weigh = _weigh(settings)
    entries = [
        _entry(row, sights.get(name := row.filename), why.get(name, ""), truth.get(name), weigh, settings)
        for row in predictions
    ]
    entries.sort(key=lambda entry: (not entry.wrong, -entry.loss, not entry.scored, -entry.row.probability, entry.name))
    html = page(entries, measures, settings, predictions, facts or {})
    with replacement(Path(out)) as file:
        file.write(html)


def _rows(remembered: Remembered) -> dict[str, Prediction]:
    """The rows of the run's CSV, by name: what earlier runs scored beside them is left out, and what was not scored has
    the prior."""
    scored = {name: row for name, (row, _, _) in remembered.rows.items()}
    if remembered.asked is None:
        return scored
    prior = remembered.settings["prior"]
    return {
        name: (scored.get(name) if there else None) or unscored(name, prior, there)
        for name, there in remembered.asked.items()
    }


def _settings(noted: Mapping[str, Any], detector: Path, models: Sequence[Path], journal: Path) -> Settings:
    """The settings of the run; refuses other models, whose faces and calibration would not be those of the scores."""
    noted_models = noted.get("models") or [noted["model"]]  # a journal of version 2 knows one
    given = [("detector", detector, noted["detector"])]
    given += [("model", *pair) for pair in zip_longest(models, noted_models)]
    for option, path, wanted in given:
        if path is None or fingerprint(path) != wanted:
            raise InputError(
                f"{path or 'nothing'} is not the {option} that the scores in {journal} come from (SHA-256 {wanted}): "
                f"name that one with --{option}, as the run did"
            )
    plain = {name: noted[name] for name in ("windows", "prior", "prevalence", "clip_range")}
    return Settings.from_json(plain | {"detector": detector, "models": models})


def _facts(noted: Mapping[str, Any]) -> dict[str, str]:
    facts = {"Device": "not noted in the journal", "dfx that scored": noted.get("dfx", "unknown")}
    if noted.get("journal", 0) < WITH_DROPPED:
        facts[LEFT_OUT] = "not noted in this journal, which is older"
    return facts


def _files(folder: Path | None, states: Mapping[str, tuple[int, int]]) -> tuple[dict[str, Path], dict[str, str]]:
    """The files that are still those that were scored, and for the others what is the matter."""
    if folder is None:
        return {}, dict.fromkeys(states, "no folder of videos was named (--videos)")
    if not folder.is_dir():
        raise MissingInputError(f"no folder at {folder}: name the one that was scored with --videos")
    paths: dict[str, Path] = {}
    absent: dict[str, str] = {}
    home = os.path.realpath(folder)
    for name, state in states.items():
        path = folder / name
        if not Path(os.path.realpath(path)).is_relative_to(home) or not path.is_file():
            absent[name] = "the file is not in the folder any more"
        elif state_of(path) != state:
            absent[name] = "the file has another size or date than the one that was scored"
        else:
            paths[name] = path
    return paths, absent


def _chosen(predictions: Predictions, paths: Mapping[str, Path], pictures: int) -> dict[str, Path]:
    """The videos that get pictures: the highest scores first."""
    ranked = sorted(predictions, key=lambda row: -row.probability)
    return {row.filename: paths[row.filename] for row in [row for row in ranked if row.filename in paths][:pictures]}


def _gathered(
    predictions: Predictions,
    chosen: Mapping[str, Path],
    settings: Settings,
    limits: Limits,
    workers: int | None,
    progress: bool,
) -> dict[str, Sight]:
    if not chosen:
        return {}
    rows = {row.filename: row for row in predictions}
    requests = {name: request(rows[name], path, rows[name].windows) for name, path in chosen.items()}
    with bar(title="pictures", total=len(requests), unit="video", shown=progress) as shown:
        return gather(requests, settings, limits, workers, shown.update)


def _weigh(settings: Settings) -> Weigh:
    """What clips score, if they are all of their video, within bounds and for a prevalence."""
    calibration = Ensemble(settings.models).calibration
    return lambda clips, clip_range, prevalence: aggregate(clips, calibration, clip_range, prevalence)


def _entry(
    row: Prediction, sight: Sight | None, absent: str, label: int | None, weigh: Weigh, settings: Settings
) -> Entry:
    scores = tuple((clip, weigh([clip], settings.clip_range, settings.prevalence)) for clip in row.clips)
    why = "" if sight else absent or "there is no file"
    return Entry(text_of(row.filename), row, sight, why, label, scores, doubts(row, sight, weigh, settings))
