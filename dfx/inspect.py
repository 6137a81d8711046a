"""Inspect: one row a video on what its container says, what is odd in it, and what the labels say of it."""

from __future__ import annotations

import io
import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dfx.contain import Message, contained
from dfx.errors import DependencyError, InputError
from dfx.facts import NAMES, Facts
from dfx.find import Found, find
from dfx.labels import UNKNOWN, Entry, entries_beside, originals_of, read_entries
from dfx.outputs import Forms, check_output
from dfx.settings import Limits
from dfx.streams import bar
from dfx.table import SHOWN, Row, Tabular, write_bytes

if TYPE_CHECKING:
    from dfx.charts import Chart

MOST_VALUES = 8  # of one fact that the summary counts apart
TABLES: Forms = {
    ".csv": f"filename,{','.join(NAMES[:3])},".encode(),
    ".parquet": b"PAR1",
    ".json": rb'\[(\]|\s*\{\s*"filename")',
}
BRIEF = ("filename", "codec", "size", "rate", "frames", "duration", "audio", "label", "problems")


@dataclass(frozen=True, slots=True)
class Inspected:
    """One video. entry: what the labels say of it; problems: each a kind, a colon and a sentence."""

    filename: str
    facts: Facts
    entry: Entry = UNKNOWN
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """Width and height of the coded picture, as 1920x1080; "" where it is not known."""
        return f"{self.facts.width}x{self.facts.height}" if self.facts.width else ""


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(Tabular, Sequence[Inspected]):
    """The rows of an inspection, sorted by name.

    lone_labels: names that have a label, but no file; labelled: whether there were labels at all; notes: what there is
    to say of the labels' files.
    """

    items: tuple[Inspected, ...]
    lone_labels: tuple[str, ...] = ()
    labelled: bool = False
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Inspected: ...
    @overload
    def __getitem__(self, index: slice) -> Inspection: ...
    def __getitem__(self, index: int | slice) -> Inspected | Inspection:
        return replace(self, items=self.items[index]) if isinstance(index, slice) else self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Inspected]:
        return iter(self.items)

    def columns(self) -> tuple[str, ...]:
        """The name, every fact (see `dfx.facts.Facts` for the units), what the labels say, and the problems."""
        return ("filename", *NAMES, "label", "original", "split", "problems")

    def rows(self) -> Iterator[Row]:
        """A row a video. Fractions are texts, keyframes have blanks between them and problems semicolons."""
        for item in self.items:
            facts = [_plain(getattr(item.facts, name)) for name in NAMES]
            entry = item.entry
            yield item.filename, *facts, entry.label, entry.original, entry.split, "; ".join(item.problems)

    @property
    def brief(self) -> Brief:
        """The few columns that fit a screen."""
        return Brief(self.items)

    @property
    def summary(self) -> Summary:
        """Counts and ranges over all videos."""
        return Summary(tuple(_summary(self)))

    @property
    def problems(self) -> Problems:
        """What is odd, a row a problem."""
        return Problems(tuple((item.filename, problem) for item in self.items for problem in item.problems))

    @property
    def duplicates(self) -> list[tuple[str, ...]]:
        """The names of files that are the same to the byte, a group each. Empty where no hashes were made."""
        groups: dict[str, list[str]] = {}
        for item in self.items:
            if item.facts.sha256:
                groups.setdefault(item.facts.sha256, []).append(item.filename)
        return [tuple(names) for names in groups.values() if len(names) > 1]

    @property
    def missing_originals(self) -> dict[str, int]:
        """The originals that fakes name and that are not there, each with the number of its fakes that are."""
        here = {item.filename for item in self.items}
        return {name: count for name, count in _fakes_of(self.items).items() if name not in here}

    def to_json(self, path: str | Path) -> None:
        """Writes a list of objects; keyframes and problems are lists. Raises OutputError."""
        rows = [
            {"filename": item.filename, **item.facts.to_json(), **_said(item.entry), "problems": item.problems}
            for item in self.items
        ]
        write_bytes(Path(path), json.dumps(rows, indent=1).encode("ascii") + b"\n")

    def to_parquet(self, path: str | Path) -> None:
        """Writes a Parquet file through pandas and pyarrow. Raises OutputError, or DependencyError without the two."""
        _require_parquet()
        frame, buffer = self.to_pandas(), io.BytesIO()
        frame["filename"] = [name.encode("utf-8", "backslashreplace").decode() for name in frame["filename"]]
        try:
            frame.to_parquet(buffer, engine="pyarrow", index=False)
        except ImportError as error:  # too old for the other
            raise DependencyError(f"{error}: run pip install --upgrade pyarrow pandas, or name a .csv") from error
        write_bytes(Path(path), buffer.getvalue())

    def save(self, path: str | Path) -> None:
        """Writes a .csv, .parquet or .json, as the name says. Raises InputError on any other."""
        _writer(Path(path))(self, Path(path))

    def __repr__(self) -> str:
        return f"{self.summary!r}\n\n{self.brief!r}"

    def _repr_html_(self) -> str:
        rest = f"<p>... {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return self.summary._repr_html_() + self._charts_html() + self.brief[:SHOWN]._repr_html_() + rest

    def charts(self) -> tuple[Chart, ...]:
        """How long the videos are; their codecs, sizes, labels and problems, where there are any."""
        from dfx.charts import bars_chart, spread_chart

        durations = [item.facts.duration for item in self.items if item.facts.duration is not None]
        counts = {
            "Codecs": Counter(item.facts.codec or "unknown" for item in self.items),
            "Sizes": Counter(item.size or "unknown" for item in self.items),
            "Labels": Counter(item.entry.label or "none" for item in self.items if self.labelled),
            "Problems": Counter(problem.split(":")[0] for item in self.items for problem in item.problems),
        }
        bars = [bars_chart(title, found.most_common()) for title, found in counts.items() if found]
        return (*([spread_chart("Durations", "seconds", durations)] if durations else []), *bars)


