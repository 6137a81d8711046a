"""The planned windows as a file of their own: the same pictures to the bit, in the same order, and nothing else."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from clips import ALTREF, clip, encode, numbered, recrop, uneven
from numpy.typing import NDArray

from dfx.decode import cut as cutting
from dfx.decode.bitstream import Bits, Shape, has_picture, shapes
from dfx.decode.cut import Cut, cut, spans
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import CorruptVideoError, MissingInputError, UnsupportedVideoError
from dfx.info import PacketTable, VideoInfo
from dfx.plan import plan
from dfx.probe import probe
from dfx.values import Plan, Planes, Window

VP9 = {"codec": "libvpx-vp9", "cpu-used": "8", "deadline": "realtime"}
X265 = {"codec": "libx265", "preset": "ultrafast"}


def x265(**options: object) -> dict[str, str]:
    given = {"log-level": "none", "keyint": 30, "min-keyint": 30, "bframes": 3, "scenecut": 0, "pools": "none"}
    words = {**given, **{name.replace("_", "-"): value for name, value in options.items()}}
    return {**X265, "x265-params": ":".join(f"{name}={value}" for name, value in words.items())}


def of_plan(info: VideoInfo, chosen: Plan) -> Cut:
    return cut(info, spans(chosen.windows))


def pictures(part: Cut) -> list[list[NDArray[np.uint8]]]:
    """The planes of every picture of a cut, in order of presentation, of the rectangle that is shown, without the one
    that seals it, which is one of its keyframes' once more."""
    shape, found = part.shape, []
    with av.open(io.BytesIO(part.data.tobytes())) as container:
        (stream,) = container.streams
        assert (stream.codec_context.width, stream.codec_context.height) == (shape.coded_width, shape.coded_height)
        for frame in container.decode(stream):
            assert (frame.width, frame.height) == (shape.coded_width, shape.coded_height)
            planes = []
            for number, plane in enumerate(frame.planes):
                half = 2 if number else 1
                size = -(-shape.height // half), -(-shape.width // half)
                wide = 2 if frame.format.components[0].bits > 8 else 1
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width * wide]
                left, top = shape.left // half, shape.top // half
                planes.append(rows[top : top + size[0], left * wide : (left + size[1]) * wide])
            found.append(planes)
    if part.seal:
        first, last = part.seal
        assert last == len(found) - 1
        for plane, same in zip(found.pop(), found[first], strict=True):
            np.testing.assert_array_equal(plane, same)
    return found


def assert_same(info: VideoInfo, chosen: Plan) -> Cut:
    """Every planned frame is in the cut, to the bit as the CPU's decoder gives it from the file."""
    part = of_plan(info, chosen)
    ours = pictures(part)
    assert len(ours) == len(part.places)
    for frames in PyAVDecoder().read(info, chosen):
        assert frames.index.tolist() == list(frames.window.frames)
        for index, picture in zip(frames.index.tolist(), frames.pictures, strict=True):
            assert isinstance(picture, Planes)
            for plane, same in zip(ours[part.places[index]], (picture.y, picture.u, picture.v), strict=True):
                np.testing.assert_array_equal(plane, np.ascontiguousarray(same).view(np.uint8))
    return part


