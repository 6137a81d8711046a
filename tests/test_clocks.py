"""Recordings whose clocks jump or begin below 0: every window is there, and shows what it should."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import numbered, read_number, uneven

from dfx.decode.pyav import PyAVDecoder
from dfx.plan import plan
from dfx.probe import _presentation, probe

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
    assert _presentation(given, 40).tolist() == given
    behind = [*given[:60], *(stamp - 5000 for stamp in given[60:])]
    assert _presentation(behind, 40).tolist() == [40 * number for number in range(120)]
