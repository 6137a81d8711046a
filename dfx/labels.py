"""Labels: what `metadata.json` or a CSV says of a video beside its label: its original, its split, its people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dfx.errors import InputError, MissingInputError
from dfx.find import Found

LABELS = ("REAL", "FAKE")
WORDS = {"FAKE": 1, "REAL": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one video, "" where it is unsaid.

    label: REAL or FAKE; original: the video that a fake was made of; group: of videos that share people.
    """

    label: str
    original: str = ""
    split: str = ""
    group: str = ""


UNKNOWN = Entry("")


def read_entries(path: Path) -> dict[str, Entry]:
    """Entries by file name, from a `metadata.json` or a CSV `filename,label` with or without `original`, `split` and
    `group` (or `identity_group`).

    Raises:
        MissingInputError, InputError: there is no such file, or it is neither of the two.
    """
    text = _read(path)
    try:
        pairs = json.loads(text).items() if path.suffix.lower() == ".json" else _from_csv(text)
        return {name: _entry(item) for name, item in pairs}
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error) as error:
        raise InputError(
            f'{path}: neither the challenge\'s metadata.json, {{"a.mp4": {{"label": "FAKE"}}}}, nor a CSV of '
            f"filename,label with REAL or FAKE ({type(error).__name__}: {error})"
        ) from error


def entries_beside(found: Iterable[Found]) -> tuple[dict[str, Entry], list[str]]:
    """What the `metadata.json` beside each video says, by the name of its row; and a word on each that is odd."""
    entries: dict[str, Entry] = {}
    notes: list[str] = []
    homes = {item.path.parent: _folder(item.filename) for item in found if item.path is not None}
    for home, folder in sorted(homes.items()):
        if not (home / "metadata.json").is_file():
            continue
        try:
            own = read_entries(home / "metadata.json")
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        entries |= {(folder / name).as_posix(): entry for name, entry in own.items()}
    return entries, notes


def original_of(filename: str, entry: Entry) -> str:
    """The name of the row that a video's original has, which stands in the same folder; "" where none is said."""
    return (_folder(filename) / entry.original).as_posix() if entry.original else ""


def _folder(filename: str) -> PurePosixPath:
    return PurePosixPath(filename).parent


def _entry(item: Mapping[str, Any]) -> Entry:
    label = LABELS[WORDS[str(item["label"]).strip().upper()]]
    group = item.get("group") or item.get("identity_group")
    return Entry(label, str(item.get("original") or ""), str(item.get("split") or ""), str(group or ""))


def _from_csv(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((row["filename"], row) for row in csv.DictReader(io.StringIO(text, newline="")))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        raise MissingInputError(f"no file at {path}: name the metadata.json of the videos") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
