"""What the commands share: options, and how tables and words are printed."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dfx.table import Tabular, text_of

ROWS = 40  # of a table in the terminal
WORKERS = click.option("--workers", type=int, help="Processes, one a core unless told.")
LINKS = click.option("--follow-symlinks", is_flag=True, help="Also follow links that lead out of the folder.")
QUIET = click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Write files anew that are there already.")
FOLDER = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")


def show(table: Tabular) -> None:
    """Prints the first rows of a table; what comes from files is text, whatever markup it holds."""
    rows = list(table.rows())
    shown = Table(*table.columns(), box=box.ASCII2)
    for row in rows[:ROWS]:
        shown.add_row(*(Text(text_of(cell)) for cell in row))
    if rows:
        Console().print(shown)
    if len(rows) > ROWS:
        click.echo(f"... {len(rows) - ROWS} more")


def say(words: str) -> None:
    """Prints a line on standard error; it is text too."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(text_of(words)))
