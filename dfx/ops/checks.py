"""What every backend of the pixel work asks of its arguments, and the way to the compiled extension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from dfx.errors import DependencyError, InputError
from dfx.settings import HOST
from dfx.values import Float, Surface

if TYPE_CHECKING:
    from dfx._kernels import Stored

LARGEST_SIDE = 16384


def kernels() -> ModuleType:
    """The compiled extension; raises DependencyError where it cannot be loaded."""
    try:
        from dfx import _kernels
    except ImportError as error:
        raise DependencyError(f"the compiled extension dfx._kernels cannot be loaded ({error}); {_mend()}") from error
    return _kernels


def _mend() -> str:
    checkout = Path(__file__).parents[2]
    if (checkout / "cpp_ext").is_dir():
        return (
            f"this is the dfx of the checkout {checkout}, which has none unless `pip install -e .` put it there: do "
            "that, or leave this folder (or use `python -P`) for the dfx that is installed"
        )
    return "install dfx again with `pip install .` in its checkout, or set DFX_OPS=numpy for the slow NumPy reference"


def check_counts(frames: Sequence[object], threads: int, **sizes: int) -> None:
    """Raises InputError where there are no frames, or a size or a number of threads is out of range."""
    if not len(frames):
        raise InputError("no frames: at least one is needed")
    if threads < 1:
        raise InputError(f"threads is {threads}; it must be at least 1")
    for name, size in sizes.items():
        if not 1 <= size <= LARGEST_SIDE:
            raise InputError(f"{name} is {size}; it must be from 1 to {LARGEST_SIDE} pixels")


def floats(values: ArrayLike) -> Float:
    """A contiguous float32 array; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def check_matrices(matrices: ArrayLike, frames: int) -> Float:
    """The matrices as float32 [frames, 2, 3]; raises InputError for other shapes and for what is not finite."""
    maps = floats(matrices)
    if maps.shape != (frames, 2, 3) or not np.isfinite(maps).all():
        raise InputError(f"{frames} frames need matrices [{frames}, 2, 3] of finite numbers; got {maps}")
    return maps


def check_surfaces(surfaces: Sequence[Surface], device: int) -> list[Stored]:
    """What the extension takes of each; raises InputError where one lies elsewhere, or is nowhere, or too large."""
    all_stored = [_stored(surface) for surface in surfaces]
    for surface, stored in zip(surfaces, all_stored, strict=True):
        if surface.device != device:
            where = "the host" if surface.device == HOST else f"GPU {surface.device}"
            raise InputError(
                f"a surface on {where} among those of {'the host' if device == HOST else f'GPU {device}'}: "
                "all must be where the work is done"
            )
        if min(stored[:3]) <= 0 or max(surface.stored_width, surface.stored_height) > LARGEST_SIDE:
            raise InputError(
                f"a surface of {surface.stored_width}x{surface.stored_height} pixels at {surface.pointer:#x}; each "
                f"side must be from 1 to {LARGEST_SIDE}, at an address that is not 0"
            )
    return all_stored


def _stored(surface: Surface) -> Stored:
    second, third = surface.chroma or (surface.pointer + 1, surface.pointer + 2)
    size = surface.stored_width, surface.stored_height, surface.stride
    kind = surface.rotation, surface.chroma is not None, surface.full_range
    return surface.pointer, second, third, *size, *kind


def check_rgb(shape: Sequence[int], dtype: DTypeLike) -> tuple[int, int, int]:
    """The number of pictures, their height and width; raises InputError unless uint8 [N, H, W, 3] of even sides."""
    wanted = len(shape) == 4 and shape[0] > 0 and shape[3] == 3 and np.dtype(dtype) == np.uint8
    if not wanted or not all(side % 2 == 0 and 2 <= side <= LARGEST_SIDE for side in shape[1:3]):
        raise InputError(
            f"{np.dtype(dtype)} {list(shape)}: uint8 [N, H, W, 3] is needed, with N from 1, and even H and W from 2 to "
            f"{LARGEST_SIDE}"
        )
    return shape[0], shape[1], shape[2]


def count_anchors(height: int, width: int, strides: Sequence[int], min_sizes: Sequence[Sequence[float]]) -> int:
    """How many anchors a canvas of width x height pixels has; raises InputError for levels that do not fit."""
    if len(strides) != len(min_sizes):
        raise InputError(f"{len(strides)} strides and {len(min_sizes)} groups of sizes: each stride needs one group")
    if min(height, width, *strides) < 1:
        raise InputError(f"a canvas of {width}x{height} and strides {strides}: all must be at least 1")
    levels = zip(strides, min_sizes, strict=True)
    return sum((height // stride) * (width // stride) * len(sides) for stride, sides in levels)


def check_outputs(
    shapes: Sequence[tuple[int, ...]], anchors: int, canvas: tuple[int, int], limit: int, votes: int
) -> None:
    """Raises InputError unless shapes are [N, A], [N, A, 4], [N, A, 10] and `limit` and `votes` are at least 1."""
    wanted: list[Any] = [(*shapes[1][:1], anchors, *rest) for rest in ((), (4,), (10,))]
    if min(limit, votes) < 1 or list(shapes) != wanted:
        raise InputError(
            f"a canvas of {canvas[0]}x{canvas[1]} has {anchors} anchors, so scores [N, {anchors}], boxes "
            f"[N, {anchors}, 4], landmarks [N, {anchors}, 10] and a limit and votes of at least 1 are needed; got "
            f"{list(shapes)}, {limit} and {votes}"
        )
