"""Frames as files: the right ones, in the right colours, once, and whatever the video is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import clip, encode, read_number
from numpy.typing import NDArray
from test_cli import dfx as run
from test_hostile import bomb_of_packets
from tolerances import CODED_GREY, RGB_LEVEL

import dfx
from dfx.errors import InputError
from dfx.extract import Extracted
from dfx.frames import plan_of
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.stills import encoded, from_planes
from dfx.values import Planes


def picture(path: Path) -> NDArray[np.uint8]:
    """A PNG or JPEG as RGB uint8 [H, W, 3]."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def numbers(folder: Path) -> list[int]:
    """The numbers drawn into the pictures of a folder, in the order of their names."""
    return [read_number(picture(path)[:, :, 0]) for path in sorted(folder.iterdir())]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred numbered frames at 25 a second, with B-frames, and keyframes at every thirtieth."""
    return clip(tmp_path_factory.mktemp("clips") / "a.mp4", 100, g="30", sc_threshold="0")


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"count": 4}, [12, 37, 62, 87]),
        ({"count": 1}, [50]),
        ({"count": 500}, list(range(100))),
        ({"every": 1.0}, [0, 25, 50, 75]),
        ({"every": 0.9}, [0, 22, 45, 67, 90]),
        ({"times": [3.96, 0.0, 0.04, 0.05, 0.0]}, [0, 1, 99]),
        ({}, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]),
    ],
)
def test_the_frames_that_were_asked_for(
    hundred: Path, tmp_path: Path, choice: dict[str, object], wanted: list[int]
) -> None:
    result = dfx.frames(hundred, tmp_path, **choice)  # type: ignore[arg-type]
    assert numbers(tmp_path) == wanted
    assert (result.written, result.kept) == (len(wanted), 0)


def test_names_sort_and_trace_back(hundred: Path, tmp_path: Path) -> None:
    dfx.frames(hundred, tmp_path, times=[0, 2])
    assert names(tmp_path) == ["a_f000000_0000.000s.png", "a_f000050_0002.000s.png"]


def test_the_plan_is_the_predictions(hundred: Path, tmp_path: Path) -> None:
    dfx.frames(hundred, tmp_path, plan=True)
    windows = Pipeline().plan(probe(hundred)).windows
    assert numbers(tmp_path) == [index for window in windows for index in window.frames]


def test_no_packet_is_decoded_twice(hundred: Path) -> None:
    sent = [
        packet
        for window in plan_of(probe(hundred), range(0, 100, 7)).windows
        for packet in range(window.seek, window.stop)
    ]
    assert len(sent) == len(set(sent)) <= 100


def test_files_that_are_there_are_kept_unless_told(hundred: Path, tmp_path: Path) -> None:
    dfx.frames(hundred, tmp_path, count=2)
    first = sorted(tmp_path.iterdir())[0]
    first.write_text("mine")
    again = dfx.frames(hundred, tmp_path, count=2)
    assert (again.written, again.kept, first.read_text()) == (0, 2, "mine")
    anew = dfx.frames(hundred, tmp_path, count=2, overwrite=True)
    assert (anew.written, anew.kept) == (2, 0)
    assert numbers(tmp_path) == [25, 75]


def test_pictures_are_upright(tmp_path: Path) -> None:
    dfx.frames(clip(tmp_path / "a.mp4", 3, rotation=-90), tmp_path / "out", count=1)
    assert picture(next((tmp_path / "out").iterdir())).shape == (192, 96, 3)


COLOUR = (200, 60, 90)


@pytest.mark.parametrize(("kind", "tolerance"), [("png", RGB_LEVEL), ("jpg", 2 * RGB_LEVEL)])
@pytest.mark.parametrize(
    ("matrix", "height"), [("bt601", 96), ("bt709", 96), ("bt2020", 96), ("unknown", 96), ("unknown", 720)]
)
@pytest.mark.parametrize("full", [False, True])
def test_colours_follow_the_tags(
    tmp_path: Path, kind: str, tolerance: int, matrix: str, height: int, full: bool
) -> None:
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[
        {"unknown": "bt709" if height >= 720 else "bt601"}.get(matrix, matrix)
    ]
    r, g, b = (value / 255 for value in COLOUR)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    scales = (255, 0, 255) if full else (219, 16, 224)
    coded = [luma * scales[0] + scales[1], *(128 + value * scales[2] for value in chroma)]
    y, u, v = (np.full((height, 1280), round(value), np.uint8) for value in coded)
    (tmp_path / "a").write_bytes(encoded(from_planes(Planes(y, u, v, 8, matrix, full)), kind))
    assert np.abs(picture(tmp_path / "a").astype(int) - COLOUR).max() <= tolerance


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le", "yuv440p", "yuv411p"]
)
def test_every_layout_of_planes_gives_the_picture(tmp_path: Path, pix_fmt: str) -> None:
    plain = [np.full((96, 192, 3), 90, np.uint8)] * 3
    dfx.frames(encode(tmp_path / "a.mkv", plain, codec="ffv1", pix_fmt=pix_fmt), tmp_path / "out", count=1)
    assert np.abs(picture(next((tmp_path / "out").iterdir())).astype(int) - 90).max() <= CODED_GREY


def test_face_crops_are_the_classifiers_to_the_bit(samples: Path, tmp_path: Path) -> None:
    dfx.frames(samples / "real.mp4", tmp_path, plan=True, faces=True)
    clips = Pipeline().clips(samples / "real.mp4")
    wanted = [crop for track, clip in clips for crop in clip[: len(track)]]
    written = [picture(path).transpose(2, 0, 1) for path in sorted(tmp_path.iterdir())]
    assert len(written) == len(wanted) == 8
    assert all((one == other).all() for one, other in zip(written, wanted, strict=True))
    assert all("_p0.png" in name for name in names(tmp_path))


def test_faces_at_any_times(samples: Path, tmp_path: Path) -> None:
    dfx.frames(samples / "real.mp4", tmp_path, every=1.0, faces=True)
    assert [name.split("_p")[0] for name in names(tmp_path)] == [
        "real_f000000_0000.000s",
        "real_f000025_0001.000s",
        "real_f000050_0002.000s",
    ]
    result = dfx.frames(samples / "no_face.mp4", tmp_path, faces=True)
    assert [row[-1] for row in result.rows()] == ["no face in the pictures that were looked at"]


def test_one_bad_video_costs_no_other_its_pictures(samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(samples / "no_face.mp4", folder / "deep" / "good.mp4")
    (folder / "bad.mp4").write_text("no video")
    bomb_of_packets(folder / "bomb.mp4", 3_000_000)
    result = dfx.frames(folder, tmp_path / "out", count=1)
    assert [item.note.split(":")[0] for item in result.failed] == ["corrupt", "too_large"]
    assert len(names(tmp_path / "out")) == 1
    assert names(tmp_path / "out")[0].startswith("deep/good_f")


@pytest.mark.parametrize("videos", [["a.mkv", "a.mp4"], ["a.mkv", "a.mp4", "a.mp4.mkv"]])
def test_two_videos_of_one_stem_do_not_overwrite_each_other(tmp_path: Path, videos: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in videos:
        clip(tmp_path / "in" / name, 3)
    dfx.frames(tmp_path / "in", tmp_path / "out", count=1)
    assert sorted(name.split("_f")[0] for name in names(tmp_path / "out")) == videos


@pytest.mark.parametrize("choice", [{"count": 10**23}, {"every": 1e-300}])
def test_who_asks_for_more_than_there_is_gets_all(tmp_path: Path, choice: dict[str, Any]) -> None:
    clip(tmp_path / "a.mp4", 5)
    result = dfx.frames(tmp_path / "a.mp4", tmp_path / "out", **choice)
    assert (result.written, result.failed) == (5, [])
    clip(tmp_path / "one.mp4", 1)
    assert dfx.frames(tmp_path / "one.mp4", tmp_path / "out", **choice).written == 1


def test_a_time_behind_the_end_is_said(hundred: Path, tmp_path: Path) -> None:
    result = dfx.frames(hundred, tmp_path, times=[1, 9])
    assert (result.written, result.items[0].note) == (1, "it ends at 4.000 s; no picture at 9 s")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": 2.5}, r"count is 2\.5; a whole number"),
        ({"every": -1.0}, r"every is -1\.0"),
        ({"times": [float("nan")]}, r"times is \[nan\]"),
        ({"times": [-1.0]}, r"times is \[-1\.0\]; finite seconds from 0 on"),
        ({"count": 1, "plan": True}, "count and plan were given"),
        ({"kind": "gif"}, "format is 'gif'"),
        ({"kind": "jpg", "faces": True}, "jpg for whole pictures"),
    ],
)
def test_a_choice_that_is_none_is_refused(hundred: Path, tmp_path: Path, choice: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dfx.frames(hundred, tmp_path, **choice)  # type: ignore[arg-type]


def test_the_command_says_what_it_did_and_exits_with_1_where_a_video_failed(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "[red]bad.mp4").write_text("no video")
    good = run("frames", samples / "no_face.mp4", "--out", tmp_path / "out", "--time", "0", "--time", "1")
    assert good.returncode == 0, good.stderr
    assert "2 pictures of 1 videos written to" in good.stderr
    assert "1/1" in good.stderr
    bad = run("frames", samples / "no_face.mp4", tmp_path / "[red]bad.mp4", "--out", tmp_path / "out", "--count", "1")
    assert bad.returncode == 1
    assert "[red]bad.mp4: corrupt" in bad.stderr


@pytest.mark.shared
def test_real_videos_give_a_picture_each(shared: Path, tmp_path: Path) -> None:
    result: Extracted = dfx.frames(shared / "data" / "videos" / "dfdc_0*.mp4", tmp_path, count=1, kind="jpg")
    assert (result.written, result.failed) == (7, [])
    assert all(picture(path).std() > 1 for path in tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_leaves_no_piece_of_a_picture(tmp_path: Path) -> None:
    code = (
        "import resource; from pathlib import Path; from dfx.errors import OutputError; from dfx.extract import save\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        f"try: save(Path({str(tmp_path / 'a.png')!r}), bytes(9000))\n"
        "except OutputError: print('refused')"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "refused\n"
    assert list(tmp_path.iterdir()) == []
