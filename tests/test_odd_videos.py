"""Odd but honest videos are scored, and as a plain video of the same pictures is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import Disposition
from clips import clip, encode, read_number, sound_only
from numpy.typing import NDArray
from tolerances import COARSER_SCORE, CODED_GREY, DOUBLE_PRECISION, RECODED_SCORE, SHORTER_SCORE

import dfx.demo
from dfx.decode.pyav import PyAVDecoder
from dfx.frames import plan_of
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.probe import probe
from dfx.values import Frames, Planes, Prediction, Reason

FRAMES = 40  # two windows of 16 with a gap between them
Picture = NDArray[np.uint8]
Packets = list[Packet]
GOOD = {
    "libx264": {"crf": "12", "preset": "veryfast", "bf": "3"},
    "libx264rgb": {"crf": "12", "preset": "ultrafast"},
    "libx265": {"crf": "10", "preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx": {"crf": "4", "b": "5M", "deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"crf": "10", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"crf": "12", "preset": "11"},
    "mpeg4": {"qmin": "2", "qmax": "2"},
    "mpeg2video": {"qmin": "2", "qmax": "2"},
    "mjpeg": {"qmin": "2", "qmax": "2", "pix_fmt": "yuvj420p"},
}


class Score(Protocol):
    def __call__(self, path: Path) -> Prediction: ...


class Make(Protocol):
    def __call__(self, name: str, pictures: Iterable[Picture] | None = None, **settings: Any) -> Path: ...


@pytest.fixture(scope="module")
def score() -> Score:
    """`dfx.predict_video`, with networks that are loaded once; a path is scored once, too."""
    pipeline = Pipeline()

    @cache
    def scored(path: Path) -> Prediction:
        row = pipeline.predict(path)
        assert row.reason == Reason.OK, row
        return row

    return scored


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    with av.open(str(dfx.demo.SAMPLES / "real.mp4")) as container:
        frames = container.decode(video=0)
        return [next(frames).to_ndarray(format="rgb24") for _ in range(FRAMES)]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, pictures: list[Picture]) -> Make:
    """Encodes the pictures, those of the sample unless told, at high quality; once for every name."""
    folder = tmp_path_factory.mktemp("made")

    def made(name: str, shown: Iterable[Picture] | None = None, **settings: Any) -> Path:
        path, codec = folder / name, str(settings.get("codec", "libx264"))
        if path.exists():
            return path
        if not _can_encode(codec):
            pytest.skip(f"this PyAV has no encoder {codec}")
        return encode(path, list(pictures if shown is None else shown), **{**GOOD.get(codec, {}), **settings})

    return made


@pytest.fixture(scope="module")
def plain(make: Make) -> Path:
    """8 bits, 4:2:0, H.264 with B-frames, one keyframe, in mp4."""
    return make("plain.mp4")


@pytest.fixture(scope="module")
def wanted(score: Score, plain: Path) -> Prediction:
    return score(plain)


def _can_encode(codec: str) -> bool:
    try:
        return av.codec.Codec(codec, "w").is_encoder
    except av.codec.codec.UnknownCodecError:
        return False


def check_score(seen: Prediction, wanted: Prediction, within: float = RECODED_SCORE) -> None:
    assert len(seen.clips) == len(wanted.clips)
    assert seen.probability == pytest.approx(wanted.probability, abs=within)


def check_same(seen: Prediction, wanted: Prediction) -> None:
    """The same packets: nothing that was seen in the pictures may differ."""
    assert [(clip.box, clip.logit) for clip in seen.clips] == [(clip.box, clip.logit) for clip in wanted.clips]
    assert seen.probability == wanted.probability


def check_pictures(seen: Path, wanted: Path) -> None:
    """The same pictures in brightness and colour, but for what an encoder changes."""
    for left, right in zip(decoded(seen, 4, 5), decoded(wanted, 4, 5), strict=True):
        assert left.index.tolist() == right.index.tolist()
        for a, b in zip(left.pictures, right.pictures, strict=True):
            height, width = min(a.height, b.height), min(a.width, b.width)
            assert np.abs(brightness(a)[:height, :width] - brightness(b)[:height, :width]).mean() < CODED_GREY
            np.testing.assert_allclose(colour(a), colour(b), rtol=0, atol=CODED_GREY)


def decoded(path: Path, count: int = 16, stride: int = 1) -> list[Frames]:
    info = probe(path)
    return list(PyAVDecoder().read(info, plan(info, count=count, stride=stride)))


def brightness(planes: Planes) -> NDArray[np.float64]:
    """Levels of 0..255, whatever the depth and the range: [H, W]."""
    level = planes.y / 2.0 ** (planes.depth - 8)
    return level if planes.full_range else (level - 16) * 255 / 219


def colour(planes: Planes) -> list[float]:
    """The mean of both differences of colour, in levels of 0..255."""
    levels = [float(plane.mean()) / 2.0 ** (planes.depth - 8) - 128 for plane in (planes.u, planes.v)]
    return levels if planes.full_range else [level * 255 / 224 for level in levels]


def remux(source: Path, target: Path, edit: Callable[[Packets], Packets] = list, **options: str) -> Path:
    """Copies the packets of a video stream into another container. options: the muxer's."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream)
        packets = edit([packet for packet in given.demux(stream) if packet.size])
        if target.suffix == ".avi":
            copy.time_base = Fraction(1, 25)
            if stream.codec_context.name == "h264":
                annexb = BitStreamFilterContext("h264_mp4toannexb", stream)
                packets = [part for packet in packets for part in annexb.filter(packet)]
        for packet in packets:
            packet.stream = copy
            made.mux(packet)
    return target


