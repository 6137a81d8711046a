"""Outputs: where a result may be written, asked before the work, so that no file of a user's is lost to it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from dfx.errors import InputError, OutputError
from dfx.files import check_place

HEAD = 4096  # bytes at the beginning of a file that say what it is
Forms = Mapping[str, bytes]
"""Ending -> how the files of dfx with it begin, as a regular expression; the ending "" stands for every one."""
# Labels have REAL and FAKE, or 0 and 1, where scores have a fraction; a submission of another program's may be in the
# place to be replaced, as a fallback is in a notebook.
SCORE = rb"[01]\.(\d{6}|\d*[1-9]\d*)|\d\.\d+e[-+]\d\d"
ROW = rb'("([^"]|"")*"|[^",\n]*),"?(' + SCORE + rb')"?\r?(\n|\Z)'
SCORES: Forms = {"": rb'(\xef\xbb\xbf)?"?filename"?,"?label"?\r?\n(\Z|' + ROW + rb")"}
PAGE: Forms = dict.fromkeys((".html", ".htm"), rb"<!doctype html>.*<title>dfx report")


def check_output(path: str | Path, forms: Forms, inputs: Iterable[str | Path] = ()) -> None:
    """Raises where no file of such forms may be written at `path`: by its ending, or by what it would replace.

    Raises:
        InputError: it ends in something else. OutputError: it cannot be written, or would take the place of one of the
        inputs, of a video, or of a file that does not begin as those of dfx do.
    """
    place = Path(path)
    check_apart(place, inputs)
    form = forms.get("", forms.get(place.suffix.lower()))
    if form is None:
        raise InputError(f"{place} ends in {place.suffix!r}; {'one of ' * (len(forms) > 1)}{' '.join(forms)} is needed")
    check_place(place)
    check_ours(place, form)


def check_ours(place: Path, form: bytes) -> None:
    """Raises OutputError where a file is in the place that does not begin as those of dfx do, by `form`."""
    if not _like_ours(place, form):
        raise OutputError(f"{place} is there already, and not as dfx writes it: name another file, or remove it first")


def check_apart(path: Path, others: Iterable[str | Path]) -> None:
    """Raises OutputError where a path leads to one of the others, of which there may be a hundred thousand."""
    state, target = _state(path), os.path.realpath(path)
    for other in map(Path, others):
        there = _state(other)
        both = state is not None and there is not None and os.path.samestat(state, there)
        if both or (state is there is None and os.path.realpath(other) == target):
            raise OutputError(f"{path} would take the place of {other}, which this run needs: name another file")


def _state(path: Path) -> os.stat_result | None:
    """None where there is no such file."""
    with suppress(OSError):
        return path.stat()
    return None


def _like_ours(path: Path, form: bytes) -> bool:
    """Whether a file begins as those of dfx do, or is empty, or is not there."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return not head or re.match(form, head, re.DOTALL) is not None