CLIPS = [
    ("bframes.mp4", {"bf": "3", "g": "30"}),
    ("pyramid.mp4", {"bf": "4", "g": "60", "x264-params": "b-pyramid=normal:b-adapt=0"}),
    ("open.mp4", {"bf": "3", "g": "30", "x264-params": "open-gop=1"}),
    ("open.mkv", {"bf": "3", "g": "30", "x264-params": "open-gop=1"}),
    ("long.mp4", {"bf": "2", "g": "250", "sc_threshold": "0"}),
    ("fields.mp4", {"x264-params": "interlaced=1", "g": "30"}),
    ("full.mkv", {"pix_fmt": "yuvj420p", "g": "30"}),
    ("ten.mp4", {"pix_fmt": "yuv420p10le", "g": "30"}),
    ("bare.h264", {"bf": "0", "g": "30"}),
    ("plain.avi", {"bf": "0", "g": "30"}),
    ("b.ts", {"bf": "3", "g": "30"}),
    ("b.flv", {"bf": "3", "g": "30"}),
    ("hevc.mp4", x265(open_gop=0)),
    ("hevc.ts", x265(open_gop=0)),
    ("hevc10.mkv", {**x265(open_gop=0), "pix_fmt": "yuv420p10le"}),
    ("vp9.webm", {**VP9, "g": "30"}),
    ("vp9.mp4", {**VP9, "g": "30"}),
    ("vp9.avi", {**VP9, "g": "30"}),
    ("vp8.webm", {"codec": "libvpx", "g": "30"}),
    ("jpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
]


@pytest.mark.parametrize(("name", "settings"), CLIPS, ids=[name for name, _ in CLIPS])
@pytest.mark.parametrize("height", [96, 92])
def test_pictures_are_the_same_to_the_bit(tmp_path: Path, name: str, settings: dict[str, str], height: int) -> None:
    info = probe(encode(tmp_path / name, (numbered(number, 192, height) for number in range(120)), **settings))
    inside = Plan((Window(7, 9, 1, 0, 20), Window(40, 6, 5, 20, 75)))
    assert info.height == height
    for chosen in (plan(info, windows=3, count=8, stride=2), plan(info, windows=1, count=3), inside):
        part = assert_same(info, chosen)
        assert len(part.places) >= chosen.price


def test_only_the_windows_packets_are_there(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 260, g="250", sc_threshold="0", bf="2"))
    chosen = plan(info, windows=2, count=5)
    assert [window.seek for window in chosen.windows] == [0, 250]
    part = assert_same(info, chosen)
    assert len(part.places) == chosen.price < 20
    with av.open(io.BytesIO(part.data.tobytes())) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    first = chosen.windows[0].price
    assert [place for place, packet in enumerate(packets) if packet.is_keyframe] == [0, first, len(packets) - 1]
    assert packets[0].pts < packets[first].dts  # type: ignore[operator]
    assert all(packet.pts >= packet.dts >= 0 for packet in packets)  # type: ignore[operator]
    assert b"elst" not in part.data.tobytes()


def test_a_seek_by_pts_arrives_at_its_keyframe(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 60, g="3", bf="3", sc_threshold="0"))
    part = assert_same(info, Plan((Window(0, 60, 1, 0, 60),)))
    with av.open(io.BytesIO(part.data.tobytes())) as container:
        (stream,) = container.streams
        keys = [packet.pts for packet in container.demux(stream) if packet.size and packet.is_keyframe]
        assert len(keys) == 20 + 1  # one of them, once more at the end
        for pts in keys:
            container.seek(pts, stream=stream)
            assert next(container.demux(stream)).pts == pts


@pytest.mark.parametrize(("name", "first"), [("a.mkv", 0), ("a.mp4", 0), ("a.mp4", -400), ("a.ts", 0)])
def test_irregular_and_negative_times(tmp_path: Path, name: str, first: int) -> None:
    stamps = (np.cumsum([first, *np.random.default_rng(5).integers(10, 90, 79)])).tolist()
    path = uneven(tmp_path / name, stamps)
    assert_same(probe(path), plan(probe(path), windows=3, count=8))


def test_a_window_that_does_not_begin_anew_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(clip(tmp_path / "a.mp4", 90, bf="3", g="30", **{"x264-params": "open-gop=1"}))
    chosen = plan(info, windows=3, count=4)
    later = Plan(chosen.windows[-1:])
    assert later.windows[0].seek > 40
    assert len(assert_same(info, later).places) == later.windows[0].stop  # only the first keyframe is an IDR picture
    monkeypatch.setattr(cutting, "REPLAY", 40)
    with pytest.raises(UnsupportedVideoError, match="no picture that begins anew"):
        of_plan(info, later)


def test_a_flag_that_lies_is_not_believed(tmp_path: Path) -> None:
    for name, settings in (("a.mp4", {"bf": "0"}), ("a.webm", VP9), ("b.webm", {"codec": "libvpx"})):
        info = probe(clip(tmp_path / name, 40, **settings))
        keyframe = info.packets.keyframe.copy()
        keyframe[20] = True
        false = dataclasses.replace(info, packets=PacketTable(info.packets.pts, keyframe))
        assert len(assert_same(false, Plan((Window(20, 4, 1, 20, 24),))).places) == 24


def test_far_windows_are_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe(clip(tmp_path / "a.mp4", 300, g="50", sc_threshold="0"))
    monkeypatch.setattr(cutting, "SKIM", 20)
    monkeypatch.setattr("dfx.decode.container.SKIM", 20)
    monkeypatch.setattr("dfx.decode.container.HOP", 20)
    assert_same(info, plan(info, windows=3, count=8))


