"""The command `dfx`: each command mirrors a function of the library."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import dfx
from dfx.errors import DependencyError, DfxError
from dfx.extract import Extracted
from dfx.results import Predictions
from dfx.settings import Limits, Settings
from dfx.table import Tabular, text_of

SETTINGS = Settings()
LIMITS = Limits()
DEVICES = "auto, cpu, cuda (all GPUs), cuda:N (one), tensorrt or tensorrt:N."


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
@click.option("--device", default="auto", show_default=True, help=DEVICES)
@click.option("--engines", type=click.Path(path_type=Path), help="Folder of TensorRT engines; a cache unless told.")
@click.option("--workers", type=int, help="Processes, one a core unless told; videos in hand at a time on a GPU.")
@click.option("--fresh", is_flag=True, help="Forget the journal and start over.")
@click.option("--follow-symlinks", is_flag=True, help="Also follow links that lead out of the folder.")
@click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Also write an HTML page of the evidence, after the budget."
)
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
    started = time.monotonic()
    settings = Settings(detector, model, windows, prior, prevalence, clip_range)
    limits = Limits(seconds=timeout, memory=int(memory * 2**30), pixels=max_pixels, duration=max_duration)
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
@click.option("--device", default="auto", show_default=True, help=DEVICES)
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


def _report_run(result: Predictions, page: Path, settings: Settings, limits: Limits, seconds: float) -> None:
    """Writes the report of the run that `dfx predict` was just asked for, and that took so many seconds."""
    from dfx import report
    from dfx.device import choose
    from dfx.find import find

    asked = click.get_current_context().params
    source = asked["source"][0] if len(asked["source"]) == 1 else list(asked["source"])
    found = find(source, follow_symlinks=asked["follow_symlinks"], sample_submission=asked["sample_submission"])
    report.write(
        result,
        page,
        paths={item.filename: item.path for item in found if item.path is not None},
        settings=settings,
        facts={"Device": choose(asked["device"]).why, "Time": f"{seconds:.0f} s"},
        limits=limits,
        workers=asked["workers"],
        progress=not asked["quiet"],
    )
    click.echo(f"The report is in {page}", err=True)


@main.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--videos", type=click.Path(path_type=Path), help="The folder that was scored; without it, no pictures.")
@click.option("--labels", type=click.Path(path_type=Path), help="metadata.json, or a CSV of filename,label.")
@click.option("--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="Page to write.")
@click.option("--model", type=click.Path(path_type=Path), default=SETTINGS.model, help="The run's classifier.")
@click.option("--detector", type=click.Path(path_type=Path), default=SETTINGS.detector, help="The run's face detector.")
@click.option("--pictures", default=400, show_default=True, help="Videos that get pictures, the highest scores first.")
@click.option("--workers", type=int, help="Processes that decode, one a core unless told.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def report(
    journal: Path,
    videos: Path | None,
    labels: Path | None,
    out: Path,
    model: Path,
    detector: Path,
    pictures: int,
    workers: int | None,
    quiet: bool,
) -> None:
    """Write the run of JOURNAL (<CSV>.journal, beside its CSV) as one HTML page with the evidence for each score.

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
        model=model,
        workers=workers,
        pictures=pictures,
        progress=not quiet,
    )
    click.echo(f"The report is in {out}", err=True)


ROWS = 40  # of a table in the terminal
WORKERS = click.option("--workers", type=int, help="Processes, one a core unless told.")
LINKS = click.option("--follow-symlinks", is_flag=True, help="Also follow links that lead out of the folder.")
QUIET = click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Write files anew that are there already.")
FOLDER = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")


