"""Report: a run as one HTML file that needs no network: what the scores are, and what they rest on."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup

from dfx.aggregate import aggregate
from dfx.charts import reliability, roc, scores_chart
from dfx.classify import Ensemble
from dfx.doubts import doubts
from dfx.draw import TEMPLATES, environment
from dfx.errors import InputError, MissingInputError
from dfx.evidence import Sight, gather, request
from dfx.infer.session import fingerprint
from dfx.journal import VERSION, Remembered, read, state_of
from dfx.outputs import PAGE, check_output
from dfx.results import Predictions, unscored
from dfx.score import Report, log_loss, read_labels, score
from dfx.settings import MODELS, Limits, Settings
from dfx.streams import bar
from dfx.table import replacement
from dfx.table import text_of as printable
from dfx.values import ClipScore, Prediction, Reason, Verdict

PICTURES = 400  # videos with pictures, at most: about 11 MB of them
SHIPPED = Settings()
FALSE_ALARMS, ACCURACY = 0.35, 0.654  # of the shipped classifier, at 0.5: CLASSIFIER_CARD.md; a test compares them
BASE_RATES = (0.5, 0.1, 0.01, 0.001)  # shares of fakes among videos
EXAMPLE = 10_000  # videos that the base rates are told with
LEFT_OUT = "Tracks left out as no real face"

MEANINGS = {
    Reason.OK: "scored",
    Reason.NO_FACE: "no face in the frames that were looked at",
    Reason.CORRUPT: "the file is empty, cut, or no video",
    Reason.UNSUPPORTED: "sound alone, a still picture, or an unknown codec",
    Reason.TOO_LARGE: "beyond the limits on pixels, packets, time or memory",
    Reason.MISSING: "named in the sample submission, but not in the folder, or may not be read",
    Reason.TIMEOUT: "took longer than the limit",
    Reason.CRASHED: "its worker died",
    Reason.OUT_OF_BUDGET: "the run ended before its turn came",
}

VERDICTS = {
    Verdict.BLIP: "seen in fewer than half of the looks",
    Verdict.NESTED: "a part of another face, or one that holds it",
    Verdict.POSTER: "a picture on a wall or a screen: it moves in one piece",
    Verdict.PRINT: "a picture on clothes: below a face, and without life of its own",
    Verdict.CROWD: "one more than the faces that are scored, which are the largest and surest",
    Verdict.UNSURE: "hardly a face to the detector, beside one that it is sure of",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A video on the page.

    name: as it may be shown; sight: what its file shows, None without it; absent: why it has none; label: 1 for fake,
    None unknown; alone: each clip with the score that it would give by itself.
    """

    name: str
    row: Prediction
    sight: Sight | None
    absent: str
    label: int | None
    alone: tuple[tuple[ClipScore, float], ...]
    doubts: tuple[str, ...]

    @property
    def scored(self) -> bool:
        """Whether its probability is the model's, not the prior."""
        return self.row.reason == Reason.OK

    @property
    def wrong(self) -> bool:
        """Whether its score lies on the other side of 0.5 than its label."""
        return self.label is not None and (self.row.probability > 0.5) != bool(self.label)

    @property
    def loss(self) -> float:
        """The log loss of this video; -1 without a label."""
        if self.label is None:
            return -1.0
        return log_loss(np.array([float(self.label)]), np.array([self.row.probability]))

    @property
    def shown(self) -> list[tuple[dict[str, Any], float]]:
        """The clips with pictures, each with the score that it would give by itself."""
        scores = {(clip.track, clip.start): score for clip, score in self.alone}
        return [(clip, scores[clip["track"], clip["start"]]) for clip in (self.sight or {}).get("clips", ())]

    @property
    def span(self) -> float:
        """Seconds that the time axis shows."""
        ends = [clip.end for clip in self.row.clips]
        return float(max([*ends, (self.sight or {}).get("duration", 0.0), 0.1]))

    @property
    def seen(self) -> float:
        """Seconds of the video that were looked at."""
        return math.fsum(end - start for start, end in {(clip.start, clip.end) for clip in self.row.clips})


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
    needed = [*paths.values(), settings.detector, *settings.models]
    check_output(out, PAGE, needed if labels is None else [*needed, labels])
    truth = read_labels(Path(labels)) if labels is not None else {}
    measures = score(predictions, truth) if labels is not None else None
    chosen = _chosen(predictions, paths, pictures)
    sights = _gathered(predictions, chosen, settings, limits or Limits(), workers, progress)
    why = dict.fromkeys(paths, f"only the {pictures} videos with the highest scores have pictures") | dict(absent or {})
    alone = _alone(settings)
    entries = [
        _entry(row, sights.get(name), why.get(name, ""), truth.get(name), alone)
        for row in predictions
        for name in [row.filename]
    ]
    entries.sort(key=lambda entry: (not entry.wrong, -entry.loss, not entry.scored, -entry.row.probability, entry.name))
    page = _page(entries, measures, settings, predictions, dict(facts or {}))
    with replacement(Path(out)) as file:
        file.write(page)


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


