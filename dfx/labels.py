"""Labels: what `metadata.json` or a CSV says of a video beside its label: its original, its split, its people."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    text = read_text(path)
    try:
        return _once(json.loads(text).items() if path.suffix.lower() == ".json" else _from_csv(text))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, csv.Error) as error:
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


def originals_of(entries: Mapping[str, Entry]) -> dict[str, tuple[str, ...]]:
    """The rows that the original of each video may be, by the name of the video; videos that name none are left out.

    An original is looked for from the video's folder, then from each folder above it; where no REAL row is there, a
    bare name is looked for everywhere. Where several rows match, all of them are given, for a split is to keep too much
    together rather than too little; where none does, the places that were looked at, the nearest first.
    """
    namesakes: dict[str, list[str]] = defaultdict(list)
    for name in entries:
        namesakes[PurePosixPath(name).name].append(name)
    return {name: _rows_of(name, entries, namesakes) for name, entry in entries.items() if entry.original}


def missing_originals(entries: Mapping[str, Entry]) -> Counter[str]:
    """The originals that match no row, as the labels name them, each with the number of the fakes that name it."""
    fakes = {name: rows for name, rows in originals_of(entries).items() if entries[name].label == "FAKE"}
    found = {name for name, rows in fakes.items() if any(row in entries and row != name for row in rows)}
    return Counter(entries[name].original for name in fakes if name not in found)


def unmatched(filenames: Sequence[str], entries: Mapping[str, Entry]) -> list[str]:
    """A word on the videos that have no label, and one on the labels that have no video; none where all match."""
    bare = [name for name in filenames if name not in entries]
    rows = sorted(entries.keys() - set(filenames))
    notes = [f"{len(bare)} of the {len(filenames)} videos have no label, {bare[0]!r} for one"] if bare else []
    if rows:
        notes.append(
            f"{len(rows)} of the {len(entries)} rows of labels match no video, {rows[0]!r} for one: a filename there "
            "is the path from the folder that is named"
        )
    return notes


def _rows_of(filename: str, entries: Mapping[str, Entry], namesakes: Mapping[str, list[str]]) -> tuple[str, ...]:
    original = entries[filename].original
    folders = PurePosixPath(filename).parents
    places = [posixpath.normpath(posixpath.join(folder.as_posix(), original)) for folder in folders]
    rows = [place for place in places if place in entries]
    if not any(entries[row].label == "REAL" for row in rows):
        rows += namesakes.get(original, [])
    return tuple(dict.fromkeys(rows or places))


def _folder(filename: str) -> PurePosixPath:
    return PurePosixPath(filename).parent


def _entry(name: str, item: Mapping[str, Any]) -> Entry:
    """What a row says. Raises InputError, which names the row, where its label is none."""
    if "label" not in item:
        raise InputError(f"{name!r} has no label; REAL or FAKE is needed, or leave it out")
    label = label_of(item["label"], f"the label of {name!r}")
    group = item.get("group") or item.get("identity_group")
    return Entry(label, str(item.get("original") or ""), str(item.get("split") or ""), str(group or ""))


def _from_csv(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if not {"filename", "label"} <= set(rows.fieldnames or ()):
        raise InputError(f"its header is {rows.fieldnames}; columns 'filename' and 'label' are needed")
    for row in rows:
        if row["filename"] is None:
            raise InputError(f"the row {list(row.values())} is cut short; it needs a 'filename'")
        yield row["filename"], row


def _once(pairs: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Entry]:
    """The entries; one that says two things of a video is refused."""
    entries: dict[str, Entry] = {}
    for name, item in pairs:
        entry = _entry(name, item)
        if entries.setdefault(name, entry) != entry:
            raise InputError(f"{name!r} stands there twice, in other words: remove one of the rows")
    return entries


def label_of(word: object, whose: str) -> str:
    """REAL or FAKE, of any way to say so. whose: in words, for the InputError where it is neither."""
    text = str(word).strip().upper()
    plain = text if isinstance(word, str) else {"FALSE": "0", "TRUE": "1"}.get(text, text)  # Python's and NumPy's
    try:
        return LABELS[WORDS[plain]]
    except KeyError:
        raise InputError(f"{whose} is {word!r}; REAL or FAKE, or 0 or 1, is needed") from None


def read_text(path: Path) -> str:
    """The text, line ends untouched (a file name may hold some), without the mark that spreadsheets put before it.

    Raises MissingInputError or InputError.
    """
    try:
        return path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        raise MissingInputError(f"no file at {path}: name one that exists") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
