"""Hostile input: files that lie about their size, that are no files, and machines that fail."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import clip, encode, numbered

import dfx
from dfx import pool as pool_module
from dfx.decode.pyav import PyAVDecoder
from dfx.device import Crew
from dfx.errors import CorruptVideoError, ModelError, TooLargeVideoError
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import Limits
from dfx.values import Prediction, Reason


def predict(folder: Path, tmp_path: Path, **settings: object) -> dict[str, Prediction]:
    out = tmp_path / "out.csv"
    rows = dfx.predict_dir(folder, out, progress=False, **settings)  # type: ignore[arg-type]
    with out.open(newline="") as lines:
        assert len(list(csv.reader(lines))) == len(rows) + 1
    return {row.filename: row for row in rows}


def bomb_of_packets(path: Path, count: int) -> Path:
    """An mp4 whose sample table says that `count` samples of one byte follow each other; and so they do."""
    data = bytearray(clip(path, 4).read_bytes())
    for kind, fields in ((b"stsz", (1, count)), (b"stsc", (1, 1, count, 1)), (b"stts", (1, count, 512))):
        at = data.index(kind) + 8
        struct.pack_into(f">{len(fields)}I", data, at, *fields)
    for kind in (b"ctts", b"stss"):
        if (at := data.find(kind)) > 0:
            data[at : at + 4] = b"free"
    path.write_bytes(bytes(data) + bytes(count))
    return path


def gif_that_claims(path: Path, width: int, height: int) -> Path:
    data = bytearray(encode(path, [numbered(n) for n in range(3)], codec="gif", pix_fmt="rgb8").read_bytes())
    struct.pack_into("<HH", data, 6, width, height)
    path.write_bytes(data)
    return path


@pytest.fixture
def folder(tmp_path: Path, samples: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(samples / "real.mp4", folder / "good.mp4")
    return folder


def test_a_picture_of_256_million_pixels_is_too_large(folder: Path, tmp_path: Path) -> None:
    gif_that_claims(folder / "wide.gif", 16000, 16000)
    gif_that_claims(folder / "beyond.gif", 65535, 65535)
    rows = predict(folder, tmp_path)
    assert rows["wide.gif"].reason == Reason.TOO_LARGE
    assert "16000x16000 pixels" in rows["wide.gif"].detail
    assert rows["beyond.gif"].reason == Reason.CORRUPT, "FFmpeg itself does not believe this one"
    assert rows["good.mp4"].reason == Reason.OK


def test_three_million_packets_of_a_byte_are_too_many(folder: Path, tmp_path: Path) -> None:
    bomb_of_packets(folder / "many.mp4", 3_000_000)
    row = predict(folder, tmp_path)["many.mp4"]
    assert row.reason == Reason.TOO_LARGE
    assert "packets" in row.detail
    assert row.seconds < 60


def test_a_clip_that_claims_seven_hours_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        for number, pts in enumerate((0, 25, 7 * 3600 * 25)):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(TooLargeVideoError, match=r"25200 s long; 21600 s is the limit \(--max-duration\)"):
        probe(path)
    assert probe(path, limits=Limits(duration=1e6)).frames == 3


def test_the_users_own_limits_hold(folder: Path, tmp_path: Path) -> None:
    row = predict(folder, tmp_path, limits=Limits(pixels=1000))["good.mp4"]
    assert (row.reason, row.probability) == (Reason.TOO_LARGE, 0.5)
    row = predict(folder, tmp_path, limits=Limits(duration=0.5), fresh=True)["good.mp4"]
    assert row.reason == Reason.TOO_LARGE


def test_a_decoder_refuses_pictures_that_the_header_did_not_announce(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 20))
    with pytest.raises(CorruptVideoError):
        list(PyAVDecoder(pixels=100).read(info, plan(info)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_is_no_file_does_not_hold_up_the_run(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "dangling.mp4").symlink_to(folder / "nothing.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    rows = {name: row.reason for name, row in predict(folder, tmp_path).items()}
    left = dict.fromkeys(("pipe.mp4", "dangling.mp4", "loop.mp4"), Reason.MISSING)
    assert rows == {"good.mp4": Reason.OK, **left}, "a folder is no video"


def test_a_file_that_may_not_be_read_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr("dfx.decode.container.av.open", refuse)
    row = Pipeline().predict(folder / "good.mp4")
    assert row.reason == Reason.MISSING
    assert "Permission denied" in row.detail


def test_names_that_mean_something_elsewhere_are_only_names(folder: Path, tmp_path: Path) -> None:
    names = [
        "http:%2f%2fhost.mp4",
        "concat:a|b.mp4",
        "a\nb.mp4",
        "\x1b[2J.mp4",
        "-i.mp4",
        "<img src=x>.mp4",
        "pipe:0.mp4",
    ]
    for name in names:
        shutil.copy(folder / "good.mp4", folder / name)
    rows = predict(folder, tmp_path)
    assert {row.reason for row in rows.values()} == {Reason.OK}
    assert set(rows) == {"good.mp4", *names}


def test_no_pickle_is_loaded(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, dfx\n"
        "def hook(event, args):\n"
        "    if event == 'pickle.find_class': raise SystemExit(f'a pickle named {args}')\n"
        "sys.addaudithook(hook)\n"
        f"assert dfx.predict_video({str(folder / 'good.mp4')!r}).reason == 'ok'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_model_that_changes_during_a_run_is_noticed(folder: Path, tmp_path: Path) -> None:
    settings = dfx.Settings(models=(Path(shutil.copy(dfx.Settings().models[0], tmp_path / "model.onnx")),))
    pool = pool_module.Pool(settings, Limits(), [Crew()])
    with settings.models[0].open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match=r"model\.onnx was changed while the run went on"), pool:
        pass


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_was_written(folder: Path, tmp_path: Path) -> None:
    for number in range(20):
        shutil.copy(folder / "good.mp4", folder / f"{number:02}.mp4")
    out = tmp_path / "s.csv"
    command = [sys.executable, "-m", "dfx", "predict", str(folder), "--out", str(out), "--quiet"]

    def full() -> None:  # no file may grow beyond this, which looks like a disk without room
        resource.setrlimit(resource.RLIMIT_FSIZE, (24 * 1024, resource.RLIM_INFINITY))

    run = subprocess.run(command, cwd=tmp_path, preexec_fn=full, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("Error: cannot write"), run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert len(out.read_text().splitlines()) == 22
    subprocess.run(command, cwd=tmp_path, check=True)
    labels = {line.rsplit(",", 1)[1] for line in out.read_text().splitlines()[1:]}
    assert len(labels) == 1
    assert labels != {"0.500000"}


def test_a_worker_that_cannot_start_again_at_once_is_given_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second start fails, as on a machine that is short of memory for a moment; the third serves."""
    sabotage = Path(__file__).with_name("sabotage.py")
    starter = tmp_path / "starter.py"
    starter.write_text(
        "import pathlib, runpy, sys\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "number = int(count.read_text()) if count.exists() else 0\n"
        "count.write_text(str(number + 1))\n"
        "if number == 1: sys.exit(1)\n"
        f"sys.path.insert(0, {str(sabotage.parent)!r})\n"
        f"runpy.run_path({str(sabotage)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(pool_module, "COMMAND", [sys.executable, str(starter)])
    monkeypatch.setattr(pool_module, "RETRIES", (0.1,))
    shutil.copy(folder / "good.mp4", folder / "crash.mp4")
    rows = predict(folder, tmp_path, workers=1)
    assert {name: row.reason for name, row in rows.items()} == {"crash.mp4": Reason.CRASHED, "good.mp4": Reason.OK}
    assert (tmp_path / "count").read_text() == "3"


def test_pictures_are_never_more_than_the_limit_in_memory(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", [np.zeros((96, 192, 3), np.uint8)] * 3)
    row = Pipeline(limits=Limits(pixels=96 * 192 - 1)).predict(path)
    assert row.reason == Reason.TOO_LARGE