@dataclass(frozen=True, slots=True, repr=False)
class Brief(Tabular):
    """What a screen has room for of an inspection."""

    items: tuple[Inspected, ...]

    def __getitem__(self, index: slice) -> Brief:
        return Brief(self.items[index])

    def columns(self) -> tuple[str, ...]:
        """The size in pixels, the average rate in frames a second, the duration in seconds."""
        return BRIEF

    def rows(self) -> Iterator[Row]:
        """A row a video."""
        for item in self.items:
            facts = item.facts
            known = (facts.codec, item.size, _rate(facts.average_rate), facts.frames, _seconds(facts.duration))
            shown = (*known, facts.audio_codec, item.entry.label, "; ".join(item.problems))
            yield item.filename, *("" if cell is None else cell for cell in shown)


@dataclass(frozen=True, slots=True, repr=False)
class Summary(Tabular):
    """Counts and ranges: a fact, its value, and the number of videos that have it."""

    items: tuple[Row, ...]

    def columns(self) -> tuple[str, ...]:
        """What is counted, its value, and in how many videos."""
        return ("what", "value", "videos")

    def rows(self) -> tuple[Row, ...]:
        """A row a value."""
        return self.items


@dataclass(frozen=True, slots=True, repr=False)
class Problems(Tabular):
    """What is odd in which video."""

    items: tuple[Row, ...]

    def columns(self) -> tuple[str, ...]:
        """The video, and the problem: a kind, a colon and a sentence."""
        return ("filename", "problem")

    def rows(self) -> tuple[Row, ...]:
        """A row a problem."""
        return self.items


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
    entries = None if metadata is None else _entries_of(Path(metadata))
    found = find(source, follow_symlinks=follow_symlinks)
    jobs = [{"path": str(item.path)} for item in found]
    answers: dict[int, Message] = {}
    with bar(total=len(jobs), unit="video", shown=progress) as shown:
        for place, answer in contained("facts", {"digest": digest}, jobs, limits or Limits(), workers):
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
        _require_parquet()


def _require_parquet() -> None:
    if lacking := [name for name in ("pyarrow", "pandas") if find_spec(name) is None]:
        raise DependencyError(
            f"a .parquet is written by pandas and pyarrow, and there is no {' and no '.join(lacking)}: run "
            "pip install pyarrow pandas, or name a .csv"
        )


