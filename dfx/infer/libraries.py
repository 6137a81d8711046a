"""NVIDIA's libraries that ONNX Runtime's providers link: which they are, and opening them before ONNX Runtime does."""

from __future__ import annotations

import ctypes
import mmap
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dfx.errors import DeviceError
from dfx.infer.session import import_runtime
from dfx.origin import install

PROVIDER = "libonnxruntime_providers_{}.so"
NVIDIAS = re.compile(r"lib(?:cu|nv)")
DRIVERS = "libcuda.so.1"  # it comes with no package, and `dfx.ops.cuda` asks for it
_HEADERS, _SEGMENT, _ENTRY = struct.Struct("<32xQ14xHH"), struct.Struct("<I4xQQ8xQ16x"), struct.Struct("<qQ")
_LOADED, _DYNAMIC = 1, 2  # kinds of segments
_NEEDED, _STRINGS = 1, 5  # kinds of a dynamic segment's entries


def linked(provider: str) -> list[str]:
    """The names of NVIDIA's libraries that ONNX Runtime's provider "cuda" or "tensorrt" links, but for the driver's;
    none where there is no such provider."""
    library = Path(import_runtime().__file__).parent / "capi" / PROVIDER.format(provider)
    names = needed(library) if library.is_file() else []
    return [name for name in names if NVIDIAS.match(name) and name != DRIVERS]


def needed(library: Path) -> list[str]:
    """The names of the libraries that a Linux one of 64 bits links: DT_NEEDED of its dynamic segment (System V ABI)."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        start, size, count = _HEADERS.unpack_from(image)
        segments = [_SEGMENT.unpack_from(image, start + size * number) for number in range(count)]
        place, length = next((place, length) for kind, place, _, length in segments if kind == _DYNAMIC)
        entries = list(_ENTRY.iter_unpack(image[place : place + length - length % _ENTRY.size]))
        strings = _place(next(value for kind, value in entries if kind == _STRINGS), segments)
        starts = [strings + value for kind, value in entries if kind == _NEEDED]
        return [image[first : image.find(b"\0", first)].decode() for first in starts]


def _place(address: int, segments: list[tuple[int, int, int, int]]) -> int:
    """Where in the file stands what is loaded to an address."""
    return next(
        address - begin + place
        for kind, place, begin, length in segments
        if kind == _LOADED and begin <= address < begin + length
    )


def load(provider: str) -> None:
    """Opens all that a provider links, so that it finds it.

    ONNX Runtime's own `preload_dlls` looks for CUDA 13 where no package has it (in 1.27), and prints.

    Raises:
        DeviceError: what cannot be opened, and the extra of dfx that brings it.
    """
    names = linked(provider)
    if absent := [name for name in names if not any(_opens(path) for path in _paths(name))]:
        major = next((name.rpartition(".")[2] for name in names if name.startswith("libcudart.")), "13")
        raise DeviceError(
            f"{', '.join(absent)}, which ONNX Runtime's provider links, cannot be opened: "
            f"{install(f'cuda{major}')}, or put the libraries of CUDA {major} and cuDNN on the system's path"
        )


def _opens(path: str) -> bool:
    with suppress(OSError):
        return ctypes.CDLL(path) is not None
    return False


def _paths(name: str) -> Iterator[str]:
    """Where a library may be: in the packages of NVIDIA's that Python sees, else wherever the system looks."""
    for folder in sys.path:
        yield from map(str, sorted(Path(folder, "nvidia").glob(f"*/lib/{name}")))
    yield name