@main.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Table to write: .csv, .parquet or .json.")
@click.option("--metadata", type=click.Path(path_type=Path), help="Labels; else metadata.json beside the videos.")
@click.option("--hash/--no-hash", "digest", default=True, show_default=True, help="SHA-256, which finds duplicates.")
@WORKERS
@LINKS
@QUIET
def inspect(
    source: tuple[str, ...],
    out: Path | None,
    metadata: Path | None,
    digest: bool,
    workers: int | None,
    follow_symlinks: bool,
    quiet: bool,
) -> None:
    """Say what there is in SOURCE (a folder, a file, a glob, or several files), without decoding a picture.

    Codecs, sizes, rates, durations, sound, and what is odd; with labels, what they name and what is missing.

    \b
    Examples:
        dfx inspect train_sample_videos
        dfx inspect videos --metadata labels.csv --out table.parquet
    """
    from dfx.inspect import check_out

    if out is not None:
        check_out(out)
    result = dfx.inspect(
        list(source),
        metadata=metadata,
        digest=digest,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    if out is not None:
        result.save(out)
    if not quiet:
        _show(result.summary)
        _show(result.problems)
        _say(f"The table of all {len(result)} videos is in {out}" if out else "--out table.csv writes all of it")


@main.command()
@click.argument("video", nargs=-1, required=True)
@FOLDER
@click.option("--count", type=int, help="So many pictures, spread over the video; 10 where nothing else is chosen.")
@click.option("--every", type=float, help="Seconds from one picture to the next.")
@click.option("--time", "times", type=float, multiple=True, help="Seconds from the start; may be given many times.")
@click.option("--plan", is_flag=True, help="The pictures that a prediction looks at.")
@click.option("--faces", is_flag=True, help="Cut out the faces, to the bit as the classifier is given them.")
@click.option("--format", "kind", type=click.Choice(["png", "jpg"]), default="png", show_default=True)
@OVERWRITE
@WORKERS
@LINKS
@QUIET
def frames(
    video: tuple[str, ...],
    out: Path,
    count: int | None,
    every: float | None,
    times: tuple[float, ...],
    plan: bool,
    faces: bool,
    kind: str,
    overwrite: bool,
    workers: int | None,
    follow_symlinks: bool,
    quiet: bool,
) -> None:
    """Write pictures of each VIDEO (a file, a folder or a glob), whole or the faces in them.

    They are named <video>_f<frame>_<seconds>s.png, faces with _p<person> behind it; files that are there are kept.

    \b
    Examples:
        dfx frames clip.mp4 --out pictures --every 1
        dfx frames videos --out faces --plan --faces
    """
    result = dfx.frames(
        list(video),
        out,
        count=count,
        every=every,
        times=times or None,
        plan=plan,
        faces=faces,
        kind=kind,
        overwrite=overwrite,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    _account(result, "pictures", out, quiet)


@main.command()
@click.argument("video", nargs=-1, required=True)
@FOLDER
@click.option("--wav", is_flag=True, help="Decode to 16-bit PCM; otherwise the stream is copied as it is.")
@OVERWRITE
@WORKERS
@LINKS
@QUIET
def audio(
    video: tuple[str, ...],
    out: Path,
    wav: bool,
    overwrite: bool,
    workers: int | None,
    follow_symlinks: bool,
    quiet: bool,
) -> None:
    """Write the sound of each VIDEO (a file, a folder or a glob): AAC as .m4a, others with the ending that fits.

    \b
    Examples:
        dfx audio clip.mp4 --out sound
        dfx audio videos --out sound --wav
    """
    result = dfx.audio(
        list(video),
        out,
        wav=wav,
        overwrite=overwrite,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    _account(result, "sound files", out, quiet)


def _account(result: Extracted, what: str, out: Path, quiet: bool) -> None:
    """Says what came of it. Exits with 1 where a video could not be served, the others having been."""
    if not quiet:
        kept = f"; {result.kept} were there and were kept (--overwrite)" if result.kept else ""
        _say(f"{result.written} {what} of {len(result.items)} videos written to {out}{kept}")
        for note, videos in Counter(item.note for item in result.items if item.note and not item.failed).items():
            _say(f"{videos} {'video' if videos == 1 else 'videos'}: {note}")
    for item in result.failed:
        _say(f"{item.filename}: {item.note}")
    sys.exit(bool(result.failed))


def _show(table: Tabular) -> None:
    """Prints the first rows of a table; what comes from files is text, whatever markup it holds."""
    rows = list(table.rows())
    shown = Table(*table.columns(), box=box.ASCII2)
    for row in rows[:ROWS]:
        shown.add_row(*(Text(text_of(cell)) for cell in row))
    if rows:
        Console().print(shown)
    if len(rows) > ROWS:
        click.echo(f"... {len(rows) - ROWS} more")


def _say(words: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text_of(words)))


@main.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--detectors",
    default="retinaface",
    show_default=True,
    help="With commas: retinaface, haar, mtcnn, blazeface, hog, yunet=FILE.onnx, yolo=FILE.onnx.",
)
@click.option("--frames", "pictures", default=4, show_default=True, help="Pictures of each video, spread evenly.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write: a row a box.")
@click.option("--sheet", type=click.Path(path_type=Path), help="PNG to write: pictures that the detectors differ on.")
@WORKERS
@LINKS
@QUIET
def faces(
    source: tuple[str, ...],
    detectors: str,
    pictures: int,
    out: Path | None,
    sheet: Path | None,
    workers: int | None,
    follow_symlinks: bool,
    quiet: bool,
) -> None:
    """Run face detectors side by side on the same pictures of SOURCE (a folder, a file, a glob, or several files).

    What each finds, how large the faces are, how long it takes, where two of them differ, and what votes would drop.

    \b
    Examples:
        dfx faces videos --detectors retinaface,haar
        dfx faces videos --detectors retinaface,haar,yunet=yunet.onnx --sheet sheet.png --out boxes.csv
    """
    from dfx.faces import check_out, check_sheet

    if out is not None:
        check_out(out)
    if sheet is not None:
        check_sheet(sheet)
    result = dfx.faces(
        list(source),
        detectors.split(","),
        pictures=pictures,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    if out is not None:
        result.to_csv(out)
    if sheet is not None:
        result.sheet(sheet)
    if not quiet:
        for table in (result.overview, result.sizes, result.pairs, result.votes):
            _show(table)
    for item in result.failed:
        _say(f"{item.filename}: {item.problem}")
    sys.exit(bool(result.failed))


@main.command()
@click.argument("folder", nargs=-1, required=True, type=click.Path(path_type=Path))
@FOLDER
@click.option("--labels", type=click.Path(path_type=Path), help="CSV of filename,label[,original][,group][,split].")
@click.option(
    "--start",
    default="shipped",
    show_default=True,
    help="Weights to begin with: shipped, nothing, a .onnx of dfx, a classifier.pt or a backbone.pt.",
)
@click.option(
    "--design", type=click.Choice(["lite0", "lite1"]), default="lite0", show_default=True, help="From nothing: depth."
)
@click.option("--epochs", default=20, show_default=True, help="Passes over the training videos, at most.")
@click.option("--minutes", default=140.0, show_default=True, help="Minutes of training, over all runs.")
@click.option("--patience", default=5, show_default=True, help="Epochs without a better validation log loss.")
@click.option("--batch", default=16, show_default=True, help="Clips a step.")
@click.option("--windows", default=2, show_default=True, help="Clips of frames cut from a video, at most.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N: what trains.")
@click.option("--loaders", default=0, show_default=True, help="Processes that read clips; a GPU wants a few.")
@WORKERS
def train(folder: tuple[Path, ...], out: Path, labels: Path | None, start: str, **given: Any) -> None:
    """Train a classifier on the videos of each FOLDER, which `dfx predict --model OUT/model.onnx` then takes.

    Labels are the challenge's metadata.json beside the videos, or one CSV. The same command goes on where it stopped.

    \b
    Examples:
        dfx train dfdc_train_part_0 dfdc_train_part_1 --out run
        dfx train videos --labels videos/labels.csv --out run --epochs 5
    """
    try:
        from dfx.torch.train import Options
        from dfx.torch.train import train as run
    except ImportError as error:
        raise DependencyError(f"training needs more than prediction ({error}): pip install 'dfx[train]'") from error

    begun = {"shipped": SETTINGS.model, "nothing": None}.get(start, Path(start))
    run(folder, labels, out, Options(start=begun, **given))


@main.command()
@click.option("--for", "target", required=True, help="kaggle-cpu, kaggle-t4 or kaggle-p100.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write, empty or new.")
@click.option("--wheel", type=click.Path(path_type=Path), help="dfx's own wheel; else it is built from the checkout.")
@click.option("--engines", type=click.Path(path_type=Path), help="Folder of engines to carry along.")
@click.option("--python", default="3.12", show_default=True, help="Version of Python on the machine it is for.")
@QUIET
def bundle(target: str, out: Path, wheel: Path | None, engines: Path | None, python: str, quiet: bool) -> None:
    """Put together what a machine without internet needs: wheels, models, licences and a notebook.

    Sizes are asked of the index first: more than 1 GB, Kaggle's limit, is refused before any download.

    \b
    Example:
        dfx bundle --for kaggle-cpu --out kaggle-cpu
    """
    from dfx.bundle import bundle as put_together

    result = put_together(target, out, wheel=wheel, engines=engines, python=python)
    if not quiet:
        _show(result)
        _say(f"{result.size / 1e6:.1f} MB in {result.folder}: upload it as a data set, and run its notebook.ipynb")
