"""Plans: cheap, far apart, never overlapping, at a price that holds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfx.info import PacketTable
from dfx.plan import PREROLL, plan_packets


def table(frames: int, keyframes: list[int]) -> PacketTable:
    """Packets in order of presentation, as an encoder without B-frames writes them."""
    flags = np.zeros(frames, bool)
    flags[keyframes] = True
    return PacketTable(np.arange(frames, dtype=np.int64), flags)


def starts(packets: PacketTable, windows: int = 2, count: int = 16, stride: int = 1) -> list[int]:
    chosen = plan_packets(packets, windows=windows, count=count, stride=stride)
    return [window.start for window in chosen.windows]


def test_a_challenge_clip_costs_32_packets_of_300() -> None:
    chosen = plan_packets(table(300, [0, 250]), windows=2, count=16, stride=1)
    assert [(window.start, window.price) for window in chosen.windows] == [(0, 16), (250, 16)]
    assert chosen.price == 32


def test_many_keyframes_are_spread() -> None:
    assert starts(table(300, list(range(0, 300, 12)))) == [0, 276]
    assert starts(table(300, list(range(0, 300, 12))), windows=3) == [0, 132, 276]


def test_one_keyframe_gets_a_second_window_after_a_bounded_preroll() -> None:
    chosen = plan_packets(table(300, [0]), windows=2, count=16, stride=1)
    assert [window.start for window in chosen.windows] == [0, 16 + PREROLL]
    assert chosen.price == 32 + PREROLL


@pytest.mark.parametrize("frames", [1, 2, 15])
def test_short_clips_get_what_is_there(frames: int) -> None:
    (window,) = plan_packets(table(frames, [0]), windows=2, count=16, stride=1).windows
    assert (window.start, window.count, window.price) == (0, frames, frames)


def test_a_clip_of_one_window_gets_one() -> None:
    assert starts(table(16, [0])) == [0]
    assert starts(table(31, [0])) == [0]
    assert starts(table(32, [0])) == [0, 16]


def test_frames_before_the_first_keyframe_are_left_alone() -> None:
    assert starts(table(100, [40]))[0] == 40
    assert starts(table(45, [40])) == [40]


def test_a_stride_spreads_a_window() -> None:
    (first, *_) = plan_packets(table(300, [0, 250]), windows=1, count=4, stride=5).windows
    assert list(first.frames) == [0, 5, 10, 15]
    assert first.price == 16


@st.composite
def streams(draw: st.DrawFn) -> PacketTable:
    """Streams with keyframes anywhere and B-frames between anchors, in decode order."""
    frames = draw(st.integers(1, 400))
    keyframes = draw(st.sets(st.integers(0, frames - 1), min_size=1, max_size=12))
    between = draw(st.integers(0, 3))
    order: list[int] = []
    for start, end in zip(sorted(keyframes), [*sorted(keyframes)[1:], frames], strict=True):
        order.append(start)
        for anchor in range(start + 1 + between, end + between, between + 1):
            last = min(anchor, end - 1)
            order += [last, *range(anchor - between, last)]
    head = [number for number in range(frames) if number not in set(order)]
    pts = np.array([*head, *order], np.int64)
    return PacketTable(pts, np.isin(pts, list(keyframes)))


@given(streams(), st.integers(1, 5), st.integers(1, 20), st.integers(1, 3))
@settings(max_examples=300)
def test_every_plan_can_be_decoded_and_never_overlaps(
    packets: PacketTable, windows: int, count: int, stride: int
) -> None:
    chosen = plan_packets(packets, windows=windows, count=count, stride=stride).windows
    assert 1 <= len(chosen) <= windows
    sent: set[int] = set()
    for before, window in zip([None, *chosen], chosen, strict=False):
        assert before is None or window.start > before.frames[-1]
        goes_on = before is not None and window.seek == before.stop
        assert goes_on or packets.keyframe[window.seek]
        sent |= set(range(window.seek, window.stop))
        assert {packets.pts[i] for i in sent} >= set(window.frames)
    assert len(sent) == sum(window.price for window in chosen)


@pytest.mark.parametrize(
    "options", [{}, {"bf": "0"}, {"bf": "3", "b-pyramid": "normal"}, {"g": "12", "x264-params": "open-gop=1"}]
)
def test_prices_of_real_streams_hold_by_count(
    tmp_path: Path, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clips import clip, read_number

    import dfx.decode.pyav as decoder
    from dfx.plan import plan
    from dfx.probe import probe

    sent: list[object] = []
    real = decoder._decoded
    monkeypatch.setattr(decoder, "_decoded", lambda context, packet: (sent.append(packet), real(context, packet))[1])
    info = probe(clip(tmp_path / "a.mp4", 120, **options))
    for windows in (1, 2, 4):
        sent.clear()
        chosen = plan(info, windows=windows)
        read = list(decoder.PyAVDecoder().read(info, chosen))
        assert sum(packet is not None for packet in sent) <= chosen.price
        for window, frames in zip(chosen.windows, read, strict=True):
            assert [read_number(planes.y) for planes in frames.pictures] == list(window.frames)
    assert info.rate == Fraction(25)
