"""What is shown as a table: in a terminal, in a notebook, as CSV, as a pandas frame."""

from __future__ import annotations

import csv
import html
import io
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO, TypeVar, cast, overload

from dfx.errors import DependencyError, OutputError
from dfx.find import EXTENSIONS

if TYPE_CHECKING:
    import pandas

    from dfx.charts import Chart

SHOWN = 20  # rows in a terminal or a notebook
OPEN_FILES = ("/proc", "/dev/fd")  # where Linux and macOS have names for what a process has open
HOPS = 40  # links that Linux follows
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


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file of any kind as `write_csv` writes its own. Raises OutputError."""
    with replacement(path) as file:
        file.buffer.write(data)


def check_place(path: str | Path) -> None:
    """Raises OutputError where no file can be written at `path`, before the work whose result it is to hold."""
    with _mapped(Path(path)):
        place = _target(Path(path))
        tempfile.TemporaryFile(dir=place.parent).close()


@contextmanager
def replacement(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of `path` at the end, or vanishes where anything is raised. Raises OutputError."""
    with _mapped(path), _replacement(path) as file:
        yield file


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror or error}): name another file, in a folder that can be written"
        ) from error


def _target(path: Path) -> Path:
    """The file that is to be replaced: what a link leads to. A rename would put a file in a device's place as well."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError("it is a folder")
    if _leads_to_open_file(path):
        raise FileExistsError("it is a stream that is open already, not a file")
    if target.exists() and not target.is_file():
        raise FileExistsError("it is a device or a pipe or a socket")
    if {path.suffix.lower(), target.suffix.lower()} & EXTENSIONS:
        raise FileExistsError("its ending is that of a video")
    return target


def _leads_to_open_file(path: Path) -> bool:
    """Whether a path leads through what a process has open, as /dev/stdout does: a rename would not reach that file."""
    for _ in range(HOPS):
        path = Path(os.path.realpath(path.parent), path.name)
        if any(path.is_relative_to(folder) for folder in OPEN_FILES):
            return True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return False


@contextmanager
def _replacement(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of `path` at the end, or vanishes where anything is raised, an interrupt included."""
    path = _target(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _line(cells: Row) -> str:
    """One line of a CSV. Python before 3.13 quotes a carriage return only where the line's end holds one."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
