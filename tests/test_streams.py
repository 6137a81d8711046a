"""Standard streams that are closed, or no files: the results are the same, and nothing is printed into them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import dfx as run

from dfx.cli.shared import show_rows
from dfx.streams import bar, note

SHELL = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
API = """
import os, sys
for number in range(3):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
import dfx
dfx.predict_dir("videos", "api.csv")
dfx.frames("videos", "pictures", count=1, progress=True)
dfx.inspect("videos", progress=True).to_csv("facts.csv")
"""


@pytest.fixture
def home(tmp_path: Path, samples: Path) -> Path:
    (tmp_path / "videos").symlink_to(samples)
    return tmp_path


def shell(home: Path, redirected: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=home)


def scores(path: Path) -> dict[str, str]:
    with path.open(newline="") as lines:
        return {row["filename"]: row["label"] for row in csv.DictReader(lines)}


@SHELL
@pytest.mark.parametrize("redirected", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_no_score(home: Path, samples: Path, redirected: str) -> None:
    done = shell(home, redirected, "-m", "dfx", "predict", "videos", "--out", "s.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert scores(home / "s.csv").keys() == scores(samples / "golden.csv").keys()
    assert [name for name, label in scores(home / "s.csv").items() if label == "0.500000"] == ["no_face.mp4"]


@SHELL
def test_closed_streams_cost_no_picture(home: Path) -> None:
    done = shell(home, "<&- >&- 2>&-", "-m", "dfx", "frames", "videos", "--out", "pictures", "--count", "1")
    assert done.returncode == 0
    assert [path.read_bytes()[:4] for path in (home / "pictures").iterdir()] == [b"\x89PNG"] * 3


@SHELL
def test_a_program_without_streams_may_call_dfx(home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", API], check=False, cwd=home)
    assert done.returncode == 0
    assert set(scores(home / "api.csv").values()) != {"0.500000"}
    assert len(list((home / "pictures").iterdir())) == 3
    assert (home / "facts.csv").exists()


def test_bars_and_notes_do_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    note("nobody reads this")
    with bar(total=2, unit="video") as shown:
        shown.set_postfix_str("1 file")
        shown.update()
    assert list(bar(range(3), "counting")) == [0, 1, 2]


def test_bars_and_notes_are_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with bar(total=1, title="pictures") as shown:
        note("the CPU serves")
        shown.update()
    with bar(total=1, title="hidden", shown=False) as hidden:
        hidden.update()
    said = capsys.readouterr()
    assert said.out == ""
    assert "the CPU serves\n" in said.err
    assert "pictures: 100%" in said.err
    assert "hidden" not in said.err


@SHELL
@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/fd/1", "link.csv"])
@pytest.mark.parametrize("redirected", ["> red.csv", "| cat"])
def test_a_stream_is_no_place_for_a_csv(home: Path, out: str, redirected: str) -> None:
    (home / "link.csv").symlink_to("/dev/stdout")
    command = f'"$@" {redirected}' if "|" in redirected else f'exec "$@" {redirected}'
    arguments = [sys.executable, "-m", "dfx", "predict", "videos", "--quiet", "--out", out]
    done = subprocess.run(
        ["sh", "-c", command, "sh", *arguments], capture_output=True, text=True, check=False, cwd=home
    )
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: cannot write {out} (it is a stream that is open already, not a file): name ")
    assert len(done.stderr.splitlines()) == 1
    assert not [path for path in home.iterdir() if path.is_file() and path.stat().st_size], "nothing was written"
    assert not Path("/dev/stdout.journal").exists()


def test_a_narrow_table_is_folded_and_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    remedy = 'pip install "dfx[gpu-cu13]"; ' + "a_word_that_is_longer_than_the_terminal_is_wide_" * 2
    show_rows(("part", "remedy", "figure"), [("GPU", remedy, 123456.75), ("manipulated_video_number_1.mp4", "", 0.5)])
    lines = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    part, folded, figure = ("".join(column).replace(" ", "") for column in zip(*lines, strict=True))
    assert folded == f"remedy{remedy}".replace(" ", "")
    assert part == "partGPUmanipulated_video_number_1.mp4"
    assert figure == "figure1234570.5"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_a_terminal_cannot_show_is_spelt_out(home: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    (home / "их").mkdir()
    (home / "их" / "видео.mp4").touch()
    done = run("inspect", home / "их", cwd=home)
    assert done.returncode == 0, done.stderr
    assert r"| \u0432\u0438\u0434\u0435\u043e.mp4 | corrupt: " in done.stdout


def test_the_container_of_a_file_with_any_name_is_shown(
    home: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    (home / "кино.mp4").symlink_to(samples / "real.mp4")
    done = run("probe", "кино.mp4", cwd=home)
    assert done.returncode == 0, done.stderr
    assert r"\u043a\u0438\u043d\u043e.mp4" in done.stdout
