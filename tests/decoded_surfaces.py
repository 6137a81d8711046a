"""The pixels of a surface, wherever they were left."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from clips import read_number
from numpy.typing import NDArray
from tolerances import CHROMA_EDGES, TEN_BITS_IN_EIGHT, UNMIXED_COLOURS

from dfx import ops
from dfx.ops import reference
from dfx.ops.cuda import DeviceArray
from dfx.settings import HOST
from dfx.values import Frames, Planes, Surface

X265 = {
    "codec": "libx265",
    "preset": "ultrafast",
    "x265-params": "log-level=none:bframes=3:keyint=30:min-keyint=30:open-gop=0",
}
COLOURS = [
    {"pix_fmt": "yuv420p"},
    {"pix_fmt": "yuvj420p"},
    {"pix_fmt": "yuv420p", "x264-params": "colormatrix=bt709:range=tv"},
    {"pix_fmt": "yuv420p", **X265},
    {"pix_fmt": "yuv420p10le", **X265},
    {"pix_fmt": "yuv420p", "codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"},
]


def _host(owner: Any) -> NDArray[np.uint8]:
    return owner if isinstance(owner, np.ndarray) else _copied(owner)


@lru_cache(maxsize=1)  # many surfaces share one tensor
def _copied(owner: Any) -> NDArray[np.uint8]:
    return np.array(owner if isinstance(owner, DeviceArray) else owner.as_cpu())


def _first(owner: Any) -> int:
    if isinstance(owner, np.ndarray):
        return int(owner.ctypes.data)
    return owner.pointer if isinstance(owner, DeviceArray) else int(owner.data_ptr())


def on_host(surface: Surface) -> Surface:
    """The same in a copy of the memory that the surface keeps."""
    memory = _host(surface.owner)
    shift = memory.ctypes.data - _first(surface.owner)
    chroma = surface.chroma and (surface.chroma[0] + shift, surface.chroma[1] + shift)
    return replace(surface, pointer=surface.pointer + shift, device=HOST, owner=memory, chroma=chroma)


def upright(surface: Surface) -> NDArray[np.uint8]:
    """RGB uint8 [height, width, 3], as `dfx.ops` sees it."""
    picture = reference.upright(on_host(surface))
    if isinstance(picture, Planes):
        return ops.letterbox([picture], picture.height, picture.width)[0].transpose(1, 2, 0)
    return picture.copy()  # of memory that nothing may keep


def pixels(surface: Surface) -> NDArray[np.uint8]:
    """The same as it is stored, not turned."""
    return upright(replace(surface, rotation=0))


def numbers(frames: Frames) -> list[int]:
    """The numbers drawn into the pictures, read from their green."""
    return [read_number(upright(surface)[..., 1]) for surface in frames.pictures if isinstance(surface, Surface)]


def assert_same_colours(ours: Frames, theirs: Frames) -> None:
    """Of a CPU's decoder and of a GPU's, at the pictures' own size."""
    height, width = ours.pictures[0].height, ours.pictures[0].width
    there = np.stack([upright(surface) for surface in theirs.pictures]).astype(int)
    apart = there - ops.letterbox(ours.pictures, height, width).transpose(0, 2, 3, 1)
    assert np.abs(apart).mean() < (UNMIXED_COLOURS if ours.pictures[0].depth == 8 else TEN_BITS_IN_EIGHT)
    assert np.quantile(np.abs(apart), 0.999) < CHROMA_EDGES
