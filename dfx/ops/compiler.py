"""From cpp_ext/cuda/kernels.cu to machine code of a GPU: embedded in the package, else compiled by NVRTC and cached.

NVRTC needs neither a GPU nor CUDA's toolkit. Machine code for every architecture, to be embedded in a wheel:

    python -m dfx.ops dfx/cubins
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dfx.errors import DeviceError
from dfx.files import cache_folder, replace_file
from dfx.origin import install

PACKAGE = Path(__file__).parents[1]
EMBEDDED = PACKAGE / "cubins"
KERNELS = Path("cuda", "kernels.cu")
ARCHITECTURES = (60, 70, 75, 80, 86, 89, 90)
"""Compute capabilities times ten that a wheel is built for; PTX of the last serves what comes after."""

OPTIONS = ("--fmad=false", "--std=c++17")
"""No fused multiply-adds, so that the results are the CPU's to the bit."""

WHITE = " \r\n\t\0"  # around what NVRTC prints, which a zero byte ends
MEND = f"{install('gpu-cu12')} or gpu-cu13, by the CUDA version that `nvidia-smi` shows"


def image(capability: tuple[int, int]) -> bytes:
    """The kernels for a GPU of this compute capability: a cubin, or PTX ended by a zero byte.

    Raises:
        DeviceError: nothing suitable is embedded, and NVRTC is missing or fails.
    """
    number = capability[0] * 10 + capability[1]
    return _embedded(number) or cached(_architecture(number, architectures()))


def cached(architecture: str) -> bytes:
    """As `compiled`, kept in the user's cache folder."""
    key = _digest(architecture, str(_version()))
    with contextlib.suppress(OSError, RuntimeError):  # of a home that is not known
        path = cache_folder() / "cubins" / f"{architecture}-{key}"
        if path.is_file():
            return path.read_bytes()
    code = compiled(architecture)
    with contextlib.suppress(OSError, RuntimeError):  # a cache that cannot be written costs time only
        kept = cache_folder() / "cubins" / f"{architecture}-{key}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_file(kept, code)
    return code


def compiled(architecture: str) -> bytes:
    """Compiles the kernels: "sm_60" gives a cubin, "compute_90" PTX ended by a zero byte.

    Raises:
        DeviceError: NVRTC is missing, or does not know the architecture; the message holds what it printed.
    """
    nvrtc, source = _nvrtc(), sources() / KERNELS
    program = _call(nvrtc.nvrtcCreateProgram, source.read_bytes(), source.name.encode(), 0, None, None)
    try:
        options = [f"--gpu-architecture={architecture}", *OPTIONS, f"--include-path={source.parent}"]
        try:
            _call(nvrtc.nvrtcCompileProgram, program, len(options), [option.encode() for option in options])
        except DeviceError as error:
            log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
            raise DeviceError(f"{error} for {architecture}: {log.decode(errors='replace').strip(WHITE)}") from None
        if architecture.startswith("sm_"):
            return _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
        return _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def architectures() -> list[int]:
    """Compute capabilities times ten that the NVRTC which is installed knows; raises DeviceError without one."""
    return sorted(_call(_nvrtc().nvrtcGetSupportedArchs))


def sources() -> Path:
    """The folder of the kernels' sources: in the package, or cpp_ext of the checkout."""
    for folder in (PACKAGE / "cuda_src", PACKAGE.parent / "cpp_ext"):
        if (folder / KERNELS).is_file():
            return folder
    raise DeviceError(f"the sources of the CUDA kernels are not in {PACKAGE}: install dfx again")


def embed(folder: Path) -> list[Path]:
    """Writes machine code for every architecture of `ARCHITECTURES` and PTX of the last into a folder."""
    names = [*[f"sm_{number}" for number in ARCHITECTURES], f"compute_{ARCHITECTURES[-1]}"]
    paths = [folder / f"{name}-{_digest()}" for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in zip(names, paths, strict=True):
        replace_file(path, compiled(name))
    return paths


def _embedded(number: int) -> bytes | None:
    """Machine code of the same or a lower minor version of the architecture; else PTX that is not newer than it."""
    fitting = [f"sm_{n}" for n in range(number, number - number % 10 - 1, -1)]
    fitting += [f"compute_{ARCHITECTURES[-1]}"] if number >= ARCHITECTURES[-1] else []
    for name in fitting:
        path = EMBEDDED / f"{name}-{_digest()}"
        if path.is_file():
            return path.read_bytes()
    return None


def _architecture(number: int, known: list[int]) -> str:
    """What NVRTC is to make for a GPU: its machine code where it can, else PTX of the best that it knows."""
    if number in known:
        return f"sm_{number}"
    older = [n for n in known if n < number]
    if not older:
        raise DeviceError(
            f"a GPU of compute capability {number / 10} is older than the NVRTC here, which begins at "
            f"{known[0] / 10}: {install('gpu-cu12')}"
        )
    return f"compute_{older[-1]}"


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError, OSError) as error:
        raise DeviceError(f"NVRTC, which compiles the kernels for the GPU, is missing ({error}): {MEND}") from error
    return nvrtc


def _version() -> tuple[int, int]:
    major, minor = _call(_nvrtc().nvrtcVersion)
    return int(major), int(minor)


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    """The results of a function of NVRTC, whose error becomes a DeviceError."""
    status, *results = function(*arguments)
    if int(status) != 0:
        raise DeviceError(f"NVRTC: {function.__name__} failed with {status.name}")
    return results[0] if len(results) == 1 else results


def _text(size: Callable[..., Any], get: Callable[..., Any], program: object) -> bytes:
    count = int(_call(size, program))
    buffer = b" " * (count + 1)  # a copy of its own: Python shares the bytes of length one
    _call(get, program, buffer)  # writes into it, as the bindings have it
    return buffer[:count]


def _digest(*words: str) -> str:
    """Names all that machine code is made from: the sources, the options, and the words."""
    digest = hashlib.sha256(" ".join([*OPTIONS, *words]).encode())
    for path in sorted([sources() / KERNELS, *(sources() / "ops").glob("*.h")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
