"""Recompresses labelled videos as a messenger would, and counts the verdicts that this turns round."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import av
import click
from rich.console import Console
from rich.table import Table

from dfx.cli.one_line import OneLine
from dfx.pipeline import Pipeline
from dfx.settings import Settings
from dfx.table import write_csv
from dfx.torch.clip_data import Labelled, read_labels
from dfx.values import Reason

CRF = 30
HEIGHT = 480  # pixels of the shorter side
SECONDS = 12.0  # of a video that are kept, at most: the challenge's clips have ten
VERDICT = 0.5


@dataclass(frozen=True, slots=True)
class Pair:
    """A video's probabilities before and after; None where no face was found, or the file could not be read."""

    filename: str
    fake: bool
    before: float | None
    after: float | None

    @property
    def compared(self) -> bool:
        """Whether both were scored."""
        return self.before is not None and self.after is not None

    @property
    def flipped(self) -> bool:
        """Whether the verdict is another one than it was, to the right or to the wrong side."""
        return self.compared and (self.before > VERDICT) != (self.after > VERDICT)  # type: ignore[operator]

    @property
    def spoilt(self) -> bool:
        """Whether a right verdict became a wrong one."""
        return self.flipped and (self.after > VERDICT) != self.fake  # type: ignore[operator]


@click.command(cls=OneLine)
@click.argument("videos", type=click.Path(path_type=Path, exists=True))
@click.option("--model", type=click.Path(path_type=Path, exists=True), default=Settings().models[0], help="Classifier.")
@click.option("--minutes", default=8.0, show_default=True, help="No further video is begun after so long.")
@click.option("--crf", default=CRF, show_default=True, help="x264's rate factor; more is coarser.")
@click.option("--height", default=HEIGHT, show_default=True, help="Pixels of the shorter side.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV of both scores of each video.")
def main(videos: Path, model: Path, minutes: float, crf: int, height: int, out: Path | None) -> None:
    """Score the videos of VIDEOS (a folder with labels.csv) as they are and recompressed, FAKE and REAL by turns.

    \b
    Example:
        python -m dfx.torch.recompress ../shared/data/videos --minutes 8
    """
    started, pairs = time.monotonic(), list[Pair]()
    pipeline, labelled = Pipeline(Settings(models=(model,))), by_turns(read_labels(videos))
    with tempfile.TemporaryDirectory() as folder:
        for video in labelled:
            if time.monotonic() - started > 60 * minutes:
                break
            pairs.append(compare(pipeline, videos / video.filename, video.fake, Path(folder), crf, height))
    if out:
        rows = ((pair.filename, "FAKE" if pair.fake else "REAL", pair.before, pair.after) for pair in pairs)
        write_csv(out, ("filename", "label", "before", "after"), rows)
    click.echo(f"{len(pairs)} of {len(labelled)} videos, recompressed at CRF {crf} and {height}p")
    Console(width=100).print(summary(pairs))


def by_turns(videos: Sequence[Labelled], seed: int = 0) -> list[Labelled]:
    """FAKE and REAL by turns, each in a random order, so that a run that is cut leaves a fair sample."""
    rng = random.Random(seed)
    sides = [[video for video in videos if video.fake == fake] for fake in (True, False)]
    shuffled = [rng.sample(side, len(side)) for side in sides]
    return [video for turn in zip_longest(*shuffled) for video in turn if video is not None]


def compare(pipeline: Pipeline, path: Path, fake: bool, folder: Path, crf: int = CRF, height: int = HEIGHT) -> Pair:
    """Scores a video as it is, and as it comes back from the encoder."""
    coded = folder / "coded.mp4"
    try:
        recompress(path, coded, crf, height)
    except (av.FFmpegError, ValueError) as error:
        click.echo(f"left out: {path.name}: {error}", err=True)
        return Pair(path.name, fake, None, None)
    return Pair(path.name, fake, _probability(pipeline, path), _probability(pipeline, coded))


def _probability(pipeline: Pipeline, path: Path) -> float | None:
    row = pipeline.predict(path)
    return row.probability if row.reason == Reason.OK else None


def recompress(source: Path, out: Path, crf: int = CRF, height: int = HEIGHT) -> None:
    """Writes a video again through x264 (`medium`, 4:2:0), its shorter side `height` pixels; smaller ones keep theirs.

    Raises:
        av.FFmpegError, ValueError: it cannot be decoded or encoded.
    """
    with av.open(str(source)) as old, av.open(str(out), "w") as new:
        stream = old.streams.video[0]
        across, down = scaled(stream.codec_context.width, stream.codec_context.height, height)
        coded = new.add_stream("libx264", rate=stream.average_rate or 30, options={"crf": str(crf)})
        coded.width, coded.height, coded.pix_fmt = across, down, "yuv420p"
        coded.codec_context.time_base = stream.time_base or Fraction(1, av.time_base)  # steps may be uneven
        for frame in old.decode(stream):
            if frame.time is not None and frame.time > SECONDS:
                break
            small = frame.reformat(across, down, "yuv420p", interpolation="BICUBIC")
            small.pict_type = 0  # the encoder chooses its own keyframes
            new.mux(coded.encode(small))
        new.mux(coded.encode(None))


def scaled(width: int, height: int, wanted: int) -> tuple[int, int]:
    """Width and height with a shorter side of `wanted` pixels or fewer, both even, as 4:2:0 needs them."""
    factor = min(1.0, wanted / min(width, height))
    return 2 * round(width * factor / 2), 2 * round(height * factor / 2)


def summary(pairs: Sequence[Pair]) -> Table:
    """A row for REAL and one for FAKE: how many were compared, how many verdicts turned, how many to the wrong side."""
    table = Table("label", "compared", "right before", "right after", "flipped", "right to wrong", "mean change")
    for fake in (False, True):
        ours = [pair for pair in pairs if pair.fake == fake and pair.compared]
        right = [sum((p > VERDICT) == fake for p in side) for side in _sides(ours)]
        change = sum(after - before for before, after in zip(*_sides(ours), strict=True)) / max(1, len(ours))
        turned = (sum(pair.flipped for pair in ours), sum(pair.spoilt for pair in ours))
        table.add_row("FAKE" if fake else "REAL", *map(str, (len(ours), *right, *turned)), f"{change:+.3f}")
    return table


def _sides(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    return [pair.before or 0.0 for pair in pairs], [pair.after or 0.0 for pair in pairs]


if __name__ == "__main__":
    main()
