"""Pictures that are stored lying, or mirrored, are shown as their file says, and the containers' headers are read."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from clips import encode, numbered
from numpy.typing import NDArray

from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.decode.rotation import orientation
from dfx.plan import plan
from dfx.probe import probe

WIDTH, HEIGHT, ONE = 192, 96, 1 << 16
MATRICES = {  # of ISO/IEC 14496-12: a, b, u, c, d, v, x, y, w
    "left to right": (-ONE, 0, 0, 0, ONE, 0, WIDTH * ONE, 0, 1 << 30),
    "top to bottom": (ONE, 0, 0, 0, -ONE, 0, 0, HEIGHT * ONE, 1 << 30),
    "along the diagonal": (0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
}
STORED = {"left to right": np.fliplr, "top to bottom": np.flipud, "along the diagonal": lambda y: y.transpose(1, 0, 2)}


def picture() -> NDArray[np.uint8]:
    """One whose four corners differ."""
    found = numbered(5, WIDTH, HEIGHT)
    found[-24:, :48], found[-24:, -48:] = 250, 10
    return found


def with_matrix(path: Path, matrix: tuple[int, ...]) -> Path:
    data = bytearray(path.read_bytes())
    place = data.rindex(b"tkhd") + 4
    place += 52 if data[place] == 1 else 40
    data[place : place + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def first_luma(path: Path) -> NDArray[np.uint8]:
    info = probe(path)
    (frames,) = PyAVDecoder().read(info, plan(info, windows=1, count=1, stride=1))
    return np.asarray(frames.pictures[0].y)


@pytest.mark.parametrize("way", list(MATRICES))
def test_what_is_stored_mirrored_is_shown_as_it_was(tmp_path: Path, way: str) -> None:
    plain = first_luma(encode(tmp_path / "plain.mp4", [picture()] * 4))
    stored = np.ascontiguousarray(STORED[way](picture()))
    path = with_matrix(encode(tmp_path / "mirrored.mp4", [stored] * 4), MATRICES[way])
    shown = first_luma(path)
    assert shown.shape == plain.shape
    assert np.abs(shown.astype(int) - plain).mean() < 4
    info = probe(path)
    assert info.mirrored
    assert ("mirrored", True) in list(info.rows())
    assert "mirrored" in str(suits(info, (9, 0))), "a GPU would show it as it is stored"


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("turned", [0, 90, 180, -90])
def test_headers_say_what_the_pictures_do(tmp_path: Path, ending: str, turned: int) -> None:
    path = encode(tmp_path / f"a.{ending}", [picture()] * 3, rotation=turned)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert orientation(path) == (-frame.rotation % 360, False)
    assert probe(path).rotation == -turned % 360


def test_a_header_that_is_cut_turns_nothing(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mkv", [picture()] * 3, rotation=90).read_bytes()
    for length in (0, 4, 5, 40, 200, 300, 400):
        (tmp_path / "cut.mkv").write_bytes(whole[:length])
        assert orientation(tmp_path / "cut.mkv") in {(0, False), (270, False)}
    (tmp_path / "cut.mkv").write_bytes(whole[:-50])
    assert orientation(tmp_path / "cut.mkv") == (270, False)


@pytest.mark.parametrize("angle", [math.nan, math.inf, -math.inf])
def test_an_angle_that_is_no_number_turns_nothing(tmp_path: Path, angle: float) -> None:
    whole = encode(tmp_path / "a.mkv", [picture()] * 3, rotation=90).read_bytes()
    place = whole.index(b"\x76\x75\x88")  # ProjectionPoseRoll, in eight bytes
    (tmp_path / "odd.mkv").write_bytes(whole[: place + 3] + struct.pack(">d", angle) + whole[place + 11 :])
    assert orientation(tmp_path / "odd.mkv") == (0, False)
    assert probe(tmp_path / "odd.mkv").rotation == 0


def test_a_header_that_claims_a_number_as_long_as_the_file_is_not_read(tmp_path: Path) -> None:
    """Its angle would be read into memory whole."""
    whole = encode(tmp_path / "a.mkv", [picture()] * 3, rotation=90).read_bytes()
    place = whole.index(b"\x76\x75")  # ProjectionPoseRoll, and then its size in a byte
    (tmp_path / "long.mkv").write_bytes(whole[: place + 2] + b"\x1f\xff\xff\xf0" + whole[place + 3 :])
    assert orientation(tmp_path / "long.mkv") == (0, False)
