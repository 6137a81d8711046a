"""Journal: an SQLite file beside the CSV that remembers every finished video, so that a run that was cut goes on."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dfx.errors import InputError, MissingInputError, OutputError
from dfx.record import from_prediction, to_prediction
from dfx.values import Prediction, Reason

VERSION = 4  # 3 knew no videos that were turned, 2 no tracks that were dropped
READABLE = (2, 3, 4)
LIMITED = (Reason.TOO_LARGE, Reason.TIMEOUT, Reason.CRASHED)  # what other limits may bring to an end
SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS videos (
    filename BLOB PRIMARY KEY, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
    windows INTEGER NOT NULL, reason TEXT NOT NULL, probability REAL NOT NULL, row TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (filename BLOB NOT NULL, there INTEGER NOT NULL);
DELETE FROM asked;
DELETE FROM settings;
"""
COLUMNS = {
    "settings": ["json"],
    "videos": ["filename", "size", "modified_ns", "windows", "reason", "probability", "row"],
    "asked": ["filename", "there"],
}
State = tuple[int, int]
"""Of a file: its size in bytes and time of change in ns."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a journal holds: the settings of its run, and by file name the row, its windows, and the file's state.

    state: size in bytes and time of change in ns of the file that was scored.
    asked: the names on the rows of the last run's CSV, in order, and whether a file was there for each; earlier runs
    may have scored others. None in a journal of a dfx that did not note it.
    """

    settings: dict[str, Any]
    rows: dict[str, tuple[Prediction, int, State]]
    asked: dict[str, bool] | None


def read(path: Path) -> Remembered:
    """Reads a journal without changing it. Raises MissingInputError or InputError where there is none to read."""
    if not path.is_file():
        raise MissingInputError(f"no journal at {path}: `dfx predict` writes one beside its CSV, as <CSV>.journal")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return _remembered(connection, path)
    except InputError:
        raise
    except (sqlite3.Error, ValueError, TypeError, KeyError, AttributeError) as error:  # no database, or not of dfx
        if Path(f"{path}-journal").exists():
            raise InputError(f"the run of {path} was cut while it wrote: start it again, which mends it") from error
        raise InputError(
            f"{path} cannot be read as a journal of dfx ({error}): name the <CSV>.journal of a run"
        ) from error


def _remembered(connection: sqlite3.Connection, path: Path) -> Remembered:
    noted = connection.execute("SELECT json FROM settings").fetchone()
    settings = json.loads(noted[0]) if noted else {}
    if settings.get("journal") not in READABLE:
        known = ", ".join(map(str, READABLE))
        raise InputError(f"{path} is of version {settings.get('journal')}; this dfx reads {known}: score again")
    rows = connection.execute("SELECT filename, row, windows, size, modified_ns FROM videos ORDER BY filename")
    found = {_read(name): (_prediction(row), windows, (size, ns)) for name, row, windows, size, ns in rows}
    return Remembered(settings, found, _asked(connection))


def journal_of(out: Path) -> Path:
    """Where the run that writes the CSV `out` keeps its journal: beside it."""
    return out.parent / f"{out.name}.journal"