def mux(target: Path, sources: list[Path], cover: int | None = None) -> Path:
    """Puts the first streams of several files into one. cover: which of them is an attached picture."""
    given = [av.open(str(source)) for source in sources]
    with av.open(str(target), "w") as made:
        copies = [made.add_stream_from_template(container.streams[0]) for container in given]
        if cover is not None:
            copies[cover].disposition = Disposition.attached_pic
        pairs = [
            (packet, copy)
            for container, copy in zip(given, copies, strict=True)
            for packet in container.demux(container.streams[0])
            if packet.size
        ]
        for packet, copy in sorted(pairs, key=lambda pair: pair[0].dts * pair[0].time_base):
            packet.stream = copy
            made.mux(packet)
    for container in given:
        container.close()
    return target


def patched(source: Path, target: Path, box: bytes, offset: int, data: bytes) -> Path:
    """A copy of an mp4 with bytes of a box overwritten. offset: from the first letter of the box's kind."""
    content = bytearray(source.read_bytes())
    start = content.rindex(box) + offset
    content[start : start + len(data)] = data
    target.write_bytes(content)
    return target


def resized(picture: Picture, width: int, height: int) -> Picture:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width=width, height=height, interpolation="BICUBIC").to_ndarray()


RECODED: list[tuple[str, dict[str, Any]]] = [
    ("10_bits.mp4", {"pix_fmt": "yuv420p10le"}),
    ("422.mp4", {"pix_fmt": "yuv422p"}),
    ("422_10_bits.mov", {"pix_fmt": "yuv422p10le"}),
    ("444.mp4", {"pix_fmt": "yuv444p"}),
    ("444_10_bits.mkv", {"pix_fmt": "yuv444p10le"}),
    ("full_range.mp4", {"pix_fmt": "yuvj420p"}),
    ("rgb.mp4", {"codec": "libx264rgb", "pix_fmt": "rgb24"}),
    ("interlaced.mp4", {"flags": "+ildct+ilme"}),
    ("interlaced.mpg", {"codec": "mpeg2video", "flags": "+ildct+ilme", "bf": "2"}),
    ("every_frame_a_keyframe.mp4", {"g": "1"}),
    ("intra_refresh.mkv", {"intra-refresh": "1", "g": "10"}),
    ("7_frames_a_second.mp4", {"rate": 7}),
    ("hevc.mkv", {"codec": "libx265"}),
    ("hevc_10_bits.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    ("hevc_full_range.mov", {"codec": "libx265", "pix_fmt": "yuvj420p"}),
    ("vp8.webm", {"codec": "libvpx"}),
    ("vp9.webm", {"codec": "libvpx-vp9"}),
    ("vp9_444.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuv444p"}),
    ("av1.webm", {"codec": "libsvtav1"}),
    ("av1_10_bits.mp4", {"codec": "libsvtav1", "pix_fmt": "yuv420p10le"}),
    ("mpeg4.avi", {"codec": "mpeg4"}),
    ("mpeg4_b_frames.avi", {"codec": "mpeg4", "bf": "2"}),
    ("mjpeg.avi", {"codec": "mjpeg"}),
    ("mjpeg.mov", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}),
    ("prores.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    ("prores_4444.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}),
    ("ffv1_9_bits.mkv", {"codec": "ffv1", "pix_fmt": "yuv420p9le"}),
]


