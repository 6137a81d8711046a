"""Page: the HTML of a report, from what is known of each video: templates and scripts of dfx alone, no network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup

from dfx.charts import reliability, roc, scores_chart
from dfx.draw import TEMPLATES, environment
from dfx.evidence import Sight
from dfx.infer.session import fingerprint
from dfx.results import Predictions
from dfx.score import Report, log_loss
from dfx.settings import FURTHER, MODELS, Settings
from dfx.values import ClipScore, Prediction, Reason, Verdict

SHIPPED = Settings()
FALSE_ALARMS, HITS = 0.08, 0.45  # of the shipped classifier, at 0.5: CLASSIFIER_CARD.md; a test compares them
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
        """Seconds of the video that were scored."""
        return math.fsum(end - start for start, end in {(clip.start, clip.end) for clip in self.row.clips})


def page(
    entries: Sequence[Entry],
    measures: Report | None,
    settings: Settings,
    rows: Predictions,
    facts: Mapping[str, str],
) -> str:
    """The HTML, entries in their order. Its security policy lets nothing load, and no script or style but its own two.

    measures: of the labelled ones, None without labels; facts: more for the summary, by name.
    """
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
            further=FURTHER,
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
            base_rates=base_rates(FALSE_ALARMS, HITS) if shipped else [],
            false_alarms=FALSE_ALARMS,
            hits=HITS,
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


def base_rates(false_alarms: float, hits: float) -> list[dict[str, float]]:
    """Of EXAMPLE videos at each base rate: fakes, alarms (scores above 0.5) and the share of alarms that are right.

    false_alarms, hits: the shares of real videos and of fakes that score above 0.5.
    """
    rows = []
    for rate in BASE_RATES:
        fakes = EXAMPLE * rate
        true, false = fakes * hits, (EXAMPLE - fakes) * false_alarms
        rows.append({"rate": rate, "fakes": fakes, "true": true, "false": false, "right": true / (true + false)})
    return rows


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
