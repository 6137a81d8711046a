"""Inspect: one row a video on what its container says, what is odd in it, and what the labels say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfx.contain import contained
from dfx.errors import InputError
from dfx.facts import NAMES, Facts
from dfx.find import Found, find
from dfx.inspection import Inspected, Inspection, require_parquet
from dfx.labels import UNKNOWN, Entry, entries_beside, read_entries
from dfx.messages import Message
from dfx.outputs import Forms, check_output
from dfx.settings import Limits, limits_given
from dfx.streams import bar

TABLES: Forms = {
    ".csv": f"filename,{','.join(NAMES[:3])},".encode(),
    ".parquet": b"PAR1",
    ".json": rb'\[(\]|\s*\{\s*"filename")',
}


def inspect(
    source: str | Path | Sequence[str | Path],
    *,
    metadata: str | Path | None = None,
    digest: bool = True,
    limits: Limits | None = None,
    workers: int | None = None,
    follow_symlinks: bool = False,
    progress: bool = False,
) -> Inspection:
    """Looks at every video of a folder (a file, a glob or a list will do too), without decoding a picture.

    Each file is opened in a child process with limits. A file that is broken, or kills the child, has a row that says
    so. Labels, originals and splits come from `metadata`, or else from the `metadata.json` beside the videos, as the
    challenge has them.

    Args:
        source: what to look at.
        metadata: a `metadata.json`, or a CSV `filename,label` with or without `original` and `split`.
        digest: give the SHA-256 of each file, which finds duplicates.
        limits: time, memory, pixels and duration a video.
        workers: processes, one a core unless told.
        follow_symlinks: also follow links that lead out of the folder.
        progress: show a bar on standard error.

    Returns:
        A row for every video, sorted by name.

    Raises:
        MissingInputError, InputError: nothing there, or `metadata` is no such file.
    """
    limits = limits_given(limits)
    entries = None if metadata is None else _entries_of(Path(metadata))
    found = find(source, follow_symlinks=follow_symlinks)
    jobs = [{"path": str(item.path)} for item in found]
    answers: dict[int, Message] = {}
    with bar(total=len(jobs), unit="video", shown=progress) as shown:
        for place, answer in contained("facts", {"digest": digest}, jobs, limits, workers):
            answers[place] = answer
            shown.update()
    entries, notes = (entries, []) if entries is not None else entries_beside(found)
    items = tuple(_inspected(item, answers[place], entries) for place, item in enumerate(found))
    lone = sorted(entries.keys() - {item.filename for item in items})
    return Inspection(items, tuple(lone), bool(entries), tuple(notes))


def check_out(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Raises where an inspection cannot be saved there, before any work is done.

    InputError, OutputError: as `dfx.outputs.check_output`; DependencyError: what writes such a file is not installed.
    """
    check_output(path, TABLES, inputs)
    if Path(path).suffix.lower() == ".parquet":
        require_parquet()


def _entries_of(metadata: Path) -> dict[str, Entry]:
    """The labels that were named, at least one; an empty file is more likely a slip."""
    entries = read_entries(metadata)
    if not entries:
        raise InputError(f"{metadata} holds no label: name a metadata.json or a CSV with a row for each video")
    return entries


def _inspected(item: Found, answer: Message, entries: dict[str, Entry]) -> Inspected:
    entry = entries.get(item.filename, UNKNOWN)
    if "reason" in answer:
        return Inspected(item.filename, Facts(), entry, (f"{answer['reason']}: {answer['detail']}",))
    return Inspected(item.filename, Facts.from_json(answer["facts"]), entry, tuple(answer["problems"]))