def base_rates(false_alarms: float, accuracy: float) -> list[dict[str, float]]:
    """Of EXAMPLE videos at each base rate: fakes, alarms (scores above 0.5) and the share of alarms that are right.

    accuracy: the mean of the share of fakes above 0.5 and that of real videos below it, both classes weighing the same.
    """
    hits = 2 * accuracy - (1 - false_alarms)
    rows = []
    for rate in BASE_RATES:
        fakes = EXAMPLE * rate
        true, false = fakes * hits, (EXAMPLE - fakes) * false_alarms
        rows.append({"rate": rate, "fakes": fakes, "true": true, "false": false, "right": true / (true + false)})
    return rows


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
    return facts if noted.get("journal") == VERSION else facts | {LEFT_OUT: "not noted in this journal, which is older"}


def _files(folder: Path | None, states: Mapping[str, tuple[int, int]]) -> tuple[dict[str, Path], dict[str, str]]:
    """The files that are still those that were scored, and for the others what is the matter."""
    if folder is None:
        return {}, dict.fromkeys(states, "no folder of videos was named (--videos)")
    if not folder.is_dir():
        raise MissingInputError(f"no folder at {folder}: name the one that was scored with --videos")
    paths: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for name, state in states.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            absent[name] = "the file is not in the folder any more"
        elif state_of(path) != state:
            absent[name] = "the file has another size or date than the one that was scored"
        else:
            paths[name] = path
    return paths, absent


def _chosen(predictions: Predictions, paths: Mapping[str, Path], pictures: int) -> dict[str, Path]:
    """The videos that get pictures: the highest scores first."""
    if pictures < 0:
        raise InputError(f"pictures is {pictures}; a whole number of at least 0 is needed")
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


def _alone(settings: Settings) -> Callable[[ClipScore], float]:
    """What a clip would score if it were the only one of its video."""
    calibration = Ensemble(settings.models).calibration
    return lambda clip: aggregate([clip], calibration, settings.clip_range, settings.prevalence)


def _entry(
    row: Prediction, sight: Sight | None, absent: str, label: int | None, alone: Callable[[ClipScore], float]
) -> Entry:
    scores = tuple((clip, alone(clip)) for clip in row.clips)
    why = "" if sight else absent or "there is no file"
    return Entry(printable(row.filename), row, sight, why, label, scores, doubts(row, sight, alone))


def _page(
    entries: Sequence[Entry],
    measures: Report | None,
    settings: Settings,
    rows: Predictions,
    facts: Mapping[str, str],
) -> str:
    """The HTML. Its security policy lets nothing load, and no script or style run but its own two."""
    style, script = ((TEMPLATES / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    shipped = list(map(fingerprint, settings.models)) == list(map(fingerprint, SHIPPED.models))
    scores = [entry.row.probability for entry in entries if entry.scored]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            entries=entries,
            measures=measures,
            truth=_truth(entries),
            settings=settings,
            facts={
                "Time in workers": f"{math.fsum(row.seconds for row in rows):.0f} s",
                LEFT_OUT: _left_out(rows),
                **facts,
            },
            verdicts={str(verdict): meaning for verdict, meaning in VERDICTS.items()},
            reasons=rows.reasons,
            meanings={str(reason): meaning for reason, meaning in MEANINGS.items()},
            chart=scores_chart(scores),
            scores=scores,
            base_rates=base_rates(FALSE_ALARMS, ACCURACY) if shipped else [],
            accuracy=ACCURACY,
            example=EXAMPLE,
            cards=_cards(settings),
            created=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
            version=version("dfx"),
            style=Markup(style),
            script=Markup(script),
            policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "base-uri 'none'; form-action 'none'",
        )
    )


def _left_out(rows: Predictions) -> str:
    counts = Counter(track.verdict for row in rows for track in row.dropped).most_common()
    return ", ".join(f"{verdict} {count}" for verdict, count in counts) or "none"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _truth(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """The curves and counts of the labelled videos; None where there are none."""
    known = [entry for entry in entries if entry.label is not None]
    if not known:
        return None
    y = np.array([float(entry.label or 0) for entry in known])
    p = np.array([entry.row.probability for entry in known])
    above = p > 0.5
    confusion = [[int((above[y == label] == side).sum()) for side in (True, False)] for label in (1, 0)]
    return {"roc": roc(y, p), "levels": reliability(y, p), "confusion": confusion}


def _cards(settings: Settings) -> list[tuple[str, Markup]]:
    """The shipped models' cards as HTML; for another model, what is known of it."""
    named = [("Classifier", path) for path in settings.models] + [("Face detector", settings.detector)]
    return [(title, _html(_card(path))) for title, path in named]


def _card(path: Path) -> str:
    for ours in (*SHIPPED.models, SHIPPED.detector):
        if fingerprint(path) == fingerprint(ours):
            return (MODELS / f"{ours.stem.upper()}_CARD.md").read_text(encoding="utf-8")
    return f"{path.name} is not the model that ships with dfx. dfx knows nothing of its training or its errors."


def _html(text: str) -> Markup:
    """Markdown as HTML, below the page's own headings, without links: they would lead nowhere."""
    markdown = MarkdownIt("js-default")  # escapes HTML
    for kind in ("link_open", "link_close"):
        markdown.add_render_rule(kind, lambda *_: "")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + 3)}"
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))