@pytest.mark.parametrize(("name", "settings"), RECODED, ids=[name for name, _ in RECODED])
def test_codecs_depths_and_layouts_score_alike(
    plain: Path, make: Make, score: Score, wanted: Prediction, name: str, settings: dict[str, Any]
) -> None:
    path = make(name, **settings)
    check_score(score(path), wanted)
    check_pictures(path, plain)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_a_picture_far_behind_its_keyframe_is_found(tmp_path: Path, codec: str) -> None:
    path = clip(tmp_path / "far.mp4", FRAMES, codec=codec, g="20", **GOOD[codec])
    wanted = [5, 9, 25, 38]
    found = list(PyAVDecoder().read(probe(path), plan_of(probe(path), wanted)))
    assert [frames.index.tolist() for frames in found] == [[index] for index in wanted]
    assert [read_number(frames.pictures[0].y) for frames in found] == wanted  # type: ignore[union-attr]


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_rotated_videos_score_as_the_upright_one(
    plain: Path, make: Make, score: Score, wanted: Prediction, pictures: list[Picture], turns: int, suffix: str
) -> None:
    lying = [np.ascontiguousarray(np.rot90(picture, -turns)) for picture in pictures]
    path = make(f"turned_{turns}.{suffix}", lying, rotation=90 * turns, preset="ultrafast")
    check_score(score(path), wanted)
    check_pictures(path, plain)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("odd.mp4", {"pix_fmt": "yuv444p"}),
        ("odd.webm", {"codec": "libvpx-vp9"}),
        ("odd_av1.mp4", {"codec": "libsvtav1"}),
        ("odd.avi", {"codec": "mjpeg"}),
    ],
    ids=["h264-444", "vp9-420", "av1-420", "mjpeg-420"],
)
def test_odd_sizes_score_alike(
    plain: Path,
    make: Make,
    score: Score,
    wanted: Prediction,
    pictures: list[Picture],
    name: str,
    settings: dict[str, Any],
) -> None:
    path = make(name, [np.ascontiguousarray(picture[:359, :479]) for picture in pictures], **settings)
    assert (probe(path).width, probe(path).height) == (479, 359)
    check_score(score(path), wanted)
    check_pictures(path, plain)


def test_a_picture_cropped_by_its_stream_scores_alike(
    plain: Path, make: Make, score: Score, wanted: Prediction, pictures: list[Picture]
) -> None:
    framed = [np.pad(picture, ((8, 8), (16, 16), (0, 0)), mode="edge") for picture in pictures]
    path = make("cropped.mp4", framed, **{"x264-params": "crop-rect=16,8,16,8"})
    assert (probe(path).width, probe(path).height) == (480, 360)
    check_score(score(path), wanted)
    check_pictures(path, plain)


@pytest.mark.parametrize("name", ["a.mov", "a.mkv", "a.ts", "a.flv", "a.nut"])
def test_the_container_does_not_change_the_score(
    plain: Path, score: Score, wanted: Prediction, tmp_path: Path, name: str
) -> None:
    check_same(score(remux(plain, tmp_path / name)), wanted)


@pytest.mark.parametrize(
    ("source", "name"), [("vp9.webm", "a.mp4"), ("mpeg4_b_frames.avi", "a.mkv"), ("hevc.mkv", "a.mov")]
)
def test_other_codecs_score_the_same_in_another_container(
    make: Make, score: Score, tmp_path: Path, source: str, name: str
) -> None:
    path = make(source, **dict(RECODED)[source])
    check_same(score(remux(path, tmp_path / name)), score(path))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_an_irregular_frame_rate_does_not_change_the_score(
    plain: Path, score: Score, wanted: Prediction, tmp_path: Path, name: str
) -> None:
    def irregular(packets: Packets) -> Packets:
        shown = sorted(packets, key=lambda packet: packet.pts)
        steps = np.random.default_rng(0).choice([256, 300, 512, 2048], len(packets))
        for packet, pts in zip(shown, np.cumsum(steps).tolist(), strict=True):
            packet.pts = pts + 4096
        for packet, pts in zip(packets, sorted(packet.pts for packet in packets), strict=True):
            packet.dts = pts - 4096
        return packets

    path = remux(plain, tmp_path / name, irregular)
    assert len(np.unique(np.diff(np.sort(probe(path).packets.pts)))) >= 4
    check_same(score(path), wanted)


