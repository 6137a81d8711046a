"""What is shown as a table: in a terminal, in a notebook, as CSV, as a pandas frame."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from dfx.errors import DependencyError
from dfx.files import replacement

if TYPE_CHECKING:
    import pandas

    from dfx.charts import Chart

SHOWN = 20  # rows in a terminal or a notebook
Row = Sequence[Any]
Item = TypeVar("Item")


class Tabular:
    """Mixin: a subclass gives `columns` and `rows`, and gets the rest."""

    __slots__ = ()

    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        raise NotImplementedError

    def rows(self) -> Iterable[Row]:
        """The rows, each as long as `columns`."""
        raise NotImplementedError

    def to_csv(self, path: str | Path) -> None:
        """Writes the table, whole or not at all: the old file stands until the new one is on the disk.

        Names are quoted as CSV wants it and otherwise exact; open a CSV of strangers' file names as text, since a
        spreadsheet takes a name like `=1+1.mp4` for a formula. Raises OutputError where it cannot be written.
        """
        write_csv(Path(path), self.columns(), self.rows())

    def to_pandas(self) -> pandas.DataFrame:
        """The table as a pandas frame. Raises DependencyError where pandas is not installed."""
        try:
            import pandas
        except ImportError as error:
            raise DependencyError("pandas is not installed: run pip install pandas") from error
        return pandas.DataFrame(list(self.rows()), columns=list(self.columns()))

    def __repr__(self) -> str:
        rows = [[text_of(cell) for cell in row] for row in self.rows()]
        shown = [list(self.columns()), *rows[:SHOWN]]
        widths = [max(len(row[i]) for row in shown) for i in range(len(self.columns()))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
        ]
        return "\n".join([*lines, *_more(len(rows))])

    def charts(self) -> Sequence[Chart]:
        """What a notebook draws below the table."""
        return ()

    def _repr_html_(self) -> str:
        return self._table_html() + self._charts_html()

    def _charts_html(self) -> str:
        charts = self.charts()
        if not charts:
            return ""
        from dfx.draw import charts_html

        return charts_html(charts)

    def _table_html(self) -> str:
        rows = list(self.rows())
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns())
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(text_of(cell))}</td>' for cell in row)}</tr>" for row in rows[:SHOWN]
        )
        note = "".join(f"<p>{line}</p>" for line in _more(len(rows)))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


class Listed(Tabular, Sequence[Item]):
    """Mixin for a frozen dataclass with a field `items`: it is the sequence of them, and a slice of it is its like."""

    __slots__ = ()
    items: tuple[Item, ...]

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Item | Self:
        if isinstance(index, slice):
            return cast(Self, replace(cast(Any, self), items=self.items[index]))
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


@dataclass(frozen=True, slots=True, repr=False)
class Table(Tabular):
    """A table as it stands: the names of its columns, and its rows."""

    names: tuple[str, ...]
    items: tuple[Row, ...]

    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self.names

    def rows(self) -> tuple[Row, ...]:
        """Its rows."""
        return self.items


def _more(count: int) -> list[str]:
    return [f"... {count - SHOWN} more"] if count > SHOWN else []


def text_of(cell: Any) -> str:
    """One line, without control characters or lone surrogates: a file name may hold anything."""
    text = _digits(cell) if isinstance(cell, float) else str(cell)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _digits(number: float) -> str:
    """Four digits, and all that stand before the point: never as a power of ten where a number is large."""
    return f"{number:.0f}" if 9999.5 <= abs(number) < math.inf else f"{number:.4g}"


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Writes a CSV atomically: into a temporary file of the same folder, synced, then renamed over the old one."""
    with replacement(path) as file:
        file.write(_line(columns))
        file.writelines(map(_line, rows))


def _line(cells: Row) -> str:
    """One line of a CSV. Python before 3.13 quotes a carriage return only where the line's end holds one."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"
