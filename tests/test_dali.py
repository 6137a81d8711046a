"""DALI's CPU variant behind the decoder's seam: exact frames, honest errors, bounded memory. No GPU is needed."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import clip, colourful, encode, numbered, read_number, sound_only, uneven
from decoded_surfaces import numbers, pixels, upright
from tolerances import CHROMA_EDGES, DALI_COLOURS

from dfx.decode import dali, nvdec
from dfx.decode.bitstream import Shape
from dfx.decode.cut import Cut
from dfx.decode.dali import DALIDecoder, missing
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import (
    CorruptVideoError,
    DependencyError,
    DeviceError,
    MissingInputError,
    TooLargeVideoError,
    UnsupportedVideoError,
)
from dfx.info import PacketTable, VideoInfo
from dfx.origin import install
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import HOST
from dfx.values import Frames, Plan, Surface, Window

pytestmark = pytest.mark.dali
VP9 = {"codec": "libvpx-vp9", "cpu-used": "8", "deadline": "realtime"}


def read(path: Path, windows: int = 3, count: int = 16, decoder: DALIDecoder | None = None) -> list[Frames]:
    info = probe(path)
    return list((decoder or DALIDecoder()).read(info, plan(info, windows=windows, count=count)))


def write(path: Path, stamps: Sequence[int], **settings: str) -> Path:
    """VP9 frames that are shown at irregular times, in milliseconds."""
    return uneven(path, stamps, "libvpx-vp9", **{"cpu-used": "8", **settings})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.webm", VP9),
        ("a.mp4", VP9),
        ("a.mkv", {**VP9, "g": "10"}),
        ("a.mp4", {**VP9, "g": "300"}),
        ("a.webm", {"codec": "libvpx"}),
        ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.mkv", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("a.avi", VP9),
        ("a.ivf", {**VP9, "g": "20"}),
        ("a.mkv", {"codec": "libvpx", "g": "20"}),
        ("a.nut", {**VP9, "g": "20"}),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else value,
)
def test_every_codec_gives_the_planned_frames(tmp_path: Path, name: str, settings: dict[str, str]) -> None:
    path = clip(tmp_path / name, 90, **settings)
    parts = read(path)
    assert len(parts) == 3
    for frames, same in zip(parts, PyAVDecoder().read(probe(path), plan(probe(path), windows=3)), strict=True):
        assert numbers(frames) == list(frames.window.frames) == frames.index.tolist()
        np.testing.assert_array_equal(frames.seconds, same.seconds)


def test_hidden_frames_are_not_counted(tmp_path: Path) -> None:
    y, x = np.mgrid[:96, :320]
    pictures = [numbered(number, 320, 160) for number in range(90)]
    for number, picture in enumerate(pictures):
        waves = (np.sin((x + 3 * number) / 17) + np.cos((y + number) / 11)) * 50 + 128
        picture[32:128] = waves.astype(np.uint8)[..., None]
    settings = {"deadline": "realtime", "cpu-used": "6", "b": "300k", "auto-alt-ref": "1", "lag-in-frames": "25"}
    path = encode(tmp_path / "a.webm", pictures, codec="libvpx-vp9", **settings)
    with av.open(str(path)) as container:
        ends = [bytes(packet)[-1] for packet in container.demux(video=0) if packet.size]
    assert any(end & 0xE0 == 0xC0 for end in ends)  # superframes: a reference that is not shown, and a frame
    for frames in read(path):
        assert numbers(frames) == list(frames.window.frames)


def test_strides_and_windows_deep_in_a_long_gop(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.webm", 260, **VP9, g="260"))
    windows = (Window(3, 5, 2, 0, 12), Window(100, 4, 7, 12, 122), Window(250, 10, 1, 122, 260))
    parts = list(DALIDecoder().read(info, Plan(windows)))
    assert [numbers(frames) for frames in parts] == [list(window.frames) for window in windows]


@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
def test_a_variable_rate_keeps_numbers_and_times(tmp_path: Path, name: str) -> None:
    stamps = np.cumsum([0, *np.random.default_rng(5).integers(10, 90, 79)]).tolist()
    for frames in read(write(tmp_path / name, stamps)):
        assert numbers(frames) == list(frames.window.frames)
        np.testing.assert_allclose(frames.seconds, np.array(stamps)[frames.index] / 1000, atol=0.002)


@pytest.mark.parametrize("size", [(191, 97), (190, 98), (161, 33)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    (frames,) = read(encode(tmp_path / "a.webm", [numbered(number, *size) for number in range(20)], **VP9), windows=1)
    assert numbers(frames) == list(range(16))
    assert (frames.pictures[0].width, frames.pictures[0].height) == size


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_comes_from_the_header(tmp_path: Path, turns: int) -> None:
    pictures = [np.ascontiguousarray(np.rot90(numbered(number), -turns)) for number in range(20)]
    (frames,) = read(encode(tmp_path / "a.mp4", pictures, rotation=turns * 90, **VP9), windows=1)
    assert frames.pictures[0].rotation == (-turns * 90) % 360
    assert (frames.pictures[0].width, frames.pictures[0].height) == (192, 96)
    assert numbers(frames) == list(range(16))


def test_edit_lists_are_ignored(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 60, **VP9)
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 16  # behind version, count and duration: the media time, in ticks of 1/12800 s
    data[place : place + 4] = (12800 // 25 * 10).to_bytes(4, "big")
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50  # FFmpeg, left to itself, skips ten frames
    for frames in read(path):
        assert numbers(frames) == list(frames.window.frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_windows_anywhere_among_keyframes_near_and_far(tmp_path: Path, name: str, codec: str) -> None:
    if (name, codec) == ("a.mp4", "libvpx"):
        name = "a.mkv"
    random = np.random.default_rng(7)
    for keyframes in (1, 3, 12, 300):
        settings = {**VP9, "codec": codec, "g": str(keyframes)}
        info = probe(clip(tmp_path / name, 120, **settings))
        keys, windows, stop = np.flatnonzero(info.packets.keyframe), [], 0
        while (start := stop + int(random.integers(0, 30))) + 15 < 120:
            seek = max(stop, int(keys[keys <= start][-1]))
            windows.append(Window(start, 4, int(random.integers(1, 5)), seek, max(seek, start + 16)))
            stop = windows[-1].stop
        parts = list(DALIDecoder().read(info, Plan(tuple(windows))))
        assert [numbers(frames) for frames in parts] == [list(window.frames) for window in windows]


def test_only_the_windows_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    cut = dali.cut

    def counted(*args: object, **settings: object) -> Cut:
        part = cut(*args, **settings)  # type: ignore[arg-type]
        seen.append(len(part.places))
        return part

    monkeypatch.setattr(dali, "cut", counted)
    first, second = read(clip(tmp_path / "a.webm", 130, **VP9, g="50"), windows=2)
    assert second.window.seek == 100
    assert seen == [sum(frames.window.price for frames in (first, second))]
    assert [numbers(first), numbers(second)] == [list(first.window.frames), list(second.window.frames)]


def test_surfaces_point_into_tensors_that_they_keep(tmp_path: Path) -> None:
    (frames,) = read(clip(tmp_path / "a.webm", 20, **VP9), windows=1)
    surface = frames.pictures[3]
    assert isinstance(surface, Surface)
    assert (surface.device, surface.stored_width, surface.stored_height) == (HOST, 192, 96)
    kept = pixels(surface).copy()
    read(tmp_path / "a.webm")
    at = np.frombuffer((ctypes.c_uint8 * kept.size).from_address(surface.pointer), np.uint8).reshape(kept.shape)
    np.testing.assert_array_equal(at, kept)


def test_a_call_brings_what_the_bound_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "a.webm", 90, **VP9)
    assert len({id(frames.pictures[0].owner) for frames in read(path)}) == 1
    monkeypatch.setattr(dali, "CHUNK", 20 * 192 * 96 * 3)
    parts = read(path)
    assert len({id(frames.pictures[0].owner) for frames in parts}) == 3
    assert [numbers(frames) for frames in parts] == [list(frames.window.frames) for frames in parts]


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
def test_a_file_that_is_cut_gives_what_is_there(tmp_path: Path, name: str, cut: float) -> None:
    path = clip(tmp_path / name, 60, **VP9, g="10")
    whole = faststart(path)
    path.write_bytes(whole[: int(len(whole) * cut)])
    parts = read(path)
    assert parts
    for frames in parts:
        assert numbers(frames) == frames.index.tolist() == list(frames.window.frames)[: len(frames)]


def faststart(path: Path) -> bytes:
    """The file, an mp4's index moved before its data."""
    if path.suffix != ".mp4":
        return path.read_bytes()
    moved = path.with_name("fast.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return moved.read_bytes()


def test_a_file_that_shrank_after_the_probe(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.webm", 60, **VP9)
    info, whole = probe(path), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    windows = (Window(0, 16, 1, 0, 16), Window(16, 16, 1, 16, 32), Window(44, 16, 1, 32, 60))
    parts = list(DALIDecoder().read(info, Plan(windows)))
    assert [numbers(frames) for frames in parts] == [frames.index.tolist() for frames in parts]
    assert parts[0].index.tolist() == list(range(16))
    assert sum(len(frames) for frames in parts) < 48
    with pytest.raises(CorruptVideoError, match="not one of its pictures"):
        list(DALIDecoder().read(info, Plan(windows[2:])))


def damage(path: Path, first: float, last: float) -> Path:
    data = np.fromfile(path, np.uint8)
    part = slice(int(len(data) * first), int(len(data) * last))
    data[part] = np.random.default_rng(0).integers(0, 256, len(data[part]), np.uint8)
    path.write_bytes(data.tobytes())
    return path


def test_the_decoder_goes_on_after_files_that_are_broken(tmp_path: Path) -> None:
    good, decoder = clip(tmp_path / "good.webm", 40, **VP9), DALIDecoder()
    info = probe(good)
    rest = good.read_bytes()
    for broken in (b"", b"\0" * 500, rest[:40], b"\x1aE\xdf\xa3" + bytes(5000)):
        (tmp_path / "bad.webm").write_bytes(broken)
        with pytest.raises(CorruptVideoError):
            list(decoder.read(dataclasses.replace(info, path=tmp_path / "bad.webm"), plan(info)))
        assert [numbers(frames) for frames in read(good, decoder=decoder)] == [list(range(16)), list(range(24, 40))]
    with pytest.raises(MissingInputError):
        list(decoder.read(dataclasses.replace(info, path=tmp_path / "none.webm"), plan(info)))


@pytest.mark.parametrize("name", ["a.webm", "a.mp4", "a.mkv"])
def test_damage_inside_gives_right_numbers_or_an_error(tmp_path: Path, name: str) -> None:
    decoder, path, decoded = DALIDecoder(), tmp_path / name, 0
    for first in (0.3, 0.5, 0.7):
        clip(path, 60, **VP9, g="10")
        try:
            parts = read(damage(path, first, first + 0.02), decoder=decoder)
        except (CorruptVideoError, UnsupportedVideoError):
            continue
        decoded += 1
        same = next(PyAVDecoder().read(probe(path), plan(probe(path), windows=3)))
        seen = {int(i): read_number(planes.y) for i, planes in zip(same.index, same.pictures, strict=True)}
        ours = dict(zip(parts[0].index.tolist(), numbers(parts[0]), strict=True))
        assert {i: ours[i] for i in ours.keys() & seen} == {i: seen[i] for i in ours.keys() & seen}
        assert all(pixels(surface).any() for frames in parts for surface in frames.pictures)
    assert decoded, "damage to a fiftieth of a file leaves something of one in three"


def test_nothing_decodable_is_corrupt(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.webm", 20, **VP9))
    with pytest.raises(CorruptVideoError, match="not one of its pictures"):
        list(DALIDecoder().read(info, Plan((Window(500, 16, 1, 15, 16),))))
    assert list(DALIDecoder().read(info, plan(info)))


def test_pixels_are_limited(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.webm", 20, **VP9))
    with pytest.raises(TooLargeVideoError, match="192x96 pixels"):
        list(DALIDecoder(pixels=1000).read(info, plan(info)))


def test_what_dali_cannot_have_goes_to_the_other_decoder(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 20))
    with pytest.raises(UnsupportedVideoError, match=r"h264 on a GPU only.*the CPU's decoder"):
        list(DALIDecoder().read(info, plan(info)))


def test_a_header_that_lies_about_the_size(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 20, **VP9)
    data = bytearray(path.read_bytes())
    place = data.index(b"vp09") + 4 + 24
    data[place : place + 4] = b"\x07\x80\x04\x38"
    path.write_bytes(data)
    info = probe(path)
    assert [numbers(frames) for frames in DALIDecoder().read(info, plan(info))] == [list(range(16))]
    lie = dataclasses.replace(info, width=1920, height=1080)
    with pytest.raises(UnsupportedVideoError, match="does not state pictures of 1920x1080"):
        list(DALIDecoder().read(lie, plan(lie)))


@pytest.mark.parametrize(("name", "settings"), [("a.webm", VP9), ("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"})])
def test_colours_are_bt601_of_the_stream_s_range(tmp_path: Path, name: str, settings: dict[str, str]) -> None:
    path = encode(tmp_path / name, [colourful(320, 256)] * 4, **settings)
    picture = upright(read(path)[0].pictures[0]).astype(int)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        same = frame.reformat(format="rgb24", src_colorspace="ITU601").to_ndarray().astype(int)
    difference = np.abs(picture - same)
    assert difference.mean() < DALI_COLOURS
    assert abs(picture.mean() - same.mean()) < DALI_COLOURS / 2
    assert np.quantile(difference, 0.999) < CHROMA_EDGES


def test_threads_do_not_mix_their_videos(tmp_path: Path) -> None:
    paths = [
        encode(tmp_path / f"{first}.webm", (numbered(first + number) for number in range(40)), **VP9)
        for first in (0, 200, 400, 600)
    ]
    wrong: list[object] = []

    def work(first: int, path: Path) -> None:
        decoder = DALIDecoder()
        for _ in range(8):
            for frames in read(path, decoder=decoder):
                if numbers(frames) != [first + index for index in frames.window.frames]:
                    wrong.append((first, numbers(frames)))

    threads = [threading.Thread(target=work, args=(200 * i, path)) for i, path in enumerate(paths)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_does_not_follow_the_number_of_videos(tmp_path: Path) -> None:
    paths = [encode(tmp_path / f"{i}.webm", [numbered(i, 640, 360)] * 24, **VP9) for i in range(6)]
    decoder = DALIDecoder()

    def some(rounds: int) -> int:
        for _ in range(rounds):
            for path in paths:
                read(path, windows=1, decoder=decoder)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MB

    before = some(3)
    assert some(10) - before < 16  # one video's pictures are 11 MB, sixty videos' 663 MB


INFO = VideoInfo(
    path=Path("a.mp4"),
    container="mov,mp4,m4a,3gp,3g2,mj2",
    codec="h264",
    profile="High",
    pix_fmt="yuv420p",
    width=1920,
    height=1080,
    rotation=0,
    rate=Fraction(30),
    time_base=Fraction(1, 30),
    duration=10.0,
    frames=4,
    bit_rate=0,
    bytes=1000,
    stream=0,
    audio=None,
    packets=PacketTable(np.array([0, 2, 1, 3]), np.array([True, False, False, True])),
)
P100, V100, T4, A10, H100, B200 = (6, 0), (7, 0), (7, 5), (8, 6), (9, 0), (10, 0)
HEVC10 = {"codec": "hevc", "profile": "Main 10", "pix_fmt": "yuv420p10le"}
VP9_10 = {"codec": "vp9", "profile": "Profile 2", "pix_fmt": "yuv420p10le"}


@pytest.mark.parametrize(
    ("changes", "capability"),
    [
        ({}, P100),
        ({"profile": "Constrained Baseline", "pix_fmt": "yuvj420p"}, T4),
        ({"width": 4096, "height": 4096}, H100),
        ({"codec": "hevc", "profile": "Main"}, P100),
        ({"codec": "hevc", "profile": "Main", "width": 8192, "height": 4320}, T4),
        (HEVC10, P100),
        (VP9_10, T4),
        ({"codec": "vp9", "profile": "Profile 0", "container": "matroska,webm"}, P100),
        ({"codec": "vp8", "profile": ""}, T4),
        ({"codec": "vp9", "profile": "Profile 0", "width": 191}, None),
        ({"codec": "mjpeg", "pix_fmt": "yuvj444p"}, None),
    ],
)
def test_what_suits(changes: dict[str, object], capability: tuple[int, int] | None) -> None:
    assert suits(dataclasses.replace(INFO, **changes), capability) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "capability", "why"),
    [
        ({"profile": "High 4:4:4 Predictive", "pix_fmt": "yuv444p"}, H100, "4:4:4"),
        ({"profile": "High 4:4:4 Predictive"}, H100, "4:4:4"),
        ({"profile": "High 4:2:2", "pix_fmt": "yuv422p"}, B200, "4:2:2"),
        ({"profile": "High 10", "pix_fmt": "yuv420p10le"}, H100, "High 10"),
        ({"pix_fmt": "yuv444p"}, H100, "yuv444p"),
        ({"width": 32, "height": 32}, H100, "from 48x16"),
        ({"width": 8192, "height": 4320}, H100, "4096x4096"),
        ({"width": 1921}, H100, "even"),
        ({"codec": "hevc", "profile": "Main", "width": 8192, "height": 4320}, P100, "4096x4096"),
        ({"codec": "hevc", "profile": "Main", "width": 128, "height": 128}, H100, "from 144x144"),
        (VP9_10, V100, "needs compute capability 7.5; this GPU has 7.0"),
        ({"codec": "vp8", "profile": ""}, P100, "needs compute capability 6.1"),
        ({"codec": "av1", "profile": "Main"}, A10, "AV1 has packets"),
        ({"codec": "mpeg2video"}, H100, "no MPEG-2"),
        ({"codec": "prores"}, H100, "NVDEC has no prores"),
        ({}, None, "on a GPU only"),
    ],
)
def test_what_does_not_suit(changes: dict[str, object], capability: tuple[int, int] | None, why: str) -> None:
    assert why in str(suits(dataclasses.replace(INFO, **changes), capability))  # type: ignore[arg-type]


def test_every_engine_s_pixels_are_its_own() -> None:
    assert not nvdec.ENGINES.keys() & nvdec.NOT_THROUGH_DALI.keys()


def test_sizes_that_dali_confuses() -> None:
    sizes = dali._Sizes()
    small, large = (Shape(1920, height, 0, 0, 1920, 1080) for height in (1080, 1088))
    for codec in ("hevc", "vp9"):
        assert sizes.clash(codec, small) is None
        assert sizes.clash(codec, small) is None
        assert sizes.clash(codec, large) is None
        assert "confuse" in str(sizes.clash(codec, small))
        assert sizes.clash(codec, large) is None
    assert sizes.clash("h264", large) is None
    assert sizes.clash("h264", small) is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("CUDA runtime API error cudaErrorMemoryAllocation (2):\nout of memory", TooLargeVideoError),
        ("an illegal memory access was encountered", DeviceError),
        ("Failed to load libnvcuvid.so, needed by the VideoReader operator", DeviceError),
        ("Codec configuration not supported on this GPU. Codec: H.264", UnsupportedVideoError),
        ("Video is too small in at least one dimension", UnsupportedVideoError),
        ("CUDA driver API error CUDA_ERROR_INVALID_VALUE (1)", CorruptVideoError),
        ("", CorruptVideoError),
    ],
)
def test_errors_are_mapped(said: str, kind: type[Exception]) -> None:
    error = dali._mapped(INFO, RuntimeError(said))
    assert type(error) is kind
    assert "'a.mp4'" in str(error)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(HOST) is None
    monkeypatch.setattr(ctypes, "CDLL", _no_library)
    assert "libnvcuvid.so.1" in str(missing(0))
    assert missing(HOST) is None
    monkeypatch.setattr("nvidia.dali.__version__", "2.5.0")
    assert re.search(r"DALI 2\.5\.0 is there.*DALI 2\.4\.x makes RGB: pip install", str(missing(0)))
    assert missing(HOST) is None
    monkeypatch.setitem(sys.modules, "nvidia.dali.experimental", None)
    assert install("gpu-cu12") in str(missing(0))
    with pytest.raises(DependencyError, match="gpu-cu13"):
        DALIDecoder()


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 20))
    with pytest.raises(DeviceError, match="cannot use GPU 99"):
        list(DALIDecoder(SimpleNamespace(device=99, stream=0)).read(info, plan(info)))


def test_dali_does_not_bring_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')")
    code = "import sys; from dfx.decode.dali import DALIDecoder; DALIDecoder(); assert 'torch' not in sys.modules"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def _no_library(name: str) -> None:
    raise OSError(name)


def test_a_file_without_video_is_never_reached(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVideoError):
        read(sound_only(tmp_path / "a.mp4"))
