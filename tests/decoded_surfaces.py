"""The pixels of a surface, wherever DALI left them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from clips import read_number
from numpy.typing import NDArray

from dfx.values import Frames, Surface


@lru_cache(maxsize=1)  # many surfaces share one tensor
def _host(owner: object) -> NDArray[np.uint8]:
    return np.array(owner.as_cpu())  # type: ignore[attr-defined]


def pixels(surface: Surface) -> NDArray[np.uint8]:
    """RGB uint8 [stored_height, stored_width, 3], as `dfx.ops` sees it, through the tensor that the surface keeps."""
    pictures = _host(surface.owner)
    offset = surface.pointer - surface.owner.data_ptr()  # type: ignore[attr-defined]
    (_, height, width, _), row = pictures.shape, surface.stride
    place, top, left = offset // (height * row), offset // row % height, offset % row
    assert (row, left % 3) == (3 * width, 0)
    picture = pictures[place, top : top + surface.stored_height, left // 3 : left // 3 + surface.stored_width]
    assert picture.shape == (surface.stored_height, surface.stored_width, 3)
    return np.asarray(np.clip(picture + np.array(surface.offset), 0, 255).round(), np.uint8)


def upright(surface: Surface) -> NDArray[np.uint8]:
    """The same, turned clockwise by its rotation."""
    return np.rot90(pixels(surface), -(surface.rotation // 90))


def numbers(frames: Frames) -> list[int]:
    """The numbers drawn into the pictures, read from their green."""
    return [read_number(upright(surface)[..., 1]) for surface in frames.pictures if isinstance(surface, Surface)]
