"""`dfx train`: what is refused, in one line and before any video is cut, and that a run is bound to its videos."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")
pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")

import torch

from dfx.cli import main
from dfx.errors import InputError, MissingInputError, ModelError
from dfx.files import sha256_of
from dfx.torch import train as module
from dfx.torch.options import Options
from dfx.torch.start import begin
from dfx.torch.train import train

pytestmark = pytest.mark.torch
NAMES = [f"{word}{number}.mp4" for word in ("fake", "real") for number in range(4)]


class Cut(Exception):
    """A run has come to where videos are cut."""


@pytest.fixture(autouse=True)
def nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> None:
        raise Cut

    monkeypatch.setattr(module, "cached", cut)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of eight files, with a row of labels.csv each."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    labelled(folder, {})
    return folder


def labelled(folder: Path, changed: dict[str, str]) -> None:
    """Writes labels.csv. changed: rows that differ, by the name of the video."""
    rows = [changed.get(name, f"{name},{name[:4].upper()},,,") for name in NAMES]
    text = "\n".join(["filename,label,original,group,split", *filter(None, rows), ""])
    (folder.parent / "labels.csv").write_text(text)


def started(videos: Path, **options: Any) -> None:
    """Runs to where videos would be cut."""
    with pytest.raises(Cut):
        asked(videos, **options)


def asked(videos: Path, **options: Any) -> None:
    train([videos], videos.parent / "labels.csv", videos.parent / "run", Options(**options))


def is_cut(videos: Path) -> None:
    """As a run leaves OUT that has cut its videos and split them."""
    out = videos.parent / "run"
    (out / "clips").mkdir()
    for name in NAMES:
        np.savez(out / "clips" / f"{name}.npz", person=[0], confidence=[1.0], digest=sha256_of(videos / name))
    (out / "split.json").write_text(json.dumps(dict.fromkeys(NAMES, False)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("epochs", "batch", "patience", "windows") for value in (0, -1, 1.5)),
        *(("seed", value) for value in (-1, 2**32)),
        *(("minutes", value) for value in (0, -5, float("nan"), float("inf"), 1e300)),
        *((name, value) for name in ("pseudo", "h264") for value in (-1, 5, float("nan"))),
        ("loaders", -1),
        ("workers", 0),
        ("cut", "gpu"),
        ("design", "lite9"),
    ],
)
def test_a_number_that_means_nothing_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{name} is .* needed$"):
        Options(**{name: value})


def test_the_ends_of_the_ranges_are_taken() -> None:
    Options(epochs=1, batch=1, patience=1, windows=1, seed=2**32 - 1, minutes=0.01, pseudo=1, h264=0, workers=1)


def test_the_command_says_so_before_it_begins(videos: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train", str(videos), "--out", str(tmp_path / "run"), "--minutes", "nan"])
    assert done.exit_code == 2
    assert "minutes is nan" in done.output
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_refused_binds_nothing(videos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    (tmp_path / "broken.pt").write_bytes(b"")
    for folder, rows, start in (
        (tmp_path / "typo", labels, None),
        (videos, tmp_path / "typo.csv", None),
        (videos, labels, tmp_path / "typo.pt"),
        (videos, labels, tmp_path / "broken.pt"),
    ):
        with pytest.raises((MissingInputError, ModelError)):
            train([folder], rows, tmp_path / "run", Options(start=start))
    labelled(videos, {name: f"{name},REAL,,," for name in NAMES})
    with pytest.raises(InputError):
        asked(videos)
    assert not (tmp_path / "run").exists()
    labelled(videos, {})
    started(videos, seed=3)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seed"] == 3


def test_a_folder_of_other_things_is_not_written_to(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "card.md").write_text("mine")
    with pytest.raises(
        InputError, match="thesis is not empty, and holds no run of dfx train: name a folder that is new"
    ):
        train([videos], videos.parent / "labels.csv", tmp_path / "thesis", Options())
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["card.md"]


def test_the_folder_of_the_videos_is_not_written_to(videos: Path) -> None:
    with pytest.raises(InputError, match=r"holds the videos: name another folder.*--out"):
        train([videos], videos.parent / "labels.csv", videos / ".." / videos.name, Options())
    assert sorted(path.name for path in videos.iterdir()) == sorted(NAMES)


def test_until_it_is_split_all_but_the_clips_may_differ(videos: Path) -> None:
    started(videos, seed=3)
    started(videos, seed=4)
    with pytest.raises(InputError, match="holds a run with windows 2: give that again"):
        asked(videos, windows=1)
    is_cut(videos)
    with pytest.raises(InputError, match="holds a run with seed 4: give that again"):
        asked(videos)


def test_fewer_epochs_than_a_run_has_had_are_refused_before_it_begins(videos: Path) -> None:
    started(videos)
    progress = {"fit_loop": {"epoch_progress": {"current": {"processed": 3}}}}
    (videos.parent / "run" / "checkpoints").mkdir()
    torch.save({"loops": progress}, videos.parent / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(InputError, match=r"epochs is 2; .* has had 3 already"):
        asked(videos, epochs=2)
    started(videos, epochs=3)


def flip(videos: Path) -> None:
    labelled(videos, {"real1.mp4": "real1.mp4,FAKE,,,"})


def regroup(videos: Path) -> None:
    labelled(videos, {"real1.mp4": "real1.mp4,REAL,,p1,"})


def resplit(videos: Path) -> None:
    labelled(videos, {"real1.mp4": "real1.mp4,REAL,,,test", "fake1.mp4": "fake1.mp4,FAKE,,,test"})


def replace(videos: Path) -> None:
    (videos / "real1.mp4").write_bytes(b"REAL1.mp4")


def add(videos: Path) -> None:
    (videos / "new.mp4").write_bytes(b"new")
    labelled(videos, {"real1.mp4": "real1.mp4,REAL,,,\nnew.mp4,FAKE,,,"})


def remove(videos: Path) -> None:
    (videos / "real1.mp4").unlink()


CHANGES = pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip, "1 with another label, original, split or group, 'real1.mp4'"),
        (regroup, "1 with another label, original, split or group, 'real1.mp4'"),
        (resplit, "2 with another label, original, split or group, 'fake1.mp4'"),
        (replace, "1 replaced by other files, 'real1.mp4'"),
        (add, "1 added, 'new.mp4'"),
        (remove, "1 gone, 'real1.mp4'"),
    ],
)


@CHANGES
def test_a_run_is_bound_to_its_videos(videos: Path, change: Callable[[Path], None], words: str) -> None:
    started(videos)
    is_cut(videos)
    kept = {path: path.read_bytes() for path in (videos.parent / "run").rglob("*") if path.is_file()}
    change(videos)
    with pytest.raises(InputError, match=rf"holds a run on other videos or labels: {words} for one; .*another --out"):
        asked(videos)
    assert {path: path.read_bytes() for path in (videos.parent / "run").rglob("*") if path.is_file()} == kept


@CHANGES
def test_until_it_is_split_what_changed_is_cut_anew(videos: Path, change: Callable[[Path], None], words: str) -> None:
    started(videos)
    is_cut(videos)
    (videos.parent / "run" / "split.json").unlink()
    change(videos)
    started(videos)
    left = {path.name for path in (videos.parent / "run" / "clips").iterdir()}
    stale = {"real1.mp4.npz"} if change in {replace, remove} else set()
    assert left == {f"{name}.npz" for name in NAMES} - stale


def test_a_file_that_was_only_touched_is_the_same(videos: Path) -> None:
    started(videos)
    is_cut(videos)
    os.utime(videos / "real1.mp4", (1, 1))
    started(videos)


def test_a_run_without_that_note_goes_on(videos: Path) -> None:
    started(videos)
    is_cut(videos)
    (videos.parent / "run" / "data.json").unlink()
    flip(videos)
    started(videos)


def test_what_the_labels_lack_is_said_before_videos_are_cut(videos: Path) -> None:
    labelled(videos, {name: f"{name},REAL,,," for name in NAMES})
    with pytest.raises(
        InputError, match=r"8 are REAL, of 8 unconnected groups of people, and 0 are FAKE, of 0; at least 2"
    ):
        asked(videos)
    labelled(videos, {name: f"{name},{name[:4].upper()},,one," for name in NAMES})
    with pytest.raises(InputError, match=r"4 are REAL, of 1 unconnected groups .* 4 are FAKE, of 1; .* column"):
        asked(videos)
    labelled(videos, {"real1.mp4": "real1.mp4,REAL,,,test"})
    with pytest.raises(InputError, match="there is no FAKE one held out: label more"):
        asked(videos)


def test_rows_and_videos_without_each_other_are_counted(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled(videos, {"fake0.mp4": "", "real1.mp4": "videos/real1.mp4,REAL,,,"})
    started(videos)
    said = capsys.readouterr().err
    assert "2 of the 8 videos have no label, 'fake0.mp4' for one" in said
    assert "1 of the 7 rows of labels match no video, 'videos/real1.mp4' for one" in said
    labelled(videos, {name: f"videos/{name},{name[:4].upper()},,," for name in NAMES})
    with pytest.raises(InputError, match=r"8 of the 8 videos have no label.* 8 of the 8 rows of labels match no video"):
        asked(videos)


@pytest.mark.parametrize("name", ["w.pt", "w.onnx", "w.bin"])
@pytest.mark.parametrize("data", [b"", b"garbage!", b"PK\x03\x04" + bytes(60), bytes(99)], ids=range(4))
def test_a_file_that_holds_no_weights(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=rf"{name}: not the weights of a network of dfx") as caught:
        begin(tmp_path / name, "lite0")
    assert "weights_only" not in str(caught.value)
