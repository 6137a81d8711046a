"""The compiled extension, built from cpp_ext/. `dfx.ops` is its face: it checks what is passed here unchecked."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dfx.values import Float, Pixels, Samples

Frame: TypeAlias = tuple[Samples, Samples, Samples, int, int, int, bool]
"""y, u, v, luma samples a chroma sample covers across and down, depth, full range."""

def letterbox(frames: Sequence[Frame], out: Pixels, threads: int) -> None:
    """Fills out [N, 3, H, W]."""

def crop(frames: Sequence[Frame], matrices: Float, out: Pixels, threads: int) -> None:
    """Fills out [N, 3, size, size]."""

def decode_faces(
    scores: Float,
    boxes: Float,
    landmarks: Float,
    height: int,
    width: int,
    strides: Sequence[int],
    sides: Sequence[Sequence[float]],
    variances: tuple[float, float],
    threshold: float,
    iou: float,
    limit: int,
    votes: int,
) -> list[tuple[Float, Float, Float]]:
    """One (boxes [K, 4], scores [K], landmarks [K, 5, 2]) a picture."""

def levels() -> list[str]:
    """The instruction sets that this processor can run, the best first."""

def level() -> str:
    """The instruction set in use."""

def use_level(name: str) -> None:
    """Changes the instruction set; raises IndexError for one that is not in `levels()`."""

Stored: TypeAlias = tuple[int, int, int, int, int, int, int, bool, bool]
"""Addresses of three channels, stored width and height, bytes from row to row, degrees clockwise that make it upright,
whether the channels are planes, and of full range."""

UNMIX_BATCH: int
"""Pictures at a time for which `unmix` needs `means`."""

class Stream:
    """A CUDA stream. Addresses are of its GPU's memory, sizes in bytes; raises dfx.errors.DeviceError."""

    def __init__(self, ordinal: int) -> None: ...
    @property
    def handle(self) -> int: ...
    def synchronize(self) -> None: ...
    def wait_for(self, other: int) -> None: ...
    def allocate(self, bytes: int) -> int: ...  # noqa: A002
    def release(self, memory: int) -> None: ...
    def clear(self, memory: int, words: int) -> None: ...
    def upload(self, to: int, array: NDArray[Any]) -> None: ...
    def download(self, array: NDArray[Any], memory: int) -> None: ...

class SurfacePlan:
    """The letterbox of upright pictures of one size in one canvas. The kernels read a copy of `memory`."""

    def __init__(self, width: int, height: int, canvas_width: int, canvas_height: int) -> None: ...
    @property
    def memory(self) -> bytes: ...
    @property
    def address(self) -> int:
        """Where the host finds `memory`, as long as this object lives."""

def letterbox_surfaces(
    surfaces: Sequence[Stored],
    plans: Sequence[SurfacePlan],
    memories: Sequence[int],
    out: int,
    height: int,
    width: int,
    pixel: int,
    stream: Stream | None,
    threads: int,
) -> None:
    """Fills [N, 3, height, width] at the address `out`, with bytes (pixel 0), halves (1) or counts of writes (2)."""

def crop_surfaces(
    surfaces: Sequence[Stored], matrices: Float, out: int, size: int, pixel: int, stream: Stream | None, threads: int
) -> None:
    """Fills [N, 3, size, size] at the address `out`, as `letterbox_surfaces` does."""

def unmix(
    rgb: int,
    planes: int,
    means: int,
    width: int,
    height: int,
    count: int,
    full_range: bool,
    stream: Stream | None,
    threads: int,
) -> None:
    """Fills uint8 [count, 3 * height * width // 2] at the address `planes`.

    means: of int16 [min(count, UNMIX_BATCH), 2, height // 2, width // 2], to work in.
    """

def select_faces(
    scores: int,
    boxes: int,
    landmarks: int,
    anchors: int,
    counts: int,
    found: int,
    pictures: int,
    anchor_count: int,
    capacity: int,
    variances: tuple[float, float],
    threshold: float,
    stream: Stream | None,
) -> None:
    """Counts in int32 [pictures], which must be zero, and collects 64 bytes each in [capacity, pictures]."""

def score_floor(threshold: float, votes: int) -> float:
    """What the score of a candidate must be above for `suppress`."""

def suppress(
    found: NDArray[np.uint8], counts: NDArray[np.int32], threshold: float, iou: float, limit: int, votes: int
) -> list[tuple[Float, Float, Float]]:
    """Candidates [capacity, N, 64] bytes, of which there are `counts` [N], as `decode_faces` returns faces."""

def anchors(height: int, width: int, strides: Sequence[int], sides: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Centre x, centre y and side of each anchor: [A, 3]."""

def gpu_count() -> int: ...
def gpu_name(ordinal: int) -> str: ...
def gpu_compute_capability(ordinal: int) -> tuple[int, int]: ...
def gpu_memory(ordinal: int) -> int: ...
def gpu_loaded(ordinal: int) -> bool: ...
def gpu_load(ordinal: int, image: bytes) -> None: ...