def shifted(ticks: int) -> Callable[[Packets], Packets]:
    def shift(packets: Packets) -> Packets:
        for packet in packets:
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packets

    return shift


@pytest.mark.parametrize(
    ("shift", "options"),
    [
        (0, {"movflags": "negative_cts_offsets"}),
        (0, {"use_editlist": "0"}),
        (0, {"movflags": "frag_every_frame+empty_moov+default_base_moof"}),
        (-12 * 512, {}),
        (50 * 512, {}),
        (50 * 512, {"movflags": "frag_every_frame+empty_moov+default_base_moof+delay_moov"}),
    ],
    ids=["negative offsets", "none", "fragments", "negative start", "late start", "late fragments"],
)
def test_an_edit_list_does_not_change_the_score(
    plain: Path, score: Score, wanted: Prediction, tmp_path: Path, shift: int, options: dict[str, str]
) -> None:
    check_same(score(remux(plain, tmp_path / "a.mp4", shifted(shift), **options)), wanted)


def test_an_edit_list_that_skips_the_first_frames_does_not_change_the_score(
    plain: Path, score: Score, wanted: Prediction, tmp_path: Path
) -> None:
    shorter, later = (600).to_bytes(4, "big"), (1024 + 10 * 512).to_bytes(4, "big")
    check_same(score(patched(plain, tmp_path / "a.mp4", b"elst", 12, shorter + later)), wanted)


@pytest.mark.parametrize(
    ("offset", "data"), [(0, b"free"), (8, bytes(4))], ids=["every frame flagged", "no frame flagged"]
)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain.mp4", {}),
        ("hevc_10_bits.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
        ("mpeg4.mp4", {"codec": "mpeg4", "bf": "2", "g": "250"}),
        ("av1_10_bits.mp4", {"codec": "libsvtav1", "pix_fmt": "yuv420p10le"}),
    ],
    ids=["h264", "hevc", "mpeg4", "av1"],
)
def test_wrong_keyframe_flags_do_not_change_the_score(
    make: Make, score: Score, tmp_path: Path, name: str, settings: dict[str, str], offset: int, data: bytes
) -> None:
    path = make(name, **settings)
    check_same(score(patched(path, tmp_path / "a.mp4", b"stss", offset, data)), score(path))


@pytest.mark.parametrize("settings", [{"codec": "libx265"}, {"codec": "mpeg4", "g": "250"}], ids=["hevc", "mpeg4"])
def test_a_false_keyframe_far_from_the_beginning_costs_its_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    numbered = clip(tmp_path / "numbered.mp4", FRAMES, **{**GOOD[settings["codec"]], **settings})
    path = patched(numbered, tmp_path / "a.mp4", b"stss", 0, b"free")
    near = decoded(path)
    assert [[read_number(planes.y) for planes in frames.pictures] for frames in near] == [
        list(frames.window.frames) for frames in near
    ]
    monkeypatch.setattr("dfx.decode.pyav.REPLAY", 10)
    assert [frames.window for frames in decoded(path)] == [near[0].window] != [frames.window for frames in near]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_copy_that_begins_between_keyframes_scores_from_the_first_one(
    make: Make, score: Score, tmp_path: Path, name: str
) -> None:
    path = make("gops.mp4", g="12")
    middle = remux(path, tmp_path / name, lambda packets: packets[5:])
    key = remux(path, tmp_path / "key.mp4", lambda packets: packets[12:])
    assert not probe(middle).packets.keyframe[0]
    check_same(score(middle), score(key))


