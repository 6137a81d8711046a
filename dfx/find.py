"""Find: a folder, a file, a glob, a list, or a sample submission -> the videos to score, and their names."""

from __future__ import annotations

import csv
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dfx.arguments import check_kind
from dfx.errors import InputError, MissingInputError
from dfx.files import EXTENSIONS
from dfx.streams import note

SYSTEMS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", ".Spotlight-V100", ".Trashes"})
"""Folders that a file system keeps at its root for itself, closed to users."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row to be: the name in the CSV, and where the video lies (None: named by a sample submission, but missing)."""

    filename: str
    path: Path | None


def find(
    source: str | Path | Sequence[str | Path],
    *,
    follow_symlinks: bool = False,
    sample_submission: str | Path | None = None,
) -> list[Found]:
    """Lists the videos of a source, sorted by name; a sample submission fixes rows and order instead.

    A folder is searched to the bottom for the usual extensions of videos; names are relative to it, with forward
    slashes. Files that are named themselves, or match a glob, need no such extension; their row holds their name
    alone.

    Args:
        source: folder, file, glob, or several of these.
        follow_symlinks: also take links that lead out of the folder.
        sample_submission: a CSV with a column `filename`.

    Raises:
        MissingInputError: nothing there, or no video in it. InputError: two videos would share a row.
    """
    names = [source] if isinstance(source, str | os.PathLike) or not isinstance(source, Iterable) else list(source)
    for name in names:
        check_kind("source", name, str | os.PathLike, "a path, a glob or a list of these")
    if "" in names:
        raise MissingInputError("the name of a source is empty; the current folder is '.'")
    sources = [Path(name) for name in names]
    found = [item for one in sources for item in _search(one, follow_symlinks)]
    if sample_submission is not None:
        return _ordered(Path(sample_submission), found)
    if not found:
        raise MissingInputError(f"no video in {_listed(sources)}: looked for {' '.join(sorted(EXTENSIONS))}")
    _refuse_twins(found)
    return sorted(found, key=lambda item: item.filename)


def _search(source: Path, follow_symlinks: bool) -> Iterator[Found]:
    try:
        yield from _matches(source, follow_symlinks)
    except PermissionError as error:
        raise MissingInputError(
            f"{error.filename} may not be looked into ({error.strerror}): change its permissions, or name others"
        ) from error
    except MissingInputError:
        raise
    except OSError as error:  # a name that is too long, a disk that fails
        raise MissingInputError(f"{source} cannot be looked for ({error.strerror}): name another") from error


def _matches(source: Path, follow_symlinks: bool) -> Iterator[Found]:
    if source.is_dir():
        yield from _in_folder(source, follow_symlinks)
    elif source.exists() or source.is_symlink():  # a link that leads nowhere is a row that says so
        yield Found(source.name, source)
    else:
        matches = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207  (patterns may be absolute)
        if not matches:
            raise MissingInputError(f"no file or folder at {source}, and as a glob it matches nothing")
        yield from (Found(Path(match).name, Path(match)) for match in matches if not Path(match).is_dir())


def _in_folder(folder: Path, follow_symlinks: bool) -> Iterator[Found]:
    home, outside = folder.resolve(), 0
    for base, folders, names in os.walk(folder, onerror=_refuse_closed, followlinks=follow_symlinks):
        outside += 0 if follow_symlinks else sum(not _stays(Path(base, name), home) for name in folders)
        folders[:] = sorted(name for name in folders if not _leads_round(Path(base, name), folder))
        for name in names:
            path = Path(base, name)
            if path.suffix.lower() not in EXTENSIONS:
                continue
            if follow_symlinks or _stays(path, home):
                yield Found(path.relative_to(folder).as_posix(), path)
            else:
                outside += 1
    if outside:
        links = "1 link leads" if outside == 1 else f"{outside} links lead"
        note(f"{links} out of {folder}, and what is there is left out (follow_symlinks, --follow-symlinks)")


def _leads_round(folder: Path, home: Path) -> bool:
    """Whether a link leads to a folder that it lies in itself, of those from `home` on."""
    if not folder.is_symlink():
        return False
    above = [parent for parent in folder.parents if parent == home or home in parent.parents]
    with suppress(OSError):  # it went, or leads nowhere
        return any(folder.samefile(parent) for parent in above)
    return False


def _refuse_closed(error: OSError) -> None:
    """A folder that went while it was searched is no loss; one that is closed may hold videos, and each has a row."""
    if isinstance(error, PermissionError) and Path(error.filename).name not in SYSTEMS:
        raise error


def _stays(path: Path, home: Path) -> bool:
    try:
        return not path.is_symlink() or path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # a link that leads to itself: it leaves nothing, and its row will say so
        return True


def _ordered(sample: Path, found: Sequence[Found]) -> list[Found]:
    try:
        with sample.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
            reader = csv.DictReader(lines)
            if "filename" not in (reader.fieldnames or []):
                raise InputError(f"{sample}: its header is {reader.fieldnames}; a column 'filename' is needed")
            rows = [row["filename"] for row in reader]
            if not rows:
                raise InputError(f"{sample}: it has no rows; one for each video is needed")
    except FileNotFoundError:
        raise MissingInputError(f"no sample submission at {sample}") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{sample}: cannot be read as a CSV ({error})") from error
    if not all(rows):
        raise InputError(f"{sample}: a row names no file; a filename is needed on each")
    named = set(rows)
    wanted = {item.filename: item for item in found if item.filename in named}
    items = [wanted.get(name) or Found(name, None) for name in rows]
    _refuse_twins(items, f"remove what {sample} says twice")
    _refuse_twins([item for item in found if item.filename in named])
    _tell_odd(sample, [item.filename for item in items if item.path is None], rows)
    _tell_odd("the source", [item.filename for item in found if item.filename not in named], found)
    return items


def _tell_odd(whose: str | Path, odd: Sequence[str], names: Sequence[object]) -> None:
    """Says what a sample submission and the videos do not have in common."""
    if odd:
        note(f"{len(odd)} of the {len(names)} videos of {whose} are not in the other, {odd[0]!r} for one")


def _refuse_twins(found: Sequence[Found], remedy: str | None = None) -> None:
    """remedy: what to do where a sample submission names a row twice."""
    twins = [name for name, count in Counter(item.filename for item in found).items() if count > 1]
    if twins:
        remedy = remedy or _remedy(found, twins[0])
        raise InputError(f"names on more than one row: {len(twins)}, {twins[0]!r} for one; {remedy}")


def _remedy(found: Sequence[Found], name: str) -> str:
    """What to do where two sources give one row."""
    files = {os.path.realpath(item.path) for item in found if item.path is not None and item.filename == name}
    return "it is one file: name it once" if len(files) == 1 else "score the folders apart"


def _listed(sources: Sequence[Path]) -> str:
    shown = ", ".join(str(source) for source in sources[:3]) or "an empty list"
    return shown + (" ..." if len(sources) > 3 else "")
