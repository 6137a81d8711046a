"""Outputs: no file of a user's is lost to a result, and dfx's own are replaced."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import dfx
from dfx.cli import main
from dfx.errors import InputError, OutputError
from dfx.faces import BOXES, SHEET
from dfx.inspect import TABLES
from dfx.outputs import PAGE, SCORES, Forms, check_apart, check_output

LABELS = "filename,label\nreal.mp4,REAL\nmanipulated.mp4,FAKE\n"
REPORT = ["report", "s.csv.journal", "--videos", "videos"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A folder as a user may have it: videos, labels, and a run of them."""
    home = tmp_path_factory.mktemp("outputs")
    shutil.copytree(samples, home / "videos")
    for name in ("a.mp4", "b.mp4", "strange.bin"):
        shutil.copy(samples / "real.mp4", home / name)
    (home / "labels.csv").write_text(LABELS)
    (home / "sample.csv").write_text("filename,label\nmanipulated.mp4,0.5\nno_face.mp4,0.5\nreal.mp4,0.5\n")
    (home / "videos" / "metadata.json").write_text('{"real.mp4": {"label": "REAL"}}')
    (home / "index.html").write_text("<!doctype html>\n<title>my own page</title>\n")
    (home / "link.csv").symlink_to("a.mp4")
    dfx.predict_dir(home / "videos", home / "s.csv", device="cpu", progress=False)
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "--quiet", "--out", "a.mp4", "b.mp4"], "cannot write a.mp4 (its ending is that of a video)"),
        (["predict", "a.mp4", "--out", "a.mp4"], "a.mp4 would take the place of a.mp4"),
        (["predict", "videos", "--out", "new.MKV"], "its ending is that of a video"),
        (["predict", "a.mp4", "--out", "link.csv"], "link.csv would take the place of a.mp4"),
        (["predict", "b.mp4", "--out", "link.csv"], "its ending is that of a video"),
        (["predict", "strange.bin", "--out", "strange.bin"], "would take the place of strange.bin"),
        (["predict", "a.mp4", "b.mp4", "--out", "m.csv", "--report", "b.mp4"], "would take the place of b.mp4"),
        (["predict", "a.mp4", "--out", "m.csv", "--report", "m.txt"], "'.txt'; one of .html .htm is needed"),
        (["predict", "videos", "--report", "index.html"], "index.html is there already"),
        (["predict", "videos", "--out", "labels.csv"], "labels.csv is there already"),
        (["predict", "videos", "--out", "s.csv.journal"], "s.csv.journal is there already"),
        (["predict", "videos", "--sample-submission", "sample.csv", "--out", "sample.csv"], "the place of sample.csv"),
        ([*REPORT, "--out", "videos/x.mp4"], "'.mp4'; one of .html .htm is needed"),
        ([*REPORT, "--out", "s.csv.journal"], "would take the place of s.csv.journal"),
        ([*REPORT, "--out", "s.csv"], "would take the place of s.csv"),
        ([*REPORT, "--labels", "labels.csv", "--out", "labels.csv"], "'.csv'; one of .html .htm is needed"),
        (
            ["inspect", "videos", "--metadata", "labels.csv", "--out", "labels.csv"],
            "would take the place of labels.csv",
        ),
        (["inspect", "videos", "--out", "labels.csv"], "labels.csv is there already"),
        (["inspect", "videos", "--out", "videos/metadata.json"], "videos/metadata.json is there already"),
        (["faces", "videos", "--out", "labels.csv"], "labels.csv is there already"),
        (["faces", "videos", "--sheet", "a.mp4"], "'.mp4'; .png is needed"),
    ],
)
def test_a_users_file_is_refused_before_any_work(
    scored: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(scored)
    before = contents(scored)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert contents(scored) == before


def test_python_is_told_the_same(scored: Path) -> None:
    before = contents(scored)
    video, model = scored / "strange.bin", scored / "mine.onnx"
    with pytest.raises(OutputError, match="would take the place"):
        dfx.predict_dir(video, video, progress=False)
    with pytest.raises(OutputError, match="ending is that of a video"):
        dfx.predict_dir(scored / "videos", scored / "out.mp4", progress=False)
    with pytest.raises(OutputError, match="would take the place"):
        dfx.predict_dir(video, model, settings=dfx.Settings(models=(model,)), progress=False)
    with pytest.raises(OutputError, match="ending is that of a video"):
        dfx.inspect(scored / "b.mp4").to_csv(scored / "a.mp4")
    assert contents(scored) == before


def test_the_journal_takes_no_inputs_place(scored: Path) -> None:
    shutil.copy(scored / "a.mp4", scored / "x.journal")
    with pytest.raises(OutputError, match=r"x\.journal would take the place"):
        dfx.predict_dir(scored / "x.journal", scored / "x", fresh=True, progress=False)
    assert (scored / "x.journal").read_bytes() == (scored / "a.mp4").read_bytes()


def test_what_a_run_wrote_is_replaced_whatever_its_name(samples: Path, tmp_path: Path) -> None:
    for _ in range(2):
        (row,) = dfx.predict_dir(samples / "no_face.mp4", tmp_path / "scores", device="cpu", progress=False)
        assert (tmp_path / "scores").read_text() == f"filename,label\n{row.filename},0.500000\n"


@pytest.mark.parametrize(
    ("forms", "name", "content", "ours"),
    [
        (SCORES, "s.csv", b"", True),
        (SCORES, "s.csv", b"filename,label\n", True),
        (SCORES, "s.csv", b"filename,label\na.mp4,1.000000\n", True),
        (SCORES, "s.csv", b'filename,label\n"a\n,b.mp4",0.500000\n', True),
        (SCORES, "s.csv", b"\xef\xbb\xbffilename,label\r\na.mp4,0.5\r\n", True),
        (SCORES, "s.csv", b"filename,label\na.mp4,1\n", False),
        (SCORES, "s.csv", b"filename,label\na.mp4,1.0\n", False),
        (SCORES, "s.csv", b'"filename","label"\r\n"a.mp4","0.25"\r\n', True),
        (SCORES, "s.csv", b"filename,label\na.mp4,5.000e-01\n", True),
        (SCORES, "s.csv", b'filename,label\n"a,0.5,b.mp4",1\n', False),
        (SCORES, "s.csv", LABELS.encode(), False),
        (SCORES, "s.csv", b"filename,label,split\na.mp4,0.500000,train\n", False),
        (SCORES, "s.csv", b"notes\n", False),
        (PAGE, "r.HTM", b"<!doctype html>\n<html><head><title>dfx report: 3 videos</title>", True),
        (PAGE, "r.html", b"<!doctype html>\n<title>mine</title>", False),
        (TABLES, "t.csv", b"filename,container,codec,profile,pix_fmt\n", True),
        (TABLES, "t.csv", b"filename,label\n", False),
        (TABLES, "t.json", b'[\n {\n  "filename": "a.mp4"', True),
        (TABLES, "t.json", b"[]\n", True),
        (TABLES, "t.json", b'{"a.mp4": {"label": "FAKE"}}', False),
        (TABLES, "t.parquet", b"PAR1\x15", True),
        (BOXES, "t.csv", b"filename,frame,seconds,detector,left\n", True),
        (SHEET, "t.png", b"\x89PNG\r\n", True),
        (SHEET, "t.png", b"GIF89a", False),
    ],
)
def test_what_is_replaced_begins_as_dfx_writes_it(
    tmp_path: Path, forms: Forms, name: str, content: bytes, ours: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    if ours:
        check_output(tmp_path / name, forms)
    else:
        with pytest.raises(OutputError, match=r"is there already.*name another file, or remove it first"):
            check_output(tmp_path / name, forms)
    assert (tmp_path / name).read_bytes() == content


def test_endings_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in '\.txt'; one of \.csv \.parquet \.json is needed"):
        check_output(tmp_path / "t.txt", TABLES)
    with pytest.raises(InputError, match=r"ends in ''; \.png is needed"):
        check_output(tmp_path / "sheet", SHEET)


def test_one_file_is_known_by_other_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "twin")
    (tmp_path / "new").symlink_to("to come")
    for one, other in (("link", "a"), ("a", "link"), ("twin", "a"), ("new", "to come"), ("to come", "./to come")):
        with pytest.raises(OutputError, match="would take the place"):
            check_apart(tmp_path / one, [tmp_path / "other", tmp_path / other])
    check_apart(tmp_path / "a", [tmp_path / "new", tmp_path / "other"])
