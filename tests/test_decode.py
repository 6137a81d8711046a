"""Decoded pictures are the planned ones, exact, upright, with their depth, range and matrix."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from clips import clip, encode, numbered, read_number
from tolerances import CODED_GREY

from dfx.decode.pyav import PyAVDecoder
from dfx.errors import CorruptVideoError
from dfx.plan import plan
from dfx.probe import probe
from dfx.values import Frames, Plan, Window


def read(path: Path, windows: int = 2, count: int = 16) -> list[Frames]:
    info = probe(path)
    return list(PyAVDecoder().read(info, plan(info, windows=windows, count=count)))


def numbers(frames: Frames) -> list[int]:
    return [read_number(planes.y, planes.depth) for planes in frames.pictures]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {}),
        ("a.mp4", {"bf": "4", "g": "30"}),
        ("a.mp4", {"pix_fmt": "yuv422p"}),
        ("a.mp4", {"pix_fmt": "yuv444p"}),
        ("a.mp4", {"pix_fmt": "yuvj420p"}),
        ("a.mp4", {"pix_fmt": "yuv420p10le"}),
        ("a.mp4", {"codec": "libx265", "x265-params": "log-level=none"}),
        ("a.mkv", {"codec": "libx264"}),
        ("a.avi", {"codec": "mpeg4", "bf": "2"}),
        ("a.mpg", {"codec": "mpeg2video"}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}),
        ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else value,
)
def test_every_codec_gives_the_planned_frames(tmp_path: Path, name: str, settings: dict[str, str]) -> None:
    path = clip(tmp_path / name, 90, **settings)
    for frames in read(path, windows=3):
        assert numbers(frames) == list(frames.window.frames) == frames.index.tolist()
        np.testing.assert_allclose(frames.seconds, frames.index / 25, atol=0.011)


def test_pictures_equal_those_of_a_whole_decode(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 120, bf="3", g="60")
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="yuv420p")[: frame.height] for frame in container.decode(video=0)]
    for frames in read(path, windows=4):
        for index, planes in zip(frames.index, frames.pictures, strict=True):
            np.testing.assert_array_equal(planes.y, whole[index])


def test_depth_and_range_are_handed_on(tmp_path: Path) -> None:
    ten = read(clip(tmp_path / "ten.mp4", 4, pix_fmt="yuv420p10le"))[0].pictures[0]
    assert (ten.depth, ten.y.dtype, ten.full_range) == (10, np.uint16, False)
    assert int(ten.y.max()) > 255
    full = read(clip(tmp_path / "full.mp4", 4, pix_fmt="yuvj420p"))[0].pictures[0]
    assert (full.depth, full.full_range) == (8, True)
    assert full.u.shape == (48, 96)


def test_planes_are_views_and_outlive_the_decoder(tmp_path: Path) -> None:
    frames = read(clip(tmp_path / "a.mp4", 40))
    assert not frames[0].pictures[0].y.flags.owndata
    kept = [planes.y.copy() for planes in frames[0].pictures]
    list(read(tmp_path / "a.mp4"))
    for planes, copy in zip(frames[0].pictures, kept, strict=True):
        np.testing.assert_array_equal(planes.y, copy)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotated_videos_come_upright(tmp_path: Path, turns: int) -> None:
    pictures = [np.ascontiguousarray(np.rot90(numbered(number), -turns)) for number in range(20)]
    path = encode(tmp_path / "a.mp4", pictures, rotation=turns * 90)
    (frames,) = read(path, windows=1)
    assert frames.pictures[0].y.shape == (96, 192)
    assert numbers(frames) == list(range(16))
    assert probe(path).rotation == (-turns * 90) % 360


def test_colours_are_those_that_were_drawn(tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:] = (180, 90, 40)
    planes = read(encode(tmp_path / "a.mp4", [picture] * 4))[0].pictures[0]
    red, green, blue = (float(value) for value in picture[0, 0])
    luma = 16 + (0.299 * red + 0.587 * green + 0.114 * blue) * 219 / 255
    assert abs(float(planes.y.mean()) - luma) < CODED_GREY
    assert abs(float(planes.v.mean()) - (128 + (red - (luma - 16) * 255 / 219) / 1.402 * 224 / 255)) < CODED_GREY


def test_a_tail_that_is_cut_gives_what_came_before(tmp_path: Path) -> None:
    whole = clip(tmp_path / "a.mkv", 60, g="10").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert sum(len(frames) for frames in read(tmp_path / "cut.mkv")) >= 10


def test_damage_inside_costs_only_itself(tmp_path: Path) -> None:
    data = bytearray(clip(tmp_path / "a.mkv", 60, g="10").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "bad.mkv").write_bytes(data)
    first, *others = read(tmp_path / "bad.mkv", windows=4)
    assert numbers(first) == list(range(16))
    lost = 60 - probe(tmp_path / "bad.mkv").frames
    assert 0 < lost < 20, "of the file, whose packets are numbered anew behind the damage"
    assert [numbers(part) for part in others] == [(part.index + lost).tolist() for part in others]
    assert len(others) > 0
    assert {len(part) for part in others} == {16}


def test_nothing_decodable_is_corrupt(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 20))
    with pytest.raises(CorruptVideoError, match="not one of its pictures"):
        list(PyAVDecoder().read(info, Plan((Window(500, 16, 1, 15, 16),))))


def test_a_far_keyframe_is_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfx.decode.container.SKIM", 20)
    monkeypatch.setattr("dfx.decode.container.HOP", 20)
    frames = read(clip(tmp_path / "a.mp4", 300, g="50"), windows=3)
    assert [numbers(part) for part in frames] == [list(part.window.frames) for part in frames]
    assert frames[-1].window.seek > 200


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["dfdc_005_fake.mp4", "head_083_real.mkv", "head_072_real.mpg", "head_091_real.gif", "head_048_real.mov"]
)
def test_real_videos_decode_exactly(shared: Path, name: str) -> None:
    path = shared / "data" / "videos" / name
    parts = read(path)
    last = max(int(frames.index[-1]) for frames in parts)
    with av.open(str(path)) as container:
        whole = [frame for frame, _ in zip(container.decode(video=0), range(last + 1), strict=False)]
    planar = name.endswith(("mp4", "mkv", "mpg", "mov"))
    assert all(frame.format.name.startswith("yuv") == planar for frame in whole)
    for frames in parts:
        assert len(frames) == frames.window.count
        for index, planes in zip(frames.index, frames.pictures, strict=True):
            if whole[index].format.name.startswith("yuv"):
                plane = whole[index].planes[0]
                luma = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width]
                np.testing.assert_array_equal(planes.y, luma)


@pytest.mark.parametrize(
    "settings", [{}, {"rotation": 90}, {"x264-params": "interlaced=1"}], ids=["", "turned", "fields"]
)
def test_pictures_are_freed_with_their_window(tmp_path: Path, settings: dict[str, Any]) -> None:
    """None waits for Python's garbage collection: a worker would hold the pictures of several videos."""
    info = probe(encode(tmp_path / "a.mp4", [numbered(number) for number in range(12)], **settings))
    gc.collect()
    gc.disable()
    try:
        before = _frames_alive()
        read = [len(frames) for frames in PyAVDecoder().read(info, plan(info, windows=2, count=4, stride=1))]
        assert sum(read) >= 4
        assert _frames_alive() == before
    finally:
        gc.enable()


def _frames_alive() -> int:
    return sum(type(each) is VideoFrame for each in gc.get_objects())  # isinstance would ask odd ones for their class
