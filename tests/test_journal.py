"""The journal: exact, whole after a kill, one writer at a time, never mixed."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dfx.errors import InputError, OutputError
from dfx.journal import VERSION, Journal, read, state_of
from dfx.values import ClipScore, Dropped, Prediction, Reason, Verdict

SETTINGS = {"model": "abc", "windows": 2, "clip_range": [0.01, 0.99]}
EVIDENCE = ClipScore(1, 0.1, 0.2 + 0.1, (0.1, 1 / 3, 1e-300, 1e300), 0.9, -1 / 7)
DROPPED = Dropped(Verdict.POSTER, 0.1, 0.2 + 0.1, (0.1, 1 / 3, 1e-300, 1e300), 0.9)
ROW = Prediction("odd \udcff\n'\".mp4", 1 / 3, Reason.OK, "detail", 2, (EVIDENCE, EVIDENCE), 2, 0.25, (DROPPED,))


@contextmanager
def begun(path: Path, settings: Mapping[str, object], **words: bool) -> Iterator[Journal]:
    """The journal of a run that begins."""
    with Journal.open(path, settings, **words) as journal:
        journal.begin({})
        yield journal


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"content")
    return path


def test_rows_come_back_to_the_bit(tmp_path: Path, video: Path) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
    with Journal.open(tmp_path / "j", SETTINGS) as journal:
        ((back, windows),) = journal.done({ROW.filename: video}).values()
    assert windows == 2
    assert back == ROW
    assert back.seconds == ROW.seconds


@pytest.mark.parametrize("version", [1, 2, VERSION])
def test_a_journal_from_before_dropped_tracks_is_read_but_not_gone_on_with(
    tmp_path: Path, video: Path, version: int
) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
    with sqlite3.connect(tmp_path / "j") as old:
        old.execute("UPDATE settings SET json = json_set(json, '$.journal', ?)", [version])
        if version < VERSION:
            old.execute("UPDATE videos SET row = json_remove(row, '$.dropped')")
    old.close()
    if version == 1:
        with pytest.raises(InputError, match=r"of version 1; this dfx reads 2, 3, 4"):
            read(tmp_path / "j")
        return
    ((row, _, _),) = read(tmp_path / "j").rows.values()
    assert row == (ROW if version == VERSION else replace(ROW, dropped=()))
    if version < VERSION:
        with pytest.raises(InputError, match="journal was 2 and is 4"), Journal.open(tmp_path / "j", SETTINGS):
            pass


def test_a_changed_or_unknown_video_is_not_done(tmp_path: Path, video: Path) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
        assert journal.done({"another.mp4": video}) == {}
        video.write_bytes(b"longer content")
        assert journal.done({ROW.filename: video}) == {}


@pytest.mark.parametrize("change", [{"model": "xyz"}, {"windows": 3}, {"extra": 1}])
def test_other_settings_are_named_and_not_mixed(tmp_path: Path, video: Path, change: dict[str, object]) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
    (name,) = change
    with (
        pytest.raises(InputError, match=rf"{name} was .* and is .*--fresh"),
        Journal.open(tmp_path / "j", SETTINGS | change),
    ):
        pass
    with Journal.open(tmp_path / "j", SETTINGS | change, fresh=True) as journal:
        assert journal.done({ROW.filename: video}) == {}


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("somebody's notes\n" * 100)
    with pytest.raises(InputError, match="no journal of dfx"), Journal.open(tmp_path / "j", SETTINGS):
        pass
    assert (tmp_path / "j").read_text().startswith("somebody's notes")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE settings SET json = CAST(x'ff00fe' AS TEXT)",
        "UPDATE settings SET json = '[1]'",
        "UPDATE videos SET row = CAST(x'ff00fe' AS TEXT)",
        "UPDATE videos SET row = '{}'",
    ],
)
def test_a_damaged_journal_is_refused_in_words(tmp_path: Path, video: Path, damage: str) -> None:
    with Journal.open(tmp_path / "j", SETTINGS) as journal:
        journal.begin({ROW.filename: state_of(video)})
        journal.add(state_of(video), ROW, 2)
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute(damage)
    connection.close()
    with (
        pytest.raises(InputError, match=r"is damaged .*remove it, or use --fresh"),
        Journal.open(tmp_path / "j", SETTINGS) as journal,
    ):
        journal.done({ROW.filename: video})
    with Journal.open(tmp_path / "j", SETTINGS, fresh=True) as journal:
        assert journal.done({ROW.filename: video}) == {}


def test_a_journal_that_was_cut_as_it_was_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"SQLite format 3\0" + bytes(100))
    (tmp_path / "j-journal").write_bytes(b"rest")
    with pytest.raises(InputError, match="was cut while it wrote: start it again"):
        read(tmp_path / "j")


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "j") as other:
        other.execute("CREATE TABLE bookmarks (url)")
    other.close()
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(InputError, match=r"no journal of dfx.*'bookmarks'"), Journal.open(tmp_path / "j", SETTINGS):
        pass
    assert (tmp_path / "j").read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot be written|cannot write"),
        Journal.open(tmp_path / "no" / "j", SETTINGS),
    ):
        pass


def test_a_second_writer_is_refused_and_a_dead_one_forgotten(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dfx.journal import Journal\n"
        f"with Journal.open(Path({str(tmp_path / 'j')!r}), {SETTINGS!r}): print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(InputError, match="another run"), Journal.open(tmp_path / "j", SETTINGS):
        pass
    other.kill()
    other.communicate()
    with Journal.open(tmp_path / "j", SETTINGS):
        pass


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_what_add_returned_from_survives_a_kill(tmp_path: Path, video: Path) -> None:
    code = (
        "import itertools; from dataclasses import replace; from pathlib import Path\n"
        "from dfx.journal import Journal, state_of; from dfx.values import Prediction, Reason\n"
        f"with Journal.open(Path({str(tmp_path / 'j')!r}), {SETTINGS!r}) as journal:\n"
        "    journal.begin({})\n"
        "    for n in itertools.count():\n"
        f"        journal.add(state_of(Path({str(video)!r})), Prediction(f'{{n}}', 0.5, Reason.OK), 2)\n"
        "        print(n, flush=True)"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.1)
        writer.send_signal(signal.SIGKILL)
        said = writer.communicate()[0].split()
        last = int(said[-1]) if said else 0
        with Journal.open(tmp_path / "j", SETTINGS) as journal:
            done = journal.done({str(n): video for n in range(last + 2)})
        assert {str(n) for n in range(last + 1)} <= set(done)


def test_no_lock_is_left_behind(tmp_path: Path) -> None:
    with begun(tmp_path / "j", SETTINGS):
        pass
    with pytest.raises(KeyboardInterrupt), Journal.open(tmp_path / "j", SETTINGS):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", SETTINGS):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with Journal.open(tmp_path / "j", SETTINGS):
        assert child.poll() is None, "it lives, and holds nothing"
    child.communicate(b"\n")


def test_a_file_system_without_locks_is_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", flock)
    with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert journal.done({}) == {}


def test_a_run_that_never_begins_leaves_all_as_it_was(tmp_path: Path, video: Path) -> None:
    """With `fresh` above all: what stands in the way of a run may show after the journal was opened."""
    with Journal.open(tmp_path / "j", SETTINGS):
        pass
    assert not (tmp_path / "j").exists()
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
    before = (tmp_path / "j").read_bytes()
    with Journal.open(tmp_path / "j", {"model": "xyz"}, fresh=True) as journal:
        assert journal.done({ROW.filename: video}) == {}
    assert (tmp_path / "j").read_bytes() == before
    with begun(tmp_path / "j", {"model": "xyz"}, fresh=True):
        pass
    assert read(tmp_path / "j").rows == {}


def test_settings_that_nothing_was_scored_with_bind_nobody(tmp_path: Path) -> None:
    with begun(tmp_path / "j", SETTINGS):
        pass
    with begun(tmp_path / "j", {"model": "xyz"}) as journal:
        assert journal.done({}) == {}
    assert read(tmp_path / "j").settings == {"journal": VERSION, "model": "xyz"}


def test_not_even_a_fresh_run_forgets_another_programs_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "j") as other:
        other.execute("CREATE TABLE bookmarks (url)")
    other.close()
    with pytest.raises(InputError, match="'bookmarks'"), Journal.open(tmp_path / "j", SETTINGS, fresh=True):
        pass
    assert b"bookmarks" in (tmp_path / "j").read_bytes()


def test_a_table_of_the_same_name_makes_no_journal(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "j") as other:
        other.execute("CREATE TABLE settings (key, value)")
        other.execute("INSERT INTO settings VALUES ('theirs', 1)")
    other.close()
    before = (tmp_path / "j").read_bytes()
    for fresh in (False, True):
        with (
            pytest.raises(InputError, match="'settings'"),
            Journal.open(tmp_path / "j", SETTINGS, fresh=fresh) as journal,
        ):
            journal.begin({})
    assert (tmp_path / "j").read_bytes() == before


@pytest.mark.parametrize("damage", ["no database", "its first page alone is whole", "it may not be written"])
def test_a_fresh_run_replaces_what_cannot_be_gone_on_with(tmp_path: Path, video: Path, damage: str) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        for number in range(200):
            journal.add(state_of(video), replace(ROW, filename=str(number)), 2)
    whole = (tmp_path / "j").read_bytes()
    if damage == "no database":
        (tmp_path / "j").write_text("notes\n" * 1000)
    elif damage == "it may not be written":
        (tmp_path / "j").chmod(0o400)
    else:
        (tmp_path / "j").write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with begun(tmp_path / "j", SETTINGS, fresh=True) as journal:
        journal.add(state_of(video), ROW, 2)
    assert list(read(tmp_path / "j").rows) == [ROW.filename]


def test_what_was_asked_for_is_told_in_order(tmp_path: Path) -> None:
    for asked in ({"b.mp4": (1, 2), "\udcffa.mp4": None}, {"c.mp4": (3, 4)}):
        with Journal.open(tmp_path / "j", SETTINGS) as journal:
            journal.begin(asked)
        found = read(tmp_path / "j").asked
        assert found is not None
        assert list(found.items()) == [(name, state is not None) for name, state in asked.items()]


def test_the_row_of_a_file_that_has_changed_is_forgotten(tmp_path: Path, video: Path) -> None:
    with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert journal.begin(dict.fromkeys("abcd", state_of(video))) == 0
        for name in ("a", "b", "c"):
            journal.add(state_of(video), replace(ROW, filename=name), 2)
    with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert journal.begin({"a": (1, 2), "b": state_of(video)}) == 1, "c is not asked for, and d was not finished"
        assert journal.begin({"a": (1, 2)}) == 1, "b; c was not asked for the last time"
    assert list(read(tmp_path / "j").rows) == ["b", "c"]


def test_a_journal_that_did_not_note_what_was_asked_for_is_gone_on_with(tmp_path: Path, video: Path) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
    with sqlite3.connect(tmp_path / "j") as old:
        old.execute("DROP TABLE asked")
    old.close()
    assert read(tmp_path / "j").asked is None
    with begun(tmp_path / "j", SETTINGS) as journal:
        assert list(journal.done({ROW.filename: video})) == [ROW.filename]
    assert read(tmp_path / "j").asked == {}


def test_other_limits_try_again_what_the_old_ones_stopped(tmp_path: Path, video: Path) -> None:
    rows = [replace(ROW, filename=f"{reason}", reason=reason) for reason in (Reason.OK, Reason.TIMEOUT, Reason.CORRUPT)]
    with begun(tmp_path / "j", SETTINGS | {"limits": 1}) as journal:
        for row in rows:
            journal.add(state_of(video), row, 2)
    paths = dict.fromkeys([row.filename for row in rows], video)
    with Journal.open(tmp_path / "j", SETTINGS | {"limits": 1}) as journal:
        assert set(journal.done(paths)) == set(paths)
    with Journal.open(tmp_path / "j", SETTINGS | {"limits": 2}) as journal:
        assert set(journal.done(paths)) == {"ok", "corrupt"}
        assert "timeout" in read(tmp_path / "j").rows, "until the run begins"
        journal.begin({})
        assert set(journal.done(paths)) == set(read(tmp_path / "j").rows) == {"ok", "corrupt"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE settings SET json = json_set(json, '$.journal', 1)", "of version 1; this dfx reads 2, 3, 4"),
        ("UPDATE videos SET filename = 'a.mp4'", "cannot be read as a journal of dfx"),
        ("UPDATE videos SET row = '{}'", "cannot be read as a journal of dfx"),
        ("UPDATE videos SET row = 'nonsense'", "cannot be read as a journal of dfx"),
        ("UPDATE settings SET json = '[]'", "cannot be read as a journal of dfx"),
    ],
)
def test_rows_that_cannot_be_read_are_said_in_one_line(tmp_path: Path, video: Path, change: str, words: str) -> None:
    with begun(tmp_path / "j", SETTINGS) as journal:
        journal.add(state_of(video), ROW, 2)
    with sqlite3.connect(tmp_path / "j") as odd:
        odd.execute("UPDATE videos SET filename = 'as text', row = '{}'" if "version 1" in words else change)
        odd.execute(change)
    odd.close()
    with pytest.raises(InputError, match=words):
        read(tmp_path / "j")
