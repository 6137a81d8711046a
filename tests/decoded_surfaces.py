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
    """RGB uint8 [stored_height, stored_width, 3], copied to the host through the tensor that the surface keeps."""
    owner = surface.owner
    shape = (surface.stored_height, surface.stored_width, 3)
    place, rest = divmod(surface.pointer - owner.data_ptr(), int(np.prod(shape)))  # type: ignore[attr-defined]
    assert rest == 0
    picture = _host(owner)[place]
    assert picture.shape == shape
    return picture


def upright(surface: Surface) -> NDArray[np.uint8]:
    """The same, turned clockwise by its rotation."""
    return np.rot90(pixels(surface), -(surface.rotation // 90))


def numbers(frames: Frames) -> list[int]:
    """The numbers drawn into the pictures, read from their green."""
    return [read_number(upright(surface)[..., 1]) for surface in frames.pictures if isinstance(surface, Surface)]
