"""Pictures as a GPU's decoder gives them, in host memory, and a GPU that is none."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

from dfx import _kernels
from dfx.errors import DeviceMemoryError
from dfx.settings import HOST
from dfx.values import Planes, Surface

ROTATIONS = (0, 90, 180, 270)
SHAPES = [(1, 1), (7, 1), (1, 9), (17, 33), (64, 48), (101, 57), (333, 211)]
MATRICES = {
    "as it is": [[1, 0, 0], [0, 1, 0]],
    "magnified": [[0.3, 0.1, 3], [-0.1, 0.3, 2]],
    "turned and shrunk": [[2.3, -0.4, -3], [0.4, 2.3, -7]],
    "shrunk beyond one block": [[7, 1, 3], [-2, 9, 1]],
    "shrunk one way": [[1, 0, 3], [0, 9, 1]],
    "shrunk to almost nothing": [[60, 1, -100], [0, 70, 3]],
    "upside down": [[-1.5, 0, 40], [0, -1.5, 30]],
    "over every edge": [[3, -3, 20], [3, 3, -20]],
    "one point": [[0, 0, 5.25], [0, 0, 2.5]],
    "one line": [[2, 2, 0], [1, 1, 0]],
    "far away": [[1, 0, 1e9], [0, 1, -1e9]],
    "huge": [[3e38, 3e38, -3e38], [1e20, -3e38, 3e38]],
    "tiny": [[1e-40, 0, 3], [0, -1e-30, 4]],
}


def stored(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Noise of the highest contrast: uint8 [height, width, 3]."""
    return np.random.default_rng((width, height, seed)).integers(0, 256, (height, width, 3), np.uint8)


def on_host(pixels: np.ndarray, rotation: int = 0) -> Surface:
    """A surface that keeps its pixels alive: uint8 [H, W, 3], as they are stored."""
    whole = np.ascontiguousarray(pixels)
    height, width, _ = whole.shape
    return Surface(whole.ctypes.data, width, height, rotation, HOST, whole)


def planes(width: int, height: int, seed: int = 0, *, full_range: bool = False) -> Planes:
    """Noise of the highest contrast, in planes."""
    rng = np.random.default_rng((width, height, seed, 3))
    sizes = (height, width), *[(-(-height // 2), -(-width // 2))] * 2
    return Planes(*(rng.integers(0, 256, size, np.uint8) for size in sizes), 8, "unknown", full_range)


def turned(picture: Planes, rotation: int) -> Planes:
    """Clockwise."""
    parts = (np.ascontiguousarray(np.rot90(plane, -rotation // 90)) for plane in (picture.y, picture.u, picture.v))
    return Planes(*parts, 8, picture.matrix, picture.full_range)


def packed(picture: Planes) -> tuple[np.ndarray, int, int, int]:
    """Planes in one piece of memory: its bytes, where U and V begin, and how long rows of luma are, an even number."""
    wide, parts = picture.u.shape[1], []
    for plane, row in ((picture.y, 2 * wide), (picture.u, wide), (picture.v, wide)):
        parts.append(np.pad(plane, ((0, 0), (0, row - plane.shape[1]))).ravel())
    return np.concatenate(parts), len(parts[0]), len(parts[0]) + len(parts[1]), 2 * wide


def planar_on_host(picture: Planes, rotation: int = 0) -> Surface:
    """A surface of planes as they are stored, which it keeps alive."""
    memory, u, v, row = packed(picture)
    place, size = memory.ctypes.data, (picture.width, picture.height, rotation, HOST, memory, row)
    return Surface(place, *size, (place + u, place + v), picture.full_range)


MEMORY = 2**34  # bytes of the pretended GPU


class PretendedStream:
    """What `dfx._kernels.Stream` does, in the memory of the host."""

    handles = 1

    def __init__(self, ordinal: int) -> None:
        self.handle = PretendedStream.handles
        PretendedStream.handles += 1
        self._memory: dict[int, np.ndarray] = {}

    def synchronize(self) -> None:
        pass

    def wait_for(self, other: int) -> None:
        assert other >= 0

    def allocate(self, nbytes: int) -> int:
        if nbytes > MEMORY:
            raise DeviceMemoryError("cuMemAllocAsync: pretended")
        piece = np.full(max(1, nbytes), 0xA5, np.uint8)
        self._memory[piece.ctypes.data] = piece
        return int(piece.ctypes.data)

    def release(self, memory: int) -> None:
        del self._memory[memory]

    def clear(self, memory: int, words: int) -> None:
        ctypes.memset(memory, 0, 4 * words)

    def copy(self, to: int, origin: int, nbytes: int) -> None:
        ctypes.memmove(to, origin, nbytes)

    def upload(self, to: int, array: np.ndarray) -> None:
        ctypes.memmove(to, array.ctypes.data, array.nbytes)

    def download(self, array: np.ndarray, memory: int) -> None:
        ctypes.memmove(array.ctypes.data, memory, array.nbytes)


def pretended_kernels() -> Any:
    """`dfx._kernels` with one GPU, whose kernels run on the CPU."""
    gpu = SimpleNamespace(
        Stream=PretendedStream,
        gpu_count=lambda: 1,
        gpu_name=lambda ordinal: "pretended",
        gpu_compute_capability=lambda ordinal: (9, 0),
        gpu_memory=lambda ordinal: MEMORY,
        gpu_loaded=lambda ordinal: True,
        letterbox_surfaces=lambda *rest: _kernels.letterbox_surfaces(*rest[:-2], None, 1),
        crop_surfaces=lambda *rest: _kernels.crop_surfaces(*rest[:-2], None, 1),
        unmix=lambda *rest: _kernels.unmix(*rest[:-2], None, 1),
        select_faces=lambda *rest: _kernels.select_faces(*rest[:-1], None),
        UNMIX_BATCH=_kernels.UNMIX_BATCH,
    )
    for name in ("SurfacePlan", "score_floor", "suppress", "anchors", "decode_faces"):
        setattr(gpu, name, getattr(_kernels, name))
    return gpu