class Journal:
    """Open it with `Journal.open`, then `begin`. One process writes; a second one is refused while the first lives.

    A row counts for a video only while the file's size and time of change are what they were.
    """

    def __init__(self, path: Path, settings: dict[str, Any], fresh: bool) -> None:
        self._path, self._settings, self._fresh = path, settings, fresh
        self._connection = _replaceable(path) if fresh else _connected(path)
        with _whole(path):
            self._noted = None if fresh else _agreed(self._connection, settings, path)
        other_limits = self._noted is not None and self._noted.get("limits") != settings.get("limits")
        self._tried_again: tuple[Reason, ...] = LIMITED if other_limits else ()

    @classmethod
    @contextmanager
    def open(cls, path: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> Iterator[Journal]:
        """Opens the journal of a run with these settings. What it holds is left as it is until the run begins.

        Under `limits` they hold what shapes no score: where that differs, what the old limits stopped is tried again.

        Raises:
            InputError: it was made with other settings, is no journal, or another process is using it.
            OutputError: it cannot be written there.
        """
        with ExitStack() as stack:
            stack.enter_context(_mapped(path))
            stack.enter_context(_lock(path))
            stack.callback(_remove_empty, path)
            journal = cls(path, json.loads(json.dumps({"journal": VERSION, **settings})), fresh)
            stack.callback(journal.close)
            yield journal

    def close(self) -> None:
        """Closes the file; what was remembered is there."""
        self._connection.close()

    def begin(self, asked: Mapping[str, State | None]) -> int:
        """Notes the settings and the rows that are asked for, and forgets what does not count for this run.

        asked: the names on the rows, in order, and the state of the file that is there for each. Returns how many
        finished videos the run before asked for and this one does not.
        """
        if self._fresh:
            self.close()
            _remove(self._path)
            self._connection = _connected(self._path)
        with _whole(self._path):
            before = _asked(self._connection) or {}
        self._connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
        self._connection.execute("INSERT INTO settings VALUES (?)", [json.dumps(self._settings)])
        self._forget(asked)
        rows = [(_spelt(name), state is not None) for name, state in asked.items()]
        self._connection.executemany("INSERT INTO asked VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")
        self._noted, self._tried_again, self._fresh = self._settings, (), False
        finished = {_read(name) for (name,) in self._connection.execute("SELECT filename FROM videos")}
        return len(finished & before.keys() - asked.keys())

    def _forget(self, asked: Mapping[str, State | None]) -> None:
        """The rows of files that have changed, and of those that the limits of before stopped."""
        reasons = [[str(reason)] for reason in self._tried_again]
        self._connection.executemany("DELETE FROM videos WHERE reason = ?", reasons)
        states = [(_spelt(name), *state) for name, state in asked.items() if state is not None]
        self._connection.executemany("DELETE FROM videos WHERE filename = ? AND (size, modified_ns) != (?, ?)", states)

    def done(self, paths: Mapping[str, Path]) -> dict[str, tuple[Prediction, int]]:
        """The finished rows of those of the videos (name on the row -> file) that have not changed since.

        With each, the windows that its plan was allowed.
        """
        if self._noted is None:
            return {}
        with _whole(self._path):  # as bytes: of what is no text SQLite says what it says of a disk that fails
            rows = self._connection.execute(
                "SELECT filename, size, modified_ns, CAST(row AS BLOB), windows FROM videos"
            )
            known = {_read(name): (state, row, windows) for name, *state, row, windows in rows}
            found = {
                name: (_prediction(row), windows)
                for name, (state, row, windows) in ((name, known[name]) for name in paths if name in known)
                if tuple(state) == state_of(paths[name])
            }
        return {name: row for name, row in found.items() if row[0].reason not in self._tried_again}

    def add(self, state: State, prediction: Prediction, windows: int) -> None:
        """Remembers a finished video, in one transaction that is on the disk when this returns.

        state: of its file, taken before it was opened, so that one that has changed since is scored again.
        """
        self._connection.execute(
            "INSERT OR REPLACE INTO videos VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                _spelt(prediction.filename),
                *state,
                windows,
                str(prediction.reason),
                prediction.probability,
                json.dumps(from_prediction(prediction)),
            ),
        )


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        _refuse_foreign(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _replaceable(path: Path) -> sqlite3.Connection:
    """As `_connected`, but that a journal which is damaged, or no database at all, may be replaced."""
    try:
        return _connected(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return sqlite3.connect(":memory:")


def _agreed(connection: sqlite3.Connection, settings: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """The settings of the rows that there are, None where there are none; refuses others, but for the limits."""
    if not {"settings", "videos"} <= _tables(connection):
        return None
    noted = connection.execute("SELECT CAST(json AS BLOB) FROM settings WHERE EXISTS (SELECT 1 FROM videos)").fetchone()
    old: dict[str, Any] | None = json.loads(noted[0]) if noted else None
    _refuse_other(old or settings, settings, path)
    return old


def _refuse_other(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> None:
    """Scores of other settings are never mixed in; the limits shape none."""
    differ = [name for name in sorted({*old, *new} - {"limits"}) if old.get(name) != new.get(name)]
    if differ:
        changes = "; ".join(f"{name} was {old.get(name)} and is {new.get(name)}" for name in differ)
        raise InputError(
            f"{path} remembers a run with other settings ({changes}): use --fresh (fresh=True) to start over, or "
            "another --out to keep both"
        )


def _spelt(name: str) -> bytes:
    """A file name as the journal has it: the bytes of the file system where that has UTF-8, as nearly all do."""
    return name.encode("utf-8", "surrogateescape")


def _read(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _asked(connection: sqlite3.Connection) -> dict[str, bool] | None:
    if "asked" not in _tables(connection):
        return None
    rows = connection.execute("SELECT filename, there FROM asked ORDER BY rowid")
    return {_read(name): bool(there) for name, there in rows}


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Another program's database is left as it is: nothing is added to it, nothing goes."""
    for table in sorted(_tables(connection)):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({json.dumps(table)})")]
        if columns != COLUMNS.get(table):
            raise InputError(f"{path} is no journal of dfx (it holds a table {table!r}): name another --out")


def state_of(path: Path) -> State:
    """Size in bytes and time of change in ns, by which a journal knows a file again; -1 where there is none."""
    try:
        state = path.stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _prediction(row: str | bytes) -> Prediction:
    return to_prediction(json.loads(row))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Maps what is wrong with a journal that SQLite still reads: bytes that are no text, rows that are none of dfx."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): remove it, or use --fresh (fresh=True)") from error


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"cannot write the journal {path} ({error}): name an --out whose folder can be written"
        ) from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is no journal of dfx ({error}): remove it, or use --fresh (fresh=True)") from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An exclusive lock on a file of its own, which the system frees however this process ends."""
    lock = path.with_name(path.name + ".lock")
    while True:
        with _opened(lock) as file:
            if not _try_lock(file):
                raise InputError(f"another run is using {path}: wait for it, stop it, or name another --out")
            if not _still_there(lock, file):
                continue  # the run before us removed it after we had opened it
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
            return


def _opened(lock: Path) -> IO[str]:
    try:
        return lock.open("a")
    except OSError as error:
        raise OutputError(
            f"cannot write {lock} ({error.strerror}): name an --out whose folder can be written"
        ) from error


def _still_there(lock: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _try_lock(file: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: there the database's own lock is all there is
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # flock(2): taken, in the words of one file system or another
        return False
    except OSError:  # a file system without locks: the database's own is all there is
        return True
    return True


def _remove(path: Path) -> None:
    for stale in (path, path.with_name(path.name + "-journal")):
        with suppress(FileNotFoundError):
            stale.unlink()


def _remove_empty(path: Path) -> None:
    """What SQLite made of a file that nothing was written to."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()
