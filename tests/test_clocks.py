"""Recordings whose clocks, or codec settings, change on the way: every window is there, and shows what it should."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import encode, numbered, read_number, uneven

from dfx.decode.cut import cut, spans
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import UnsupportedVideoError
from dfx.info import VideoInfo
from dfx.plan import plan
from dfx.probe import _presentation, probe
from dfx.values import Plan, Window

FRAMES = 6000  # of which more are between two windows than are read past rather than sought past
OPTIONS = {"g": "250", "preset": "ultrafast", "threads": "1", "x264-params": "bframes=3:scenecut=0:b-adapt=0"}


def recorded(path: Path, numbers: Sequence[int], first: int) -> Path:
    """A transport stream of numbered frames, 30 a second, the first of them at that time in 90,000ths of a second."""
    with av.open(str(path), "w", format="mpegts", options={"mpegts_copyts": "1"}) as container:
        stream = container.add_stream("libx264", rate=30, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        for place, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = first + 3000 * place, Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(path: Path, windows: int) -> dict[int, list[int]]:
    """The numbers in each window's frames, by the window's first frame."""
    info = probe(path)
    chosen = plan(info, windows=windows, count=4, stride=4)
    assert len(chosen.windows) == windows
    parts = PyAVDecoder().read(info, chosen)
    return {part.window.start: [read_number(np.asarray(picture.y)) for picture in part.pictures] for part in parts}


@pytest.mark.parametrize("windows", [1, 2, 4])
def test_a_clock_that_jumps_back_hides_no_window(tmp_path: Path, windows: int) -> None:
    """As in a recording that was joined of two; the second part is shown after the first, as it stands in the file."""
    first = recorded(tmp_path / "a.ts", range(600), 90_000 * 60)
    second = recorded(tmp_path / "b.ts", range(600, 1000), 90_000 * 30)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    found = shown(joined, windows)
    assert len(found) == windows
    assert all(numbers == list(range(start, start + 16, 4)) for start, numbers in found.items())


def test_a_clock_that_begins_below_zero_is_followed(tmp_path: Path) -> None:
    """A transport stream that began a moment before its clock went round: FFmpeg gives its first pictures negative
    times, and pts 0 is in its middle."""
    path = recorded(tmp_path / "wrap.ts", [number % 1024 for number in range(FRAMES)], 2**33 - 90_000 * 40)
    assert probe(path).packets.pts.min() < 0
    found = shown(path, 4)
    assert len(found) == 4
    wanted = {start: [number % 1024 for number in range(start, start + 16, 4)] for start in found}
    assert found == wanted


def test_pictures_out_of_order_are_no_jump(tmp_path: Path) -> None:
    """Whatever is flagged as a keyframe, by some writers every packet; the pause in the middle is to be kept."""
    stamps = [40 * number + 2000 * (number >= 60) for number in range(120)]
    packets = probe(uneven(tmp_path / "a.mkv", stamps)).packets
    assert (np.diff(packets.pts) < 0).any(), "no B-frames"
    given = [int(stamp) for stamp in packets.pts]
    found = _presentation(list(given))
    assert found is not None
    assert found.tolist() == given
    assert _presentation([*given[:60], *(stamp - 5000 for stamp in given[60:])]) is None


def stamped(path: Path, milliseconds: Sequence[int], **options: str) -> Path:
    """Numbered frames at these times, which need not ascend."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "100", "threads": "1"} | options)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(numbered(number), format="rgb24") for number in range(len(milliseconds))]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        places = np.argsort(np.argsort([packet.pts for packet in packets]))
        for number, (packet, place) in enumerate(zip(packets, places.tolist(), strict=True)):
            packet.time_base, packet.stream = Fraction(1, 1000), stream
            packet.pts = milliseconds[place]
            packet.dts = min(milliseconds[number], packet.pts)
            container.mux(packet)
    return path


