"""Tables: exact on the disk, safe to look at."""

from __future__ import annotations

import csv
import math
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dfx
from dfx.errors import DependencyError, OutputError
from dfx.files import check_place
from dfx.results import Predictions
from dfx.table import SHOWN, Tabular, text_of, write_csv
from dfx.values import Prediction, Reason

EVIL = "=1+1,\"quoted\"\nline\t\x1b[31m<script>alert('x')</script>\udcff.mp4"


@dataclass(frozen=True, slots=True, repr=False)
class Pairs(Tabular):
    items: tuple[tuple[str, float], ...]

    def columns(self) -> tuple[str, ...]:
        return ("name", "value")

    def rows(self) -> list[tuple[str, float]]:
        return list(self.items)


def test_any_name_comes_back_from_the_csv(tmp_path: Path) -> None:
    Pairs(((EVIL, 0.25),)).to_csv(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        assert list(csv.reader(lines)) == [["name", "value"], [EVIL, "0.25"]]


file_names = st.binary(min_size=1, max_size=12).map(lambda name: name.decode("utf-8", "surrogateescape"))


@given(names=st.lists(file_names | st.text("\r\n\x0b\x85\u2028,\"' =", min_size=1), min_size=1, max_size=5))
def test_whatever_a_file_system_may_hold_is_exact(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "names.csv"
    write_csv(path, ("name", "value"), ((name, "0.5") for name in names))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        assert list(csv.reader(lines)) == [["name", "value"], *([name, "0.5"] for name in names)]


def test_nothing_in_a_name_reaches_the_terminal_or_the_page() -> None:
    table = Pairs(((EVIL, 0.25),))
    assert "\x1b" not in repr(table)
    assert len(repr(table).splitlines()) == 2
    repr(table).encode("utf-8")
    assert "<script>" not in table._repr_html_()
    assert "&lt;script&gt;" in table._repr_html_()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.123456, "0.1235"),
        (12345.6, "12346"),
        (9999.9, "10000"),
        (-21600.0, "-21600"),
        (1e-7, "1e-07"),
        (math.inf, "inf"),
    ],
)
def test_large_numbers_are_written_out(number: float, text: str) -> None:
    assert text_of(number) == text


def test_long_tables_say_how_much_is_not_shown() -> None:
    table = Pairs(tuple((f"n{number}", float(number)) for number in range(SHOWN + 7)))
    assert repr(table).endswith("... 7 more")
    assert table._repr_html_().count("<tr>") == SHOWN + 1


def test_an_old_file_survives_a_failed_write(tmp_path: Path) -> None:
    class Broken(Pairs):
        def rows(self) -> Iterator[tuple[str, float]]:  # type: ignore[override]
            yield "a", 1.0
            raise OSError(28, "No space left on device")

    (tmp_path / "t.csv").write_text("old")
    with pytest.raises(OutputError, match="No space left"):
        Broken(()).to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[str, float]]:
        yield "a", 1.0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_csv(tmp_path / "t.csv", ("name", "value"), rows())
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no/such"):
        Pairs(()).to_csv(tmp_path / "no" / "such" / "t.csv")


@pytest.mark.parametrize(("name", "why"), [("no/t.csv", "No such file"), ("folder", "it is a folder")])
def test_where_nothing_can_be_written_is_known_beforehand(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=f"{name} .{why}"):
        check_place(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe of the file system")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for write in (check_place, Pairs(()).to_csv):
        with pytest.raises(OutputError, match=r"pipe\.csv .it is a device or a pipe"):
            write(tmp_path / "pipe.csv")
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs a socket of the file system")
def test_a_socket_is_not_replaced_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("t.csv")
        for write in (check_place, Pairs(()).to_csv):
            with pytest.raises(OutputError, match=r"t\.csv .it is a device or a pipe or a socket"):
                write("t.csv")
        assert Path("t.csv").is_socket()


@pytest.mark.parametrize("name", ["a.mp4", "a.MOV", "a.ts"])
def test_no_table_has_the_name_of_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / "link.csv").symlink_to(name)
    for write in (check_place, Pairs(()).to_csv):
        for path in (tmp_path / name, tmp_path / "link.csv"):
            with pytest.raises(OutputError, match="its ending is that of a video"):
                write(path)
    assert not (tmp_path / name).exists()


@pytest.mark.skipif(os.name != "posix", reason="making a link may need rights")
def test_what_a_link_leads_to_is_replaced_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("there.csv")
    Pairs((("a", 1),)).to_csv(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert "a,1" in (tmp_path / "there.csv").read_text()


def test_asking_for_a_place_leaves_it_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("old")
    check_place(tmp_path / "t.csv")
    check_place(tmp_path / "new.csv")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"t.csv": "old"}


def test_pandas_gets_every_column() -> None:
    pandas = pytest.importorskip("pandas")
    rows = Predictions((Prediction("a.mp4", 0.7, Reason.OK, faces=2), Prediction("b.mp4", 0.5, Reason.CORRUPT, "cut")))
    frame = rows.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["reason"].tolist() == ["ok", "corrupt"]
    assert frame["probability"].tolist() == [0.7, 0.5]


def test_without_pandas_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(DependencyError, match="pip install pandas"):
        Pairs(()).to_pandas()


def test_predictions_are_a_sequence_that_counts_its_reasons(tmp_path: Path) -> None:
    rows = Predictions(tuple(Prediction(f"{n}.mp4", n / 3, Reason.OK if n else Reason.NO_FACE) for n in range(3)))
    assert rows.reasons == {"ok": 2, "no_face": 1}
    assert rows[1].filename == "1.mp4"
    assert len(rows[1:]) == 2
    rows.to_csv(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "filename,label\n0.mp4,0.000000\n1.mp4,0.333333\n2.mp4,0.666667\n"


def test_single_values_show_themselves(samples: Path) -> None:
    info = dfx.probe(samples / "real.mp4")
    assert "h264" in repr(info)
    assert "<td>h264</td>" in info._repr_html_()
    prediction = dfx.predict_video(samples / "real.mp4")
    assert repr(prediction).startswith("Prediction('real.mp4', P(fake) 0.")
    assert "P(fake) 0." in prediction._repr_html_()
    assert "<table>" in prediction._repr_html_()
    nobody = dfx.predict_video(samples / "no_face.mp4")._repr_html_()
    assert "no_face" in nobody
    assert "<table>" not in nobody
    assert len(prediction.to_pandas()) == len(prediction.clips) > 0
