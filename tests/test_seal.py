"""Pictures that NVDEC did not give, on a pretended GPU, whose DALI pairs pictures and packets as the real one does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import clip
from decoded_surfaces import numbers
from surfaces import pretended_kernels

from dfx.decode import cut as cutting
from dfx.decode import seal
from dfx.decode.cut import Cut
from dfx.decode.dali import NEWEST, DALIDecoder
from dfx.errors import UnsupportedVideoError
from dfx.info import VideoInfo
from dfx.ops import cuda
from dfx.ops.cuda import DeviceArray, Lane
from dfx.plan import plan
from dfx.probe import probe
from dfx.values import Frames

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from simulated import SimulatedDALI


class Tensor:
    """One of DALI's."""

    def __init__(self, array: DeviceArray) -> None:
        self._array = array

    def data_ptr(self) -> int:
        return self._array.pointer

    def shape(self) -> tuple[int, ...]:
        return self._array.shape


class Losing(DALIDecoder):
    """A decoder of which NVDEC loses a picture. All of its tensors are made in the same memory, as in a pool.

    lost: the number of that picture, None where none is lost. Those behind it are handed on in the place before
    theirs, and in the last place there is what was there.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane, self._pixels, self._capability = lane, None, NEWEST
        self._memory: DeviceArray | None = None
        self.lost: int | None = None

    def _tensor(self, info: VideoInfo, part: Cut, wanted: Sequence[int]) -> Tensor:
        count = len(part.places) + bool(part.seal)
        given = [number for number in range(count) if number != self.lost]
        pictures = SimulatedDALI()._tensor(info, part, given)
        memory = self._memory = self._memory or cuda.empty((len(wanted), *pictures.shape[1:]), np.uint8, self._lane)
        for place, number in enumerate(wanted):
            if number < len(given):
                memory.row(place).fill(pictures[number : number + 1])
        return Tensor(memory)


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Losing]:
    kernels = pretended_kernels()
    monkeypatch.setattr(cuda, "kernels", lambda: kernels)
    with Lane(0) as lane:
        yield Losing(lane)


def read(decoder: Losing, path: Path) -> list[Frames]:
    info = probe(path)
    return list(decoder.read(info, plan(info, windows=2, count=5)))


def test_sound_videos_pass(decoder: Losing, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 60, g="30", bf="2")
    for _ in range(2):
        parts = read(decoder, path)
        assert [numbers(frames) for frames in parts] == [list(frames.window.frames) for frames in parts]


@pytest.mark.parametrize("lost", [0, 1, 4, 9])
@pytest.mark.parametrize("before", ["nothing", "itself"])
@pytest.mark.parametrize("distance", ["30", "4"])
def test_a_lost_picture_is_noticed(decoder: Losing, tmp_path: Path, lost: int, before: str, distance: str) -> None:
    """In memory that held the very same video before, too; and where the windows end in a keyframe."""
    path = clip(tmp_path / "a.mp4", 60, g=distance, bf="2", sc_threshold="0")
    if before == "itself":
        read(decoder, path)
    decoder.lost = lost
    with pytest.raises(UnsupportedVideoError, match="another number of pictures than it has packets"):
        read(decoder, path)


def test_without_the_seal_nobody_would_know(decoder: Losing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "holds", lambda *_: True)
    path = clip(tmp_path / "a.mp4", 60, g="30", bf="2")
    decoder.lost = 1
    first, *_ = read(decoder, path)
    assert numbers(first) != list(first.window.frames)


def test_a_file_without_a_seal_is_read(decoder: Losing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_largest_keyframe", lambda *_: None)
    parts: list[Any] = read(decoder, clip(tmp_path / "a.mp4", 60, g="30"))
    assert [numbers(frames) for frames in parts] == [list(frames.window.frames) for frames in parts]
