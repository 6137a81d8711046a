"""The compiled extension, built from cpp_ext/. `dfx.ops` is its face: it checks what is passed here unchecked."""

from collections.abc import Sequence
from typing import TypeAlias

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
) -> list[tuple[Float, Float, Float]]:
    """One (boxes [K, 4], scores [K], landmarks [K, 5, 2]) a picture."""

def levels() -> list[str]:
    """The instruction sets that this processor can run, the best first."""

def level() -> str:
    """The instruction set in use."""

def use_level(name: str) -> None:
    """Changes the instruction set; raises IndexError for one that is not in `levels()`."""