def _entries_of(metadata: Path) -> dict[str, Entry]:
    """The labels that were named, at least one; an empty file is more likely a slip."""
    entries = read_entries(metadata)
    if not entries:
        raise InputError(f"{metadata} holds no label: name a metadata.json or a CSV with a row for each video")
    return entries


def _writer(path: Path) -> Callable[[Inspection, Path], None]:
    writers = {".csv": Inspection.to_csv, ".parquet": Inspection.to_parquet, ".json": Inspection.to_json}
    try:
        return writers[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path} ends in {path.suffix!r}; one of {' '.join(writers)} is needed") from None


def _inspected(item: Found, answer: Message, entries: dict[str, Entry]) -> Inspected:
    entry = entries.get(item.filename, UNKNOWN)
    if "reason" in answer:
        return Inspected(item.filename, Facts(), entry, (f"{answer['reason']}: {answer['detail']}",))
    return Inspected(item.filename, Facts.from_json(answer["facts"]), entry, tuple(answer["problems"]))


def _said(entry: Entry) -> dict[str, str]:
    return {"label": entry.label, "original": entry.original, "split": entry.split}


def _plain(value: Any) -> Any:
    """As a cell of a CSV has it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value) if isinstance(value, Fraction) else value


def _rate(rate: Fraction | None) -> str:
    return "" if rate is None else f"{float(rate):.5g}"


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.2f}"


def _summary(result: Inspection) -> Iterator[Row]:
    items = result.items
    facts = [item.facts for item in items]
    yield "videos", f"{sum(fact.bytes or 0 for fact in facts) / 2**20:.1f} MiB", len(items)
    yield from _counted("codec", [fact.codec for fact in facts])
    yield from _counted("size", [item.size for item in items])
    yield from _counted("rate", [_rate(fact.average_rate) for fact in facts])
    yield from _counted("audio", [fact.audio_codec or "none" for fact in facts if fact.codec])
    yield from _durations([fact.duration for fact in facts if fact.duration is not None])
    if result.labelled:
        yield from _labels(result)
    yield from _duplicates(result.duplicates)
    yield from _counted("problem", [problem.split(":")[0] for item in items for problem in item.problems])
    yield from (("note", note, "") for note in result.notes)


def _duplicates(groups: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """The largest groups of files that are the same, and the rest in one row."""
    groups = sorted(groups, key=len, reverse=True)
    yield from (("duplicates", ", ".join(names), len(names)) for names in groups[:MOST_VALUES])
    if rest := groups[MOST_VALUES:]:
        yield "duplicates", f"{len(rest)} other groups", sum(map(len, rest))


def _counted(what: str, values: Sequence[str | None]) -> Iterator[Row]:
    """The most frequent values, and the rest in one row."""
    counts = Counter(value for value in values if value).most_common()
    yield from ((what, value, count) for value, count in counts[:MOST_VALUES])
    if rest := counts[MOST_VALUES:]:
        yield what, f"{len(rest)} others", sum(count for _, count in rest)


def _durations(seconds: Sequence[float]) -> Iterator[Row]:
    if seconds:
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        yield "duration", f"{low:.1f} to {high:.1f} s, median {middle:.1f}; {sum(seconds) / 60:.1f} min", len(seconds)


def _labels(result: Inspection) -> Iterator[Row]:
    items = result.items
    yield from _counted("label", [item.entry.label for item in items])
    yield from _counted("split", [item.entry.split for item in items])
    if fakes := sorted(_fakes_of(items).values()):
        span = f"{fakes[0]} to {fakes[-1]}, median {statistics.median(fakes):g}"
        yield "fakes an original", f"{span}; {len(fakes)} originals", sum(fakes)
    for what, names in (
        ("missing original", list(result.missing_originals)),
        ("label without a file", list(result.lone_labels)),
        ("file without a label", [item.filename for item in items if not item.entry.label]),
    ):
        if names:
            yield what, ", ".join(names[:3]) + (", ..." if len(names) > 3 else ""), len(names)


def _fakes_of(items: Sequence[Inspected]) -> Counter[str]:
    """How many of the files were made of each original that their labels name."""
    entries = {item.filename: item.entry for item in items}
    real = {name for name, entry in entries.items() if entry.label == "REAL"}
    return Counter(next((row for row in rows if row in real), rows[0]) for rows in originals_of(entries).values())
