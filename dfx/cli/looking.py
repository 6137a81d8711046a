"""Commands that look at videos without scoring them: probe, inspect, frames, audio, faces."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

import dfx
from dfx.cli.one_line import Refused
from dfx.cli.shared import FOLDER, LINKS, MAX_DURATION, MAX_PIXELS, OVERWRITE, QUIET, WORKERS, limited, say, show
from dfx.errors import DfxError
from dfx.settings import COMPARING, EXTRACTING, Limits

if TYPE_CHECKING:
    from dfx.extract import Extracted


@click.command()
@click.argument("video", nargs=-1, required=True, type=click.Path(path_type=Path))
@MAX_PIXELS
@MAX_DURATION
def probe(video: tuple[Path, ...], max_pixels: int, max_duration: float) -> None:
    """Show what the container of each VIDEO says, without decoding a picture.

    \b
    Example:
        dfx probe clip.mp4
    """
    limits = Limits(pixels=max_pixels, duration=max_duration)
    told = [_told_of(path, limits) for path in video]
    if not all(told):
        sys.exit(Refused.exit_code)


def _told_of(path: Path, limits: Limits) -> bool:
    """Shows one; else says why not, and that the others still count."""
    try:
        click.echo(repr(dfx.probe(path, limits=limits)))
    except DfxError as error:
        Refused.because(error).show()
        return False
    return True


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Table to write: .csv, .parquet or .json.")
@click.option("--metadata", type=click.Path(path_type=Path), help="Labels; else metadata.json beside the videos.")
@click.option("--hash/--no-hash", "digest", default=True, show_default=True, help="SHA-256, which finds duplicates.")
@limited()
@WORKERS
@LINKS
@QUIET
def inspect(
    source: tuple[str, ...],
    out: Path | None,
    metadata: Path | None,
    digest: bool,
    limits: Limits,
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
        check_out(out, [*source, metadata] if metadata is not None else source)
    result = dfx.inspect(
        list(source),
        metadata=metadata,
        digest=digest,
        limits=limits,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    if out is not None:
        result.save(out)
    if not quiet:
        show(result.summary)
        show(result.problems)
        say(f"The table of all {len(result)} videos is in {out}" if out else "--out table.csv writes all of it")


@click.command()
@click.argument("video", nargs=-1, required=True)
@FOLDER
@click.option("--count", type=int, help="So many pictures, spread over the video; 10 where nothing else is chosen.")
@click.option("--every", type=float, help="Seconds from one picture to the next.")
@click.option("--time", "times", type=float, multiple=True, help="Seconds from the start; may be given many times.")
@click.option("--plan", is_flag=True, help="The pictures that a prediction looks at first.")
@click.option("--faces", is_flag=True, help="Cut out the faces, to the bit as the classifier is given them.")
@click.option("--format", "kind", type=click.Choice(["png", "jpg"]), default="png", show_default=True)
@OVERWRITE
@limited(EXTRACTING)
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
    limits: Limits,
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
        limits=limits,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    _account(result, "picture", out, quiet)


@click.command()
@click.argument("video", nargs=-1, required=True)
@FOLDER
@click.option("--wav", is_flag=True, help="Decode to 16-bit PCM; otherwise the stream is copied as it is.")
@OVERWRITE
@limited(EXTRACTING)
@WORKERS
@LINKS
@QUIET
def audio(
    video: tuple[str, ...],
    out: Path,
    wav: bool,
    overwrite: bool,
    limits: Limits,
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
        limits=limits,
        workers=workers,
        follow_symlinks=follow_symlinks,
        progress=not quiet,
    )
    _account(result, "sound file", out, quiet)


def _account(result: Extracted, what: str, out: Path, quiet: bool) -> None:
    """Says what came of it. Exits with 1 where a video could not be served, the others having been."""
    if not quiet:
        kept = f"; {result.kept} were there and were kept (--overwrite)" if result.kept else ""
        say(
            f"{result.written} {what}{'s' * (result.written != 1)} of {len(result.items)} videos written to {out}{kept}"
        )
        for note, videos in Counter(item.note for item in result.items if item.note and not item.failed).items():
            say(f"{videos} {'video' if videos == 1 else 'videos'}: {note}")
    for item in result.failed:
        say(f"{item.filename}: {item.note}")
    sys.exit(bool(result.failed))


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option(
    "--detectors",
    default="retinaface",
    show_default=True,
    help="With commas: retinaface, haar, mtcnn, blazeface, hog, yunet=FILE.onnx, yolo=FILE.onnx.",
)
@click.option(
    "--frames", "pictures", type=int, help="Pictures of each video, spread evenly; else those a prediction looks at."
)
@click.option("--out", type=click.Path(path_type=Path), help="CSV to write: a row a box.")
@click.option("--sheet", type=click.Path(path_type=Path), help="PNG to write: pictures that the detectors differ on.")
@limited(COMPARING)
@WORKERS
@LINKS
@QUIET
def faces(
    source: tuple[str, ...],
    detectors: str,
    pictures: int | None,
    out: Path | None,
    sheet: Path | None,
    limits: Limits,
    workers: int | None,
    follow_symlinks: bool,
    quiet: bool,
) -> None:
    """Run face detectors side by side on the same pictures of SOURCE (a folder, a file, a glob, or several files).

    The pictures are those in which a prediction looks for faces, or --frames spread over each video. What each finds,
    how large the faces are, how long it takes, where two of them differ, and what votes would drop.

    \b
    Examples:
        dfx faces videos --detectors retinaface,haar
        dfx faces videos --detectors retinaface,haar,yunet=yunet.onnx --sheet sheet.png --out boxes.csv
    """
    from dfx.faces import check_out, check_sheet

    if out is not None:
        check_out(out, source)
    if sheet is not None:
        check_sheet(sheet, source)
    result = dfx.faces(
        list(source),
        detectors,
        pictures=pictures,
        limits=limits,
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
            show(table)
    for item in result.failed:
        say(f"{item.filename}: {item.problem}")
    sys.exit(bool(result.failed))
