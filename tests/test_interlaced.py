"""Interlaced video is looked at one moment at a time; what only says that it is interlaced stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import encode
from numpy.typing import NDArray

import dfx
from dfx.decode.fields import is_combed, one_field
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.plan import plan
from dfx.probe import probe

WIDTH, HEIGHT, STEP = 192, 96, 12  # pixels that the bars move from field to field
X264 = {"x264-params": "interlaced=1:tff=1", "crf": "8"}
MPEG2 = {"codec": "mpeg2video", "flags": "+ildct+ilme", "qmin": "1", "qmax": "2", "b": "20M"}
PRORES = {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "flags": "+ildct"}
FILES: list[tuple[str, dict[str, Any]]] = [
    ("a.mp4", X264), ("a.mkv", X264), ("a.ts", X264), ("a.mpg", MPEG2), ("a.mov", PRORES),
]  # fmt: skip


def moment(number: int) -> NDArray[np.uint8]:
    """Soft bars and a slope from top to bottom; RGB uint8 [96, 192, 3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    luma = 128 + 70 * np.sin((x + STEP * number) / 8) + (y - HEIGHT / 2) / 2
    return np.repeat(luma.round().astype(np.uint8)[..., None], 3, axis=2)


def woven(number: int) -> NDArray[np.uint8]:
    picture = moment(2 * number)
    picture[1::2] = moment(2 * number + 1)[1::2]
    return picture


def lumas(path: Path) -> list[NDArray[Any]]:
    info = probe(path)
    (frames,) = PyAVDecoder().read(info, plan(info, windows=1, count=6, stride=1))
    return [picture.y >> (picture.depth - 8) for picture in frames.pictures]


@pytest.mark.parametrize(("name", "settings"), FILES, ids=[name for name, _ in FILES])
def test_pictures_show_one_moment(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    path = encode(tmp_path / name, [woven(number) for number in range(8)], **settings)
    plain = encode(tmp_path / "plain.mp4", [moment(2 * number) for number in range(8)], crf="8")
    for ours, theirs in zip(lumas(path), lumas(plain), strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 2, "woven they are 30 apart"


@pytest.mark.parametrize(("name", "settings"), FILES, ids=[name for name, _ in FILES])
def test_the_file_says_so_and_the_cpu_decodes_it(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    info = probe(encode(tmp_path / name, [woven(number) for number in range(8)], **settings))
    assert info.interlaced
    assert ("interlaced", True) in list(info.rows())
    assert dfx.inspect(info.path)[0].problems[0].startswith("interlaced: ")
    assert "interlaced" in str(suits(info, (9, 0)))


def test_progressive_video_is_not_touched(tmp_path: Path) -> None:
    info = probe(encode(tmp_path / "a.mp4", [woven(number) for number in range(8)]))
    assert not info.interlaced
    assert all(is_combed(luma, 8) for luma in lumas(info.path)), "a file that does not tell is taken at its word"


def test_what_only_says_that_it_is_interlaced_keeps_its_lines(tmp_path: Path) -> None:
    """As many a camera writes pictures of one moment."""
    fine = np.random.default_rng(0).integers(60, 200, (HEIGHT // 4, WIDTH // 4), np.uint8).repeat(4, 0).repeat(4, 1)
    still = np.repeat(fine[..., None], 3, axis=2)
    for luma in lumas(encode(tmp_path / "a.mp4", [still] * 8, **X264)):
        assert np.abs(luma.astype(int) - one_field(luma)).max() > 10
        assert np.abs(luma[1::2].astype(int) - luma[::2]).mean() < 4, "the lines of a block are alike"


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lines_between_are_the_mean_of_those_beside_them(rows: int, dtype: type[Any]) -> None:
    plane = np.random.default_rng(rows).integers(0, 256 if dtype == np.uint8 else 4096, (rows, 5), dtype)
    made, wanted = one_field(plane), plane.astype(float)
    for line in range(1, rows, 2):
        beside = [plane[line - 1], plane[line + 1] if line + 1 < rows else plane[line - 1]]
        wanted[line] = np.floor(np.mean(beside, axis=0) + 0.5)
    assert made.dtype == plane.dtype
    np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (1, 4), (2, 4)])
def test_pictures_of_a_line_or_two_are_not_combed(rows: int, columns: int) -> None:
    assert not is_combed(np.zeros((rows, columns), np.uint8), 8)


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_combs_are_told_by_their_share_and_their_height(depth: int) -> None:
    picture = np.full((101, 100), 100 << (depth - 8), np.uint8 if depth == 8 else np.uint16)
    unit = 1 << (depth - 8)
    picture[1::2, :2] += 5 * unit
    assert is_combed(picture, depth)
    picture[1::2, :2] -= unit
    assert not is_combed(picture, depth), "four levels do not stand out"
    picture[1::2, :1] += 5 * unit
    picture[1::2, 1] -= 4 * unit
    assert not is_combed(picture, depth), "one column of a hundred is no more than the share"