@pytest.mark.parametrize("settings", [{"bf": "2", "g": "30"}, x265(open_gop=0)], ids=["h264", "hevc"])
@pytest.mark.parametrize("edges", [{"left": 16, "top": 4}, {"left": 32, "right": 16, "top": 6, "bottom": 10}], ids=str)
def test_crops_are_struck_out(tmp_path: Path, settings: dict[str, str], edges: dict[str, int]) -> None:
    whole = clip(tmp_path / "whole.mp4", 60, **settings)
    info = probe(recrop(whole, tmp_path / "a.mp4", **edges))
    width, height = 192 - edges["left"] - edges.get("right", 0), 96 - edges["top"] - edges.get("bottom", 0)
    assert (info.width, info.height) == (width, height)
    part = assert_same(info, plan(info, windows=2, count=8))
    rectangle = Shape(192, 96, edges["left"], edges["top"], width, height)
    assert dataclasses.replace(part.shape, full_range=None) == rectangle


def remuxed(path: Path, target: Path, told: ColorRange) -> Path:
    """The file, whose container says that its range is so."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        track = container.add_stream_from_template(source.streams.video[0])
        track.codec_context.color_range = told
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                container.mux(packet)
    return target


def range_by_stream(part: Cut) -> int:
    """What its stream alone says: decoded without the container."""
    with av.open(io.BytesIO(part.data.tobytes())) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create(stream.codec_context.name, "r")
        decoder.extradata = stream.codec_context.extradata
        frames = [frame for packet in container.demux(stream) for frame in decoder.decode(packet)]
        return int((frames or decoder.decode(None))[0].color_range)


RANGES = {
    "silent h264": {"pix_fmt": "yuv420p"},
    "limited h264": {"pix_fmt": "yuv420p", "x264-params": "range=tv:overscan=show:sar=64/63"},
    "full h264": {"pix_fmt": "yuvj420p"},
    "silent hevc": {"pix_fmt": "yuv420p", **x265()},
    "limited hevc": {"pix_fmt": "yuv420p", **x265(range="limited", sar=2, scaling_list="default")},
    "full hevc": {"pix_fmt": "yuv420p", **x265(range="full", overscan="crop")},
    "limited vp9": {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"},
    "full vp9": {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8", "color_range": "pc"},
}


@pytest.mark.parametrize("told", [ColorRange.UNSPECIFIED, ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("name", RANGES)
def test_the_range_is_the_one_that_the_cpu_s_decoder_takes(tmp_path: Path, name: str, told: ColorRange) -> None:
    """And DALI, which goes by the stream alone, is told of a full one."""
    path = encode(tmp_path / "plain.mkv", map(numbered, range(20)), **RANGES[name])
    info = probe(remuxed(path, tmp_path / "a.mkv", told))
    part = of_plan(info, plan(info, windows=1))
    (frames,) = PyAVDecoder().read(info, plan(info, windows=1))
    assert part.full_range == frames.pictures[0].full_range
    assert (range_by_stream(part) == ColorRange.JPEG) == part.full_range
    if told == ColorRange.UNSPECIFIED:
        assert part.full_range == name.startswith("full")


def test_packets_that_hide_pictures_are_told(tmp_path: Path) -> None:
    plain, hiding = (
        probe(encode(tmp_path / f"{name}.webm", (numbered(number) for number in range(60)), **settings))
        for name, settings in (("plain", VP9), ("hiding", ALTREF))
    )
    assert not assert_same(plain, plan(plain, windows=2)).hides
    assert assert_same(hiding, plan(hiding, windows=2)).hides


def test_times_that_only_number_packets_are_refused(tmp_path: Path) -> None:
    for name in ("a.avi", "a.h264"):
        info = probe(clip(tmp_path / name, 60, bf="3", g="20"))
        with pytest.raises(UnsupportedVideoError, match="does not say in which order"):
            of_plan(info, plan(info, windows=2))


def test_leading_pictures_of_hevc_are_refused(tmp_path: Path) -> None:
    info = probe(clip(tmp_path / "a.mp4", 90, **x265(open_gop=1)))
    with pytest.raises(UnsupportedVideoError, match="open GOP"):
        of_plan(info, plan(info, windows=3))
    assert_same(info, plan(info, windows=1, count=8))  # before the first of them


def test_packets_without_a_picture_are_refused(tmp_path: Path) -> None:
    settings = {"codec": "libvpx", "deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}
    info = probe(clip(tmp_path / "a.webm", 90, **settings))
    if info.frames == 90:
        pytest.skip("this encoder wrote no hidden frames")
    with pytest.raises(UnsupportedVideoError, match="without a sound picture"):
        of_plan(info, Plan((Window(0, info.frames, 1, 0, info.frames),)))


def test_packets_of_several_slices_are_one_picture(tmp_path: Path) -> None:
    info = probe(encode(tmp_path / "a.mp4", (numbered(number, 320, 240) for number in range(40)), slices="4"))
    assert_same(info, plan(info, windows=2))


@pytest.mark.parametrize("hurt", ["nothing", "length", "kind", "head", "zeros", "tail"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_packets_that_are_damaged_are_refused(tmp_path: Path, codec: str, hurt: str) -> None:
    """NVDEC's parser may give no picture for them, and DALI would hand on others in their places."""
    settings = {"bf": "0", "g": "30"} if codec == "h264" else x265(open_gop=0, bframes=0)
    path = encode(tmp_path / "a.mp4", (numbered(number, 320, 240) for number in range(40)), **settings)
    info = probe(path)
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][3]
    data = bytearray(path.read_bytes())
    length, head = int.from_bytes(data[place : place + 4], "big"), place + 4
    assert length == size - 4, "one slice is all that is in it"
    changes = {
        "nothing": (head, b""),
        "length": (place, (length - 9).to_bytes(4, "big")),
        "kind": (head, b"\x06" if codec == "h264" else b"\x4e"),  # of an SEI message
        "head": (head + 1, bytes(8)),
        "zeros": (place, bytes(size)),
        "tail": (place, (length + 9).to_bytes(4, "big")),
    }
    first, value = changes[hurt]
    data[first : first + len(value)] = value
    path.write_bytes(data)
    if hurt == "nothing":
        assert_same(info, plan(info, windows=2))
        return
    with pytest.raises(UnsupportedVideoError, match="without a sound picture"):
        of_plan(info, plan(info, windows=2))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_picture_has_one_beginning(codec: str) -> None:
    """Packets behind start codes, by hand: a first slice and a later one, and what stands beside them."""
    first, later = (b"\x41\xe0", b"\x41\x4e") if codec == "h264" else (b"\x02\x01\xd0", b"\x02\x01\x50")
    other = b"\x06\x05" if codec == "h264" else b"\x4e\x01\x05"
    second_view = b"\x02\x09\xd0"

    def of(*parts: bytes) -> bool:
        return has_picture(codec, b"".join(b"\0\0\1" + unit + b"\x80" for unit in parts), b"")

    broken = bytes([first[0] | 0x80]) + first[1:]
    assert all(of(*parts) for parts in ([first], [other, first, later, later]))
    assert not any(of(*parts) for parts in ([], [later], [other], [first, first], [broken]))
    assert not has_picture(codec, b"", b"")
    assert codec == "h264" or of(first, second_view)


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "hevc.mp4", "a.webm"])
@pytest.mark.parametrize("distance", [1, 2, 12, 30])
def test_a_file_is_sealed_by_a_keyframe(tmp_path: Path, name: str, distance: int) -> None:
    """By the largest one, and where it ends in a keyframe too."""
    codecs = {
        "hevc.mp4": x265(open_gop=0, keyint=distance, min_keyint=distance),
        "a.webm": {**VP9, "g": str(distance)},
    }
    settings = codecs.get(name, {"g": str(distance), "bf": "0" if name == "a.ts" else "2", "sc_threshold": "0"})
    info = probe(encode(tmp_path / name, (numbered(number, 192, 160) for number in range(90)), **settings))
    chosen = plan(info, windows=2, count=4, stride=4)
    part = assert_same(info, chosen)
    assert part.seal
    assert part.seal[1] == len(part.places)
    with av.open(io.BytesIO(part.data.tobytes())) as container:
        packets = [(packet.is_keyframe, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    *others, (_, last) = packets
    if name == "a.mp4":
        assert last[:6] == b"\0\0\0\2\x09\xf0", "a delimiter stands before it"
        last = last[6:]
    assert last == max((data for is_keyframe, data in others if is_keyframe), key=len)


def test_a_keyframe_that_only_begins_a_file_seals_none(tmp_path: Path) -> None:
    """HEVC's CRA: elsewhere, what FFmpeg shows after it is not what it shows at the beginning."""
    path = clip(tmp_path / "a.mp4", 60, **x265(open_gop=1, bframes=0))
    first, later = probe(path).packets.keyframe.nonzero()[0][1], tmp_path / "later.mp4"
    with av.open(str(path)) as source, av.open(str(later), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in [packet for packet in source.demux(video=0) if packet.size][first:]:
            packet.stream = stream
            target.mux(packet)
    info = probe(later)
    assert assert_same(info, plan(info, windows=1)).seal is None


def test_what_is_not_there(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mkv", 60, g="20")
    info, data = probe(path), path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    half = of_plan(info, Plan((Window(0, 60, 1, 0, 60),)))
    assert 10 < len(half.places) < 50
    assert len(pictures(half)) == len(half.places)
    with pytest.raises(CorruptVideoError, match="not one of its pictures"):
        of_plan(info, Plan((Window(55, 4, 1, 50, 60),)))
    path.unlink()
    with pytest.raises(MissingInputError):
        of_plan(info, plan(info))


def test_windows_that_go_on_need_what_came_before() -> None:
    windows = (Window(0, 4, 1, 0, 6), Window(8, 2, 1, 6, 12), Window(50, 4, 1, 50, 56), Window(54, 1, 1, 56, 56))
    assert spans(windows) == [(0, 6), (0, 12), (50, 56), (50, 56)]


def golomb(*numbers: int) -> str:
    """ue(v)."""
    return "".join("0" * ((number + 1).bit_length() - 1) + f"{number + 1:b}" for number in numbers)


def sequence_of_hevc(full_range: bool) -> bytes:
    """A sequence parameter set with all that may stand before its range, by the tables of H.265, 7.3.2.2 and 7.3.7."""
    scaling = "11" + "1" + golomb(*[3] * 16) + ("0" + golomb(0)) * 19
    pcm = "1" + "01110111" + golomb(0, 1) + "1"
    plain = golomb(2, 1) + golomb(0) + "1" + golomb(1) + "0" + golomb(1) + "1"  # -1, -3 and 2
    nearer = "1" + "1" + golomb(0) + "1" + "00" + "1" + "01"  # a picture later, without one: -2, 1 and -1
    further = "1" + "0" + golomb(0) + "1111"  # of those -1, 2, 1 remain, and one falls on the picture itself
    last = "1" + "0" + golomb(4) + "111" + "1"  # as many flags as that left, and one
    references = golomb(4) + plain + nearer + further + last
    long_term = "1" + golomb(1) + "10101010" + "1"
    usability = "1" + "1" + f"{255:08b}" + "1" * 32 + "1" + "0" + "1" + "101" + f"{full_range:d}" + "0"
    profile = "00000001" + "0110" + "0" * 28 + "1011" + "0" * 44 + f"{93:08b}"
    bits = "00000001" + profile + golomb(0, 1, 192, 96) + "0" + golomb(0, 0, 4) + "1" + golomb(3, 0, 0)
    bits += golomb(0, 2, 0, 2, 1, 1) + scaling + "11" + pcm + references + long_term + "11" + usability
    bits += "1" * (-len(bits) % 8)
    return b"\x42\x01" + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", int(bits, 2).to_bytes(len(bits) // 8, "big"))


@pytest.mark.parametrize("full_range", [False, True])
def test_the_range_behind_all_tools_of_hevc(full_range: bool) -> None:
    assert shapes("hevc", b"\0\0\1" + sequence_of_hevc(full_range), b"") == {Shape(192, 96, 0, 0, 192, 96, full_range)}


def test_headers_that_are_cut() -> None:
    with pytest.raises(EOFError):
        Bits(b"\x01").read(9)
    short = b"\x01\x64\0\x28\xff\xe1\0\x04gd\0\x28\x01\0\0"
    with pytest.raises(EOFError):
        shapes("h264", short, short)
    assert Bits(bytes([0b00101_010])).golomb() == 4


@pytest.mark.shared
@pytest.mark.parametrize("name", ["dfdc_001_real.mp4", "dfl_001_fake.mp4", "dfl_002_real.mp4", "aniport_002_fake.mp4"])
def test_real_videos(shared: Path, name: str) -> None:
    info = probe(shared / "data" / "videos" / name)
    part = assert_same(info, plan(info, windows=2, count=8, stride=2))
    assert part.shape.coded_width % 16 == part.shape.coded_height % 16 == 0
