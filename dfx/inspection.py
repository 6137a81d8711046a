"""Inspection: what there is in a folder of videos, a row a video, and the tables and files that are made of it."""

from __future__ import annotations

import io
import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfx.errors import DependencyError, InputError
from dfx.facts import NAMES, Facts
from dfx.files import write_bytes
from dfx.labels import UNKNOWN, Entry, originals_of
from dfx.table import Listed, Row, Table

if TYPE_CHECKING:
    from dfx.charts import Chart

MOST_VALUES = 8  # of one fact that the summary counts apart
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
class Inspection(Listed[Inspected]):
    """The rows of an inspection, sorted by name.

    lone_labels: names that have a label, but no file; labelled: whether there were labels at all; notes: what there is
    to say of the labels' files.
    """

    items: tuple[Inspected, ...]
    lone_labels: tuple[str, ...] = ()
    labelled: bool = False
    notes: tuple[str, ...] = ()

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
    def brief(self) -> Table:
        """The few columns that fit a screen: the size in pixels, the average rate in frames/s, the duration in s."""
        return Table(BRIEF, tuple(map(_brief, self.items)))

    @property
    def summary(self) -> Table:
        """Counts and ranges over all videos: a fact, its value, and the number of videos that have it."""
        return Table(("what", "value", "videos"), tuple(_summary(self)))

    @property
    def problems(self) -> Table:
        """What is odd, a row a problem: a kind, a colon and a sentence."""
        rows = ((item.filename, problem) for item in self.items for problem in item.problems)
        return Table(("filename", "problem"), tuple(rows))

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
            {"filename": item.filename, **item.facts.to_json(), **_labels_of(item.entry), "problems": item.problems}
            for item in self.items
        ]
        write_bytes(Path(path), json.dumps(rows, indent=1).encode("ascii") + b"\n")

    def to_parquet(self, path: str | Path) -> None:
        """Writes a Parquet file through pandas and pyarrow. Raises OutputError, or DependencyError without the two."""
        require_parquet()
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
        return self.summary._repr_html_() + self._charts_html() + self.brief._repr_html_()

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


def require_parquet() -> None:
    """Raises DependencyError where what writes a Parquet file is not installed."""
    if lacking := [name for name in ("pyarrow", "pandas") if find_spec(name) is None]:
        raise DependencyError(
            f"a .parquet is written by pandas and pyarrow, and there is no {' and no '.join(lacking)}: run "
            "pip install pyarrow pandas, or name a .csv"
        )


def _writer(path: Path) -> Callable[[Inspection, Path], None]:
    writers = {".csv": Inspection.to_csv, ".parquet": Inspection.to_parquet, ".json": Inspection.to_json}
    try:
        return writers[path.suffix.lower()]
    except KeyError:
        raise InputError(f"{path} ends in {path.suffix!r}; one of {' '.join(writers)} is needed") from None


def _brief(item: Inspected) -> Row:
    facts = item.facts
    known = (facts.codec, item.size, _rate(facts.average_rate), facts.frames, _seconds(facts.duration))
    shown = (*known, facts.audio_codec, item.entry.label, "; ".join(item.problems))
    return (item.filename, *("" if cell is None else cell for cell in shown))


def _labels_of(entry: Entry) -> dict[str, str]:
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
