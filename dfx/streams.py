"""Streams: standard input, output and error, any of which may be closed, and the bars and notes on the last."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any

NAMES = ("stdin", "stdout", "stderr")  # in the order of their numbers


def bar(items: Iterable[Any] | None = None, title: str | None = None, *, shown: bool = True, **options: Any) -> Any:
    """A tqdm bar on standard error; nothing is shown where that is closed."""
    from tqdm import tqdm

    return tqdm(items, title, disable=not shown or sys.stderr is None, dynamic_ncols=True, **options)


def note(words: str) -> None:
    """Prints a line on standard error, above the bars; nothing where that is closed."""
    from tqdm import tqdm

    if sys.stderr is not None:
        tqdm.write(words, file=sys.stderr)


def open_closed() -> None:
    """Has every standard stream that is closed lead nowhere.

    Else the next file that is opened gets its number, and what a library prints goes into that file.
    """
    for number, name in enumerate(NAMES):
        if getattr(sys, name) is None:
            _take(number)
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115


def _take(number: int) -> None:
    """Opens the null device under the number of a closed stream, which children then have as well."""
    taken = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if taken == number:
        os.set_inheritable(taken, True)
    else:
        os.close(taken)


def spell_out() -> None:
    """Has characters that a stream's encoding lacks printed as escapes, where they would end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
