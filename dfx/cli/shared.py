"""What the commands share: options, and how tables and words are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from dfx.settings import Settings
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