@pytest.mark.parametrize("order", [["plain.mp4", "half.mp4"], ["half.mp4", "plain.mp4"]], ids=["first", "second"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_two_video_streams_the_first_is_scored(
    plain: Path, make: Make, score: Score, pictures: list[Picture], tmp_path: Path, order: list[str], name: str
) -> None:
    make("half.mp4", [resized(picture, 240, 180) for picture in pictures])
    paths = [plain.with_name(part) for part in order]
    check_same(score(mux(tmp_path / name, paths)), score(paths[0]))


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_cover_picture_is_not_the_video(
    plain: Path, make: Make, score: Score, wanted: Prediction, tmp_path: Path, place: int, name: str
) -> None:
    cover = make("cover.mkv", [np.full((900, 900, 3), 90, np.uint8)], codec="mjpeg")
    paths = [plain, cover] if place else [cover, plain]
    check_same(score(mux(tmp_path / name, paths, cover=place)), wanted)


def test_an_attached_picture_is_not_the_video(plain: Path, score: Score, wanted: Prediction, tmp_path: Path) -> None:
    jpeg = encode(tmp_path / "cover.mjpeg", [np.full((900, 900, 3), 90, np.uint8)], **GOOD["mjpeg"], codec="mjpeg")
    with av.open(str(plain)) as given, av.open(str(tmp_path / "a.mkv"), "w") as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream)
        made.add_attachment("cover.jpg", "image/jpeg", jpeg.read_bytes())
        for packet in given.demux(stream):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert len(container.streams.video) == 2
    check_same(score(tmp_path / "a.mkv"), wanted)


@pytest.mark.parametrize("name", ["a.h264", "a.avi", "a.mxf"])
def test_a_stream_without_pts_scores_the_same(
    plain: Path, score: Score, wanted: Prediction, tmp_path: Path, name: str
) -> None:
    check_same(score(remux(plain, tmp_path / name)), wanted)


def test_a_bare_stream_that_is_named_mp4_scores_the_same(
    plain: Path, score: Score, wanted: Prediction, tmp_path: Path
) -> None:
    check_same(score(remux(plain, tmp_path / "a.h264").rename(tmp_path / "a.mp4")), wanted)


@pytest.mark.parametrize("name", ["a.h264", "a.avi", "a.mxf"])
@pytest.mark.parametrize("keyframes", ["250", "12"])
def test_pictures_without_pts_are_the_planned_ones(tmp_path: Path, name: str, keyframes: str) -> None:
    path = remux(clip(tmp_path / "numbered.mp4", FRAMES, bf="3", g=keyframes), tmp_path / name)
    for frames in decoded(path):
        assert [read_number(planes.y) for planes in frames.pictures] == list(frames.window.frames)
        np.testing.assert_allclose(frames.seconds, frames.index / 25, rtol=0, atol=DOUBLE_PRECISION)


@pytest.mark.parametrize("count", [1, 2, 5, 15])
def test_short_videos_score(make: Make, score: Score, wanted: Prediction, pictures: list[Picture], count: int) -> None:
    seen = score(make(f"short_{count}.mp4", pictures[:count]))
    assert seen.probability == pytest.approx(wanted.probability, abs=SHORTER_SCORE)


def test_an_8k_video_scores_as_a_small_one(make: Make, score: Score, pictures: list[Picture]) -> None:
    large = make("8k.mp4", [resized(pictures[0], 7680, 4320)] * 3, preset="ultrafast", crf="20")
    small = make("small.mp4", [resized(pictures[0], 480, 270)] * 3)
    check_score(score(large), score(small), COARSER_SCORE)


@pytest.mark.parametrize("name", ["noise.mp4", "noise.mkv"])
def test_broken_audio_does_not_change_the_score(
    score: Score, plain: Path, wanted: Prediction, tmp_path: Path, name: str
) -> None:
    path = mux(tmp_path / name, [plain, sound_only(tmp_path / "sound.mp4")])
    data = path.read_bytes()
    with av.open(str(path)) as container:
        sounds = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    for sound in sounds:
        assert data.count(sound) == 1
        data = data.replace(sound, np.random.default_rng(0).bytes(len(sound)))
    path.write_bytes(data)
    assert sounds
    check_same(score(path), wanted)


@pytest.mark.parametrize("change", [8, FRAMES // 2], ids=["inside a window", "between windows"])
def test_a_change_of_size_is_followed(
    make: Make, score: Score, wanted: Prediction, pictures: list[Picture], tmp_path: Path, change: int
) -> None:
    halves = [resized(picture, 240, 180) for picture in pictures[change:]]
    parts = [make(f"until_{change}.h264", pictures[:change]), make(f"from_{change}.h264", halves)]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert {planes.y.shape for frames in decoded(path) for planes in frames.pictures} == {(360, 480)}
    check_score(score(path), wanted, COARSER_SCORE)
