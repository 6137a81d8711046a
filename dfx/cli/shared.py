"""What the commands share: options, and how tables and words are printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from dfx.arguments import finite
from dfx.settings import LARGEST_MEMORY, LIMITS, SMALLEST_MEMORY, Limits, Settings
from dfx.table import Row, Tabular, text_of

ROWS = 40  # of a table in the terminal
MODEL = click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    multiple=True,
    default=Settings().models,
    help="Classifier, an ONNX file; given several times, their calibrated logits are averaged.",
)
DETECTOR = click.option(
    "--detector", type=click.Path(path_type=Path), default=Settings().detector, help="Face detector, an ONNX file."
)
WORKERS = click.option("--workers", type=int, help="Processes, one a core unless told.")
LANES = click.option(
    "--workers", type=int, help="Processes, one a core unless told; videos in hand at a time on a GPU."
)
DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda (all GPUs), cuda:N (one), tensorrt or tensorrt:N.",
)
LINKS = click.option("--follow-symlinks", is_flag=True, help="Also follow links that lead out of the folder.")
QUIET = click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Write files anew that are there already.")
FOLDER = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")


MAX_PIXELS = click.option("--max-pixels", default=LIMITS.pixels, show_default=True, help="Pixels of one picture.")
MAX_DURATION = click.option(
    "--max-duration", default=LIMITS.duration, show_default=True, help="Seconds that a video may last."
)
GIB = 2**30


def limited(usual: Limits = LIMITS) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options for what one video may cost, which a command has as its argument `limits`. usual: where none is given."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--timeout", default=usual.seconds, show_default=True, help="Seconds that one video may take.")
        @click.option("--memory", default=usual.memory / GIB, show_default=True, help="GiB that a process may take.")
        @MAX_PIXELS
        @MAX_DURATION
        @wraps(command)
        def wrapped(timeout: float, memory: float, max_pixels: int, max_duration: float, **given: Any) -> None:
            command(limits=Limits(timeout, _bytes(memory), max_pixels, max_duration), **given)

        return wrapped

    return decorated


def _bytes(memory: float) -> int:
    """The memory limit, of which the option has GiB."""
    least, most = SMALLEST_MEMORY / GIB, LARGEST_MEMORY / GIB
    needed = f"a number of GiB from {least:g} to {most:g}"
    return int(finite("--memory", memory, needed, lambda gib: least <= gib <= most) * GIB)


def show(table: Tabular) -> None:
    """Prints the first rows of a table."""
    show_rows(table.columns(), table.rows())


def show_rows(columns: Iterable[str], rows: Iterable[Row]) -> None:
    """Prints the first rows; what comes from files is text, whatever markup it holds."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    cells = [[Text(_printed(cell)) for cell in row] for row in rows]
    table = Table(*(Column(name, overflow="fold") for name in columns), box=box.ASCII2)
    for row in cells[:ROWS]:
        table.add_row(*row)
    if cells:
        Console().print(table)
    if len(cells) > ROWS:
        click.echo(f"... {len(cells) - ROWS} more")


def _printed(cell: object) -> str:
    """A cell as it will be printed, so that columns are as wide: what the terminal lacks is spelt out."""
    encoding = sys.stdout.encoding or "utf-8"
    return text_of(cell).encode(encoding, "backslashreplace").decode(encoding)


def say(words: str) -> None:
    """Prints a line on standard error, whatever it holds."""
    click.echo(text_of(words), err=True)
