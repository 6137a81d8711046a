"""The command `dfx`: each command mirrors a function of the library."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import dfx
from dfx.errors import DfxError
from dfx.results import Predictions
from dfx.settings import Limits, Settings

SETTINGS = Settings()
LIMITS = Limits()


class OneLineErrors(click.Group):
    """Turns dfx's own errors into one line and exit status 2, and an interruption into a word on how to go on."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DfxError as error:
            raise click.ClickException(" ".join(str(error).split())) from error
        except KeyboardInterrupt:
            click.echo("\ninterrupted; run the same command again to go on", err=True)
            sys.exit(130)


click.ClickException.exit_code = 2


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(dfx.__version__, prog_name="dfx")
def main() -> None:
    """Screen videos for deepfakes, fast.

    A score is a hint for a person who looks, never proof: see 'What the scores can and cannot do' in the README.
    """
    signal.signal(signal.SIGTERM, _interrupt)


@main.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default="submission.csv", show_default=True, help="CSV to write."
)
@click.option("--sample-submission", type=click.Path(path_type=Path), help="CSV that fixes the rows and their order.")
@click.option("--model", type=click.Path(path_type=Path), default=SETTINGS.model, help="Classifier, an ONNX file.")
@click.option(
    "--detector", type=click.Path(path_type=Path), default=SETTINGS.detector, help="Face detector, an ONNX file."
)
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
    help="Bounds on every probability.",
)
@click.option("--budget", help="Time for the whole run, as 8h30m, 90m or seconds: it ends in time with a complete CSV.")
@click.option("--timeout", default=LIMITS.seconds, show_default=True, help="Seconds that one video may take.")
@click.option(
    "--memory", default=LIMITS.memory / 2**30, show_default=True, help="GiB of memory that a worker may take."
)
@click.option("--max-pixels", default=LIMITS.pixels, show_default=True, help="Pixels of one picture.")
@click.option("--max-duration", default=LIMITS.duration, show_default=True, help="Seconds that a video may last.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda (all GPUs) or cuda:N (one).")
@click.option("--workers", type=int, help="Processes, one a core unless told; videos in hand at a time on a GPU.")
@click.option("--fresh", is_flag=True, help="Forget the journal and start over.")
@click.option("--follow-symlinks", is_flag=True, help="Also follow links that lead out of the folder.")
@click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
def predict(
    source: tuple[str, ...],
    out: Path,
    sample_submission: Path | None,
    model: Path,
    detector: Path,
    windows: int,
    prior: float,
    prevalence: float,
    clip_range: tuple[float, float],
    budget: str | None,
    device: str,
    timeout: float,
    memory: float,
    max_pixels: int,
    max_duration: float,
    workers: int | None,
    fresh: bool,
    follow_symlinks: bool,
    quiet: bool,
) -> None:
    """Score every video of SOURCE (a folder, a file, a glob, or several files).

    \b
    Example:
        dfx predict test_videos --out submission.csv
    """
    result = dfx.predict_dir(
        source[0] if len(source) == 1 else list(source),
        out,
        sample_submission=sample_submission,
        settings=Settings(detector, model, windows, prior, prevalence, clip_range),
        limits=Limits(seconds=timeout, memory=int(memory * 2**30), pixels=max_pixels, duration=max_duration),
        budget=budget,
        device=device,
        workers=workers,
        fresh=fresh,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    if not quiet:
        _summarise(result, out)


@main.command()
def demo() -> None:
    """Score three short clips that ship with dfx."""
    from dfx.demo import TRUTH
    from dfx.demo import demo as run

    result = run()
    table = Table("clip", "what it is", "P(fake)", "reason", "faces", box=box.ASCII2)
    for row in result:
        table.add_row(row.filename, TRUTH[row.filename], f"{row.probability:.3f}", row.reason, str(row.faces))
    Console().print(table)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for a script.")
def doctor(as_json: bool) -> None:
    """Say what this machine can do, and what stands in the way. Exits with 1 where nothing can serve."""
    from dfx.doctor import examine

    health = examine()
    if as_json:
        click.echo(json.dumps(health.to_json(), indent=2))
    else:
        table = Table(*health.columns(), box=box.ASCII2)
        for row in health.rows():
            table.add_row(*map(Text, row))
        Console().print(table)
        click.echo(f"can serve: {', '.join(health.serves) or 'nothing'}")
    sys.exit(not health.serves)


@main.command()
@click.argument("submission", type=click.Path(path_type=Path))
@click.argument("labels", type=click.Path(path_type=Path))
def score(submission: Path, labels: Path) -> None:
    """Measure SUBMISSION (a CSV of filename,label) against LABELS (metadata.json, or a CSV of filename,label).

    \b
    Example:
        dfx score submission.csv train_sample_videos/metadata.json
    """
    click.echo(repr(dfx.score(submission, labels)))


@main.command()
@click.argument("video", nargs=-1, required=True, type=click.Path(path_type=Path))
def probe(video: tuple[Path, ...]) -> None:
    """Show what the container of each VIDEO says, without decoding a picture."""
    for path in video:
        click.echo(repr(dfx.probe(path)))


@main.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--videos", default=4000, show_default=True, help="Videos of the whole set.")
@click.option("--budget", default="9h", show_default=True, help="Time for the whole set, as 8h30m, 90m or seconds.")
@click.option("--windows", default=SETTINGS.windows, show_default=True, help="Clips of frames looked at in a video.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda (all GPUs) or cuda:N (one).")
@click.option("--workers", type=int, help="Processes, one a core unless told; videos in hand at a time on a GPU.")
@click.option(
    "--for", "card", help="Project to a machine with a p100, t4, l4, a100 or h100; nothing is measured there."
)
@click.option("--sample", default=40, show_default=True, help="Videos that are run on, at most.")
@click.option("--quiet", is_flag=True, help="The verdict alone.")
def rehearse(
    folder: Path | None,
    videos: int,
    budget: str,
    windows: int,
    device: str,
    workers: int | None,
    card: str | None,
    sample: int,
    quiet: bool,
) -> None:
    """Run on a sample, and say whether the whole set fits the budget. Exits with 1 where it does not.

    The sample is drawn from FOLDER; without one, clips in the challenge's manner are made once and kept.

    \b
    Example:
        dfx rehearse --videos 4000 --budget 9h
    """
    found = dfx.rehearse(
        folder,
        videos=videos,
        budget=budget,
        settings=Settings(windows=windows),
        device=device,
        workers=workers,
        card=card,
        sample=sample,
        progress=not quiet,
    )
    if not quiet:
        table = Table(*found.columns(), box=box.ASCII2)
        for row in found.rows():
            table.add_row(*map(Text, map(str, row)))
        Console().print(table)
    click.echo(found.verdict)
    sys.exit(not found.fits)


def _summarise(result: Predictions, out: Path) -> None:
    counts = ", ".join(f"{count} {reason}" for reason, count in result.reasons.items())
    noted = Text(f"{len(result)} videos: {counts}. Scores are in {out}")
    Console(stderr=True, highlight=False, soft_wrap=True).print(noted)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