@pytest.mark.parametrize("late", [0, 8000])
@pytest.mark.parametrize("bframes", ["0", "2"])
def test_one_repeated_time_costs_no_other_its_own(tmp_path: Path, late: int, bframes: str) -> None:
    times = [late + 40 * number + 4000 * (number >= 100) for number in range(600)]
    times[10] = times[9]
    path = stamped(tmp_path / "a.mkv", times, bf=bframes, preset="veryfast")
    assert not probe(path).packets.made_up
    found = shown(path, 4)
    assert len(found) == 4
    assert all(numbers == list(range(start, start + 16, 4)) for start, numbers in found.items())
    info = probe(path)
    (frames,) = PyAVDecoder().read(info, Plan((window_at(info, 500),)))
    assert frames.seconds[0] == pytest.approx((times[500] - times[0]) / 1000)


def window_at(info: VideoInfo, start: int) -> Window:
    """Four frames from a keyframe on."""
    (place,) = np.flatnonzero(info.packets.order == info.packets.order[start])
    seek = int(info.packets.order[place])
    return Window(start, 4, 1, seek, seek + 8)


def test_times_that_stand_still_are_no_clock() -> None:
    assert _presentation([0] * 50) is None
    assert _presentation([0, 1, 2, None]) is None


def settings_change(path: Path, first: Path, second: Path) -> Path:
    """Two FLV files as one: the second's codec settings come as a tag of their own, as from a stream that was cut."""
    parts = [_tags(each.read_bytes()) for each in (first, second)]
    end = max(time for kind, time, _ in parts[0] if kind == VIDEO) + 40
    kept = [tag for tag in parts[0] if not _ends(tag)]
    kept += [(kind, time + end, data) for kind, time, data in parts[1] if kind == VIDEO and data[1] != 2]
    path.write_bytes(first.read_bytes()[:13] + b"".join(map(_tag, kept)))
    return path


VIDEO = 9  # the kind of an FLV tag; its data's second byte is 0 for settings, 1 for a picture, 2 for the end


def _ends(tag: tuple[int, int, bytes]) -> bool:
    return tag[0] == VIDEO and tag[2][1] == 2


def _tags(data: bytes) -> list[tuple[int, int, bytes]]:
    at, found = 13, []
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        time = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        found.append((data[at], time, data[at + 11 : at + 11 + size]))
        at += 11 + size + 4
    return found


def _tag(tag: tuple[int, int, bytes]) -> bytes:
    kind, time, data = tag
    head = (
        bytes([kind])
        + len(data).to_bytes(3, "big")
        + (time & 0xFFFFFF).to_bytes(3, "big")
        + bytes([time >> 24, 0, 0, 0])
    )
    return head + data + (len(head) + len(data)).to_bytes(4, "big")


@pytest.mark.parametrize("frames", [300, 2400], ids=["read past", "too far to read past, were it another container"])
@pytest.mark.parametrize("windows", [2, 4])
def test_settings_that_change_on_the_way_are_heard(tmp_path: Path, windows: int, frames: int) -> None:
    halves = []
    for half, settings in enumerate(("cabac=1:8x8dct=1:weightp=2", "cabac=0:8x8dct=0:weightp=0:qp=30")):
        numbers = (numbered((half * frames + number) % 1024) for number in range(frames))
        options = {"g": "50", "bf": "0", "preset": "veryfast", "x264-params": f"scenecut=0:{settings}"}
        halves.append(encode(tmp_path / f"{half}.flv", numbers, **options))
    path = settings_change(tmp_path / "joined.flv", *halves)
    found = shown(path, windows)
    assert len(found) == windows
    assert max(found) >= frames, "none behind the change"
    assert all(numbers == [n % 1024 for n in range(start, start + 16, 4)] for start, numbers in found.items())
    info = probe(path)
    with pytest.raises(UnsupportedVideoError, match="its codec's settings change at packet"):
        cut(info, spans(plan(info, windows=windows, count=4, stride=4).windows))
