"""Commands that score videos, and what is made of the scores: predict, report, score, demo."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import dfx
from dfx.cli.shared import DETECTOR, DEVICE, LANES, LINKS, MODEL, QUIET, WORKERS, limited, say, show_rows
from dfx.settings import Limits, Settings

if TYPE_CHECKING:
    from dfx.results import Predictions

TOLD = 5  # videos without a score that the summary names
SETTINGS = Settings()


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default="submission.csv", show_default=True, help="CSV to write."
)
@click.option("--sample-submission", type=click.Path(path_type=Path), help="CSV that fixes the rows and their order.")
@MODEL
@DETECTOR
@click.option(
    "--windows",
    default=SETTINGS.windows,
    show_default=True,
    help="Clips of frames looked at in a video, at most; up to eight where these show nobody.",
)
@click.option("--prior", default=SETTINGS.prior, show_default=True, help="Probability where a video cannot be scored.")
@click.option(
    "--prevalence", default=SETTINGS.prevalence, show_default=True, help="Share of fakes expected among the videos."
)
@click.option(
    "--clip-range",
    nargs=2,
    type=float,
    default=SETTINGS.clip_range,
    show_default=True,
    help="Bounds on every score; the prior stands as it is.",
)
@click.option("--budget", help="Time for the whole run, as 8h30m, 90m or seconds: it ends in time with a complete CSV.")
@limited()
@DEVICE
@click.option("--engines", type=click.Path(path_type=Path), help="Folder of TensorRT engines; a cache unless told.")
@LANES
@click.option("--fresh", is_flag=True, help="Forget the journal and start over.")
@LINKS
@QUIET
@click.option(
    "--report", type=click.Path(path_type=Path), help="Also write an HTML page of the evidence, after the budget."
)
def predict(
    source: tuple[str, ...],
    out: Path,
    sample_submission: Path | None,
    models: tuple[Path, ...],
    detector: Path,
    windows: int,
    prior: float,
    prevalence: float,
    clip_range: tuple[float, float],
    budget: str | None,
    device: str,
    engines: Path | None,
    limits: Limits,
    workers: int | None,
    fresh: bool,
    follow_symlinks: bool,
    quiet: bool,
    report: Path | None,
) -> None:
    """Score every video of SOURCE (a folder, a file, a glob, or several files).

    Exits with 1 where not one of them could be read.

    \b
    Example:
        dfx predict test_videos --out submission.csv
    """
    if report is not None:
        _check_page(report, out, *source, *models, detector, *([sample_submission] if sample_submission else []))
    started = time.monotonic()
    settings = Settings(
        detector=detector, models=models, windows=windows, prior=prior, prevalence=prevalence, clip_range=clip_range
    )
    result = dfx.predict_dir(
        source[0] if len(source) == 1 else list(source),
        out,
        sample_submission=sample_submission,
        settings=settings,
        limits=limits,
        budget=budget,
        device=device,
        engines=engines,
        workers=workers,
        fresh=fresh,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    if not quiet:
        _summarise(result, out)
    if report is not None:
        facts = {"Device": result.device, "Time": f"{time.monotonic() - started:.0f} s"}
        _report_run(result, report, facts, settings=settings, limits=limits, workers=workers, progress=not quiet)
    sys.exit(_failed(result))


def _check_page(page: Path, out: Path, *inputs: str | Path) -> None:
    """Refuses a report in the place of what it tells of, before any work; the run itself checks the CSV's place."""
    from dfx.journal import journal_of
    from dfx.outputs import PAGE, check_output

    check_output(page, PAGE, [out, journal_of(out), *inputs])


def _failed(result: Predictions) -> bool:
    """Whether something is wrong with every video; what had no face, or no time, was not at fault."""
    from dfx.values import Reason

    fine = {Reason.OK, Reason.NO_FACE, Reason.OUT_OF_BUDGET}
    return len(result) > 0 and all(row.reason not in fine for row in result)


def _summarise(result: Predictions, out: Path) -> None:
    from dfx.govern import JUDGED

    counts = ", ".join(f"{count} {reason}" for reason, count in result.reasons.items())
    failed = [row for row in result if row.detail and row.reason not in JUDGED]
    for row in failed[:TOLD]:
        name = "" if row.filename in row.detail else f"{row.filename!r}: "
        say(f"{row.reason}: {name}{' '.join(row.detail.split())}")
    if len(failed) > TOLD:
        say(f"and {len(failed) - TOLD} others; a report (--report) names all")
    say(f"{len(result)} videos{': ' * bool(counts)}{counts}. Scores are in {out}")


def _report_run(result: Predictions, page: Path, facts: dict[str, str], **asked: Any) -> None:
    """Writes the report of the run that `dfx predict` was just asked for."""
    from dfx.report import write

    write(result, page, paths=result.paths, facts=facts, **asked)
    if asked["progress"]:
        say(f"The report is in {page}")


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--videos", type=click.Path(path_type=Path), help="The folder that was scored; without it, no pictures.")
@click.option("--labels", type=click.Path(path_type=Path), help="metadata.json, or a CSV of filename,label.")
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="Page to write.")
@MODEL
@DETECTOR
@click.option("--pictures", default=400, show_default=True, help="Videos that get pictures, the highest scores first.")
@limited()
@WORKERS
@QUIET
def report(
    journal: Path,
    videos: Path | None,
    labels: Path | None,
    out: Path,
    models: tuple[Path, ...],
    detector: Path,
    pictures: int,
    limits: Limits,
    workers: int | None,
    quiet: bool,
) -> None:
    """Write the run of JOURNAL (<CSV>.journal, beside its CSV) as one HTML page with the evidence for each score.

    It needs the models that the run had.

    \b
    Example:
        dfx report submission.csv.journal --videos test_videos --out report.html
    """
    from dfx.report import from_journal

    from_journal(
        journal,
        out,
        videos=videos,
        labels=labels,
        detector=detector,
        models=models,
        limits=limits,
        workers=workers,
        pictures=pictures,
        progress=not quiet,
    )
    if not quiet:
        say(f"The report is in {out}")


@click.command()
@click.argument("submission", type=click.Path(path_type=Path))
@click.argument("labels", type=click.Path(path_type=Path))
def score(submission: Path, labels: Path) -> None:
    """Measure SUBMISSION (a CSV of filename,label) against LABELS (metadata.json, or a CSV of filename,label).

    \b
    Example:
        dfx score submission.csv train_sample_videos/metadata.json
    """
    click.echo(repr(dfx.score(submission, labels)))


@click.command()
def demo() -> None:
    """Score three short clips that ship with dfx."""
    from dfx.demo import TRUTH
    from dfx.demo import demo as run

    result = run()
    show_rows(
        ("clip", "what it is", "P(fake)", "reason", "faces"),
        [(row.filename, TRUTH[row.filename], f"{row.probability:.3f}", row.reason, row.faces) for row in result],
    )
