"""Commands that score videos, and what is made of the scores: predict, report, score, demo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

import dfx
from dfx.arguments import finite
from dfx.cli.shared import DETECTOR, DEVICE, LANES, LINKS, MODEL, QUIET, say, show_rows
from dfx.settings import LARGEST_MEMORY, SMALLEST_MEMORY, Limits, Settings

if TYPE_CHECKING:
    from dfx.results import Predictions

TOLD = 5  # videos without a score that the summary names
SETTINGS = Settings()
LIMITS = Limits()
GIB = 2**30


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default="submission.csv", show_default=True, help="CSV to write."
)
@click.option("--sample-submission", type=click.Path(path_type=Path), help="CSV that fixes the rows and their order.")
@MODEL
@DETECTOR
@click.option(
    "--windows", default=SETTINGS.windows, show_default=True, help="Clips of frames looked at in a video, at most."
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
@click.option("--timeout", default=LIMITS.seconds, show_default=True, help="Seconds that one video may take.")
@click.option("--memory", default=LIMITS.memory / GIB, show_default=True, help="GiB of memory that a worker may take.")
@click.option("--max-pixels", default=LIMITS.pixels, show_default=True, help="Pixels of one picture.")
@click.option("--max-duration", default=LIMITS.duration, show_default=True, help="Seconds that a video may last.")
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
    timeout: float,
    memory: float,
    max_pixels: int,
    max_duration: float,
    workers: int | None,
    fresh: bool,
    follow_symlinks: bool,
    quiet: bool,
    report: Path | None,
) -> None:
    """Score every video of SOURCE (a folder, a file, a glob, or several files).

    \b
    Example:
        dfx predict test_videos --out submission.csv
    """
    if report is not None:
        _check_page(report, out, *source, *models, detector, *([sample_submission] if sample_submission else []))
    started = time.monotonic()
    settings = Settings(detector, models, windows, prior, prevalence, clip_range)
    limits = Limits(seconds=timeout, memory=_bytes(memory), pixels=max_pixels, duration=max_duration)
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
        _report_run(result, report, settings, limits, time.monotonic() - started)


def _bytes(memory: float) -> int:
    """The memory limit, of which the option has GiB."""
    least, most = SMALLEST_MEMORY / GIB, LARGEST_MEMORY / GIB
    needed = f"a number of GiB from {least:g} to {most:g}"
    return int(finite("--memory", memory, needed, lambda gib: least <= gib <= most) * GIB)


def _check_page(page: Path, out: Path, *inputs: str | Path) -> None:
    """Refuses a report in the place of what it tells of, before any work; the run itself checks the CSV's place."""
    from dfx.journal import journal_of
    from dfx.outputs import PAGE, check_output

    check_output(page, PAGE, [out, journal_of(out), *inputs])


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


def _report_run(result: Predictions, page: Path, settings: Settings, limits: Limits, seconds: float) -> None:
    """Writes the report of the run that `dfx predict` was just asked for, and that took so many seconds."""
    from dfx import report

    asked = click.get_current_context().params
    report.write(
        result,
        page,
        paths=result.paths,
        settings=settings,
        facts={"Device": result.device, "Time": f"{seconds:.0f} s"},
        limits=limits,
        workers=asked["workers"],
        progress=not asked["quiet"],
    )
    say(f"The report is in {page}")


@click.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--videos", type=click.Path(path_type=Path), help="The folder that was scored; without it, no pictures.")
@click.option("--labels", type=click.Path(path_type=Path), help="metadata.json, or a CSV of filename,label.")
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="Page to write.")
@MODEL
@DETECTOR
@click.option("--pictures", default=400, show_default=True, help="Videos that get pictures, the highest scores first.")
@click.option("--workers", type=int, help="Processes that decode, one a core unless told.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def report(
    journal: Path,
    videos: Path | None,
    labels: Path | None,
    out: Path,
    models: tuple[Path, ...],
    detector: Path,
    pictures: int,
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
        workers=workers,
        pictures=pictures,
        progress=not quiet,
    )
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
