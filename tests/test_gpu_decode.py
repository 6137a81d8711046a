"""NVDEC through DALI on a real GPU: exact frames, colours, broken files between good ones, threads with own streams."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cuda_driver as cuda
import numpy as np
import pytest
from clips import ALTREF, colourful, encode, numbered, recrop
from decoded_surfaces import COLOURS, X265, assert_same_colours, numbers, pixels, upright
from numpy.typing import NDArray
from tolerances import DALI_COLOURS

from dfx.decode import dali
from dfx.decode.dali import DALIDecoder, missing
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import CorruptVideoError, DfxError, UnsupportedVideoError
from dfx.ops.cuda import Lane
from dfx.plan import plan
from dfx.probe import probe
from dfx.values import Frames, Plan, Window

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        cuda.driver() is None and not os.environ.get("DFX_REQUIRE_GPU"), reason="no NVIDIA GPU (DFX_REQUIRE_GPU unset)"
    ),
]
LONG = {"g": "250", "sc_threshold": "0"}
FAST = {"preset": "veryfast"}
CLEAN = 3.0  # grey levels, mean, from a drawn picture to what is shown of it; the next one is 5 away


@pytest.fixture(scope="module")
def lane() -> Lane:
    return Lane(0)


def moving(count: int, first: int = 0, width: int = 320, height: int = 240) -> Iterator[NDArray[np.uint8]]:
    """Numbered pictures with waves that move, so that encoders use the frames before and after."""
    y, x = np.mgrid[: height - 64, :width]
    for number in range(first, first + count):
        picture = numbered(number, width, height)
        waves = (np.sin((x + 3 * number) / 17) + np.cos((y + number) / 11)) * 50 + 128
        picture[32 : height - 32] = waves.astype(np.uint8)[..., None]
        yield picture


def read(path: Path, lane: Lane, windows: int = 3, decoder: DALIDecoder | None = None) -> list[Frames]:
    info = probe(path)
    assert suits(info, cuda.capability()) is None
    return list((decoder or DALIDecoder(lane)).read(info, plan(info, windows=windows)))


def test_nothing_is_missing() -> None:
    assert missing(0) is None
    assert cuda.capability() >= (5, 0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {"bf": "0", "g": "30"}),
        ("a.mp4", {"bf": "3", "g": "30"}),
        ("pyramid.mp4", {"bf": "4", **LONG, "x264-params": "b-pyramid=normal:b-adapt=0"}),
        ("a.mkv", {"bf": "2", "g": "40"}),
        ("open.mp4", {"bf": "3", "g": "30", "x264-params": "open-gop=1"}),
        ("refs.mp4", {"bf": "3", "refs": "8", **LONG}),
        ("baseline.mp4", {"profile": "baseline", "g": "60"}),
        ("short.mp4", {"bf": "3", "g": "4"}),
        ("b.ts", {"bf": "3", "g": "30"}),
        ("plain.avi", {"bf": "0", "g": "30"}),
        ("bare.h264", {"bf": "0", "g": "30"}),
        ("b.flv", {"bf": "3", "g": "30"}),
        ("full.mp4", {"pix_fmt": "yuvj420p"}),
        ("hevc.mp4", X265),
        ("ten.mp4", {**X265, "pix_fmt": "yuv420p10le"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8", "g": "40"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_are_exact(tmp_path: Path, lane: Lane, name: str, settings: dict[str, str]) -> None:
    info = probe(encode(tmp_path / name, moving(260), **{**FAST, **settings} if "codec" not in settings else settings))
    if (why := suits(info, cuda.capability())) is not None:
        pytest.skip(why)
    inside = Plan((Window(7, 9, 1, 0, 20), Window(100, 6, 5, 20, 140), Window(200, 3, 1, 140, 210)))
    end = Plan((Window(252, 8, 1, 0, 260),))
    whole = Plan((Window(0, 260, 1, 0, 260),))
    for wanted in (plan(info, windows=4), inside, end, whole):
        parts = list(DALIDecoder(lane).read(info, wanted))
        assert [numbers(frames) for frames in parts] == [list(window.frames) for window in wanted.windows]
        assert [frames.index.tolist() for frames in parts] == [list(window.frames) for window in wanted.windows]


def test_hidden_pictures_are_the_cpu_s(tmp_path: Path, lane: Lane) -> None:
    """NVDEC through DALI gave the hidden picture for the one that is shown: frame 20 for frame 11."""
    info = probe(encode(tmp_path / "a.webm", moving(260), **ALTREF))
    with pytest.raises(UnsupportedVideoError, match="pictures that are not shown"):
        list(DALIDecoder(lane).read(info, plan(info, windows=4)))


@pytest.mark.parametrize("height", [512, 360, 250])  # the last two are coded taller than they are shown
@pytest.mark.parametrize("settings", COLOURS, ids=lambda settings: " ".join(settings.values())[:40])
def test_colours_are_those_of_the_cpu(tmp_path: Path, lane: Lane, height: int, settings: dict[str, str]) -> None:
    path = encode(tmp_path / "a.mp4", [colourful(512, height)] * 20, **settings)
    info = probe(path)
    (ours,) = PyAVDecoder().read(info, plan(info, windows=1))
    (theirs,) = read(path, lane, windows=1)
    assert_same_colours(ours, theirs)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_comes_from_the_header(tmp_path: Path, lane: Lane, turns: int) -> None:
    pictures = [np.ascontiguousarray(np.rot90(picture, -turns)) for picture in moving(20)]
    (frames,) = read(encode(tmp_path / "a.mp4", pictures, rotation=turns * 90), lane, windows=1)
    assert frames.pictures[0].rotation == (-turns * 90) % 360
    assert upright(frames.pictures[0]).shape == (240, 320, 3)
    assert numbers(frames) == list(range(16))


def test_surfaces_outlive_what_is_decoded_after_them(tmp_path: Path, lane: Lane) -> None:
    first, second = encode(tmp_path / "a.mp4", moving(60)), encode(tmp_path / "b.mp4", moving(60, first=500))
    decoder = DALIDecoder(lane)
    kept = read(first, lane, decoder=decoder)
    for _ in range(5):
        read(second, lane, decoder=decoder)
    del decoder
    read(second, lane)
    assert [numbers(frames) for frames in kept] == [list(frames.window.frames) for frames in kept]


def test_broken_files_between_good_ones(tmp_path: Path, lane: Lane) -> None:
    good, decoder = encode(tmp_path / "good.mkv", moving(90), g="30"), DALIDecoder(lane)
    whole = good.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, len(whole) // 50, np.uint8).tobytes()
    middle = len(whole) // 2
    broken = {
        "cut": whole[: len(whole) * 2 // 3],
        "noise": whole[:middle] + noise + whole[middle + len(noise) :],
        "zeros": whole[:middle] + bytes(len(noise)) + whole[middle + len(noise) :],
        "none": bytes(1000),
    }
    for name, data in broken.items():
        path = tmp_path / f"{name}.mkv"
        path.write_bytes(data)
        try:
            parts = list(decoder.read(info := probe(path), plan(info, windows=3)))
            if name == "cut":
                assert [numbers(frames) for frames in parts] == [frames.index.tolist() for frames in parts]
        except (CorruptVideoError, UnsupportedVideoError):
            assert name != "cut"
        for frames in read(good, lane, decoder=decoder):
            assert numbers(frames) == list(frames.window.frames), name


@pytest.mark.parametrize("settings", [{"bf": "3", "g": "30"}, {"bf": "0", "slices": "4", **LONG}, X265], ids=str)
def test_damage_shows_no_picture_in_anothers_place(tmp_path: Path, lane: Lane, settings: dict[str, str]) -> None:
    """Neither one of another video, in whose memory it may be decoded, nor a later one of its own.

    A video of which every packet gives a picture passes, whatever NVDEC makes of it.
    """
    other = encode(tmp_path / "other.mp4", moving(90, 500), **settings)
    drawn = np.stack([*moving(90), *moving(90, 500)])[:, ::4, ::4, 1].astype(np.int16)
    whole, random = encode(tmp_path / "a.mp4", moving(90), **settings).read_bytes(), np.random.default_rng(0)
    info, decoder, seen = probe(tmp_path / "a.mp4"), DALIDecoder(lane), 0
    for _ in range(40):
        read(other, lane, decoder=decoder)
        info.path.write_bytes(_damaged(whole, random))
        try:
            parts = list(decoder.read(info, plan(info, windows=3)))
        except (CorruptVideoError, UnsupportedVideoError):
            continue
        for frames in parts:
            for index, surface in zip(frames.index.tolist(), frames.pictures, strict=True):
                apart = np.abs(drawn - upright(surface)[::4, ::4, 1]).mean(axis=(1, 2))
                shown = int(apart.argmin())
                assert shown <= index or apart[shown] > CLEAN, (index, shown, apart[[index, shown]].tolist())
                seen += 1
    assert seen, "damage of some bytes leaves something of one in forty"


def _damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Some bytes of the middle half become noise, or zeros."""
    size = int(random.choice([1, 4, 40, 400]))
    place = int(random.integers(len(data) // 4, len(data) * 3 // 4))
    return data[:place] + (random.bytes(size) if random.random() < 0.7 else bytes(size)) + data[place + size :]


def test_what_nvdec_refuses_is_unsupported(tmp_path: Path, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(encode(tmp_path / "a.mp4", [numbered(number)[:, :192] for number in range(8)], pix_fmt="yuv444p"))
    assert suits(info, cuda.capability()) is not None
    decoder = DALIDecoder(lane)
    with pytest.raises(UnsupportedVideoError, match="the CPU's decoder"):
        list(decoder.read(info, plan(info)))
    monkeypatch.setattr(dali, "suits", lambda *_: None)  # what NVDEC itself says
    with pytest.raises(DfxError):
        list(decoder.read(info, plan(info)))
    for frames in read(encode(tmp_path / "b.mp4", moving(40)), lane, decoder=decoder):
        assert numbers(frames) == list(frames.window.frames)


def test_sizes_in_turn(tmp_path: Path, lane: Lane) -> None:
    decoder = DALIDecoder(lane)
    for number, (width, height) in enumerate([(320, 240), (426, 240), (322, 182), (640, 360), (320, 240), (180, 320)]):
        path = encode(tmp_path / f"{number}.mp4", moving(40, 100 * number, width, height))
        for frames in read(path, lane, decoder=decoder):
            assert numbers(frames) == [100 * number + index for index in frames.window.frames]


def assert_drawn(path: Path, lane: Lane, pictures: list[NDArray[np.uint8]]) -> None:
    (frames,) = read(path, lane, windows=1)
    for surface, drawn in zip(frames.pictures, pictures, strict=False):
        assert np.abs(pixels(surface).astype(int) - drawn).mean() < 3 * DALI_COLOURS


def test_h264_of_one_coded_size_and_many_shown_ones(tmp_path: Path, lane: Lane) -> None:
    for height in (208, 200, 208, 196, 194):  # all are coded as 400x208
        pictures = list(moving(20, width=400, height=height))
        assert_drawn(encode(tmp_path / "a.mp4", pictures), lane, pictures)


@pytest.mark.parametrize("edges", [{"left": 160}, {"right": 160}, {"left": 32, "right": 16, "top": 16, "bottom": 6}])
def test_crops_show_their_rectangle(tmp_path: Path, lane: Lane, edges: dict[str, int]) -> None:
    drawn, edge = list(moving(20, width=480)), {"left": 0, "right": 0, "top": 0, "bottom": 0, **edges}
    path = recrop(encode(tmp_path / "whole.mp4", drawn), tmp_path / "a.mp4", **edges)
    box = np.s_[edge["top"] : 240 - edge["bottom"], edge["left"] : 480 - edge["right"]]
    assert_drawn(path, lane, [picture[box] for picture in drawn])


def test_threads_with_streams_of_their_own(tmp_path: Path) -> None:
    paths = [encode(tmp_path / f"{first}.mp4", moving(80, first), bf="3", g="30") for first in (0, 200, 400, 600)]
    wrong: list[object] = []

    def work(first: int, path: Path) -> None:
        try:
            lane = Lane(0)
            decoder = DALIDecoder(lane)
            for _ in range(8):
                for frames in read(path, lane, decoder=decoder):
                    if (seen := numbers(frames)) != [first + index for index in frames.window.frames]:
                        wrong.append((first, seen))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(200 * place, path)) for place, path in enumerate(paths)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_does_not_follow_the_number_of_videos(tmp_path: Path, lane: Lane) -> None:
    path, decoder = encode(tmp_path / "a.mp4", moving(40, width=640, height=480)), DALIDecoder(lane)

    def growth(reads: int) -> int:
        before = cuda.used_memory()
        for _ in range(reads):
            read(path, lane, decoder=decoder)
        return cuda.used_memory() - before

    growth(5)
    # The pictures of sixty such reads are 1.8 GB. Others may use the card too: once is enough.
    assert any(growth(60) < 128 * 2**20 for _ in range(3))
