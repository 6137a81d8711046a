"""TensorRT's library, libnvinfer: whether the one that ONNX Runtime's provider links is here, and its version."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dfx.errors import DependencyError, DeviceError
from dfx.infer.libraries import linked
from dfx.infer.session import TENSORRT, import_runtime
from dfx.origin import install

LINKS = "libnvinfer.so."
OTHERS = (8, 9, 10, 11, 12)  # majors to look for where the right one is absent
CAPABILITY = (7, 5)  # the least that TensorRT 10.5 and later serve: its support matrix begins with Turing
EXTRA = f"{install('tensorrt-cu13')} (with gpu-cu13), or tensorrt-cu12 (with gpu-cu12)"


def missing() -> str | None:
    """Why ONNX Runtime cannot run TensorRT here, whatever the GPU, with the mend in one line; None where it can."""
    try:
        load()
    except (DeviceError, DependencyError) as error:
        return str(error)
    return None


def refuses(name: str, capability: tuple[int, int]) -> str | None:
    """Why TensorRT 10 does not serve a GPU of that name and compute capability, with the mend; None where it does."""
    if capability >= CAPABILITY:
        return None
    return (
        f"{name} has compute capability {capability[0]}.{capability[1]}, and TensorRT 10 begins at "
        f"{CAPABILITY[0]}.{CAPABILITY[1]}: choose --device cuda"
    )


@cache
def load() -> ctypes.CDLL:
    """Opens TensorRT, so that ONNX Runtime's provider finds it: `onnxruntime.preload_dlls` does not.

    Raises:
        DependencyError: no ONNX Runtime. DeviceError: it has no provider for TensorRT, or TensorRT of its major version
            is absent.
    """
    major = linked_major()
    for library in ("libnvinfer_plugin", "libnvonnxparser"):
        with suppress(OSError):  # older providers do without the plugins
            _open(library, major)
    try:
        return _open("libnvinfer", major)
    except OSError:
        raise DeviceError(_absent(major)) from None


def release() -> str:
    """TensorRT's version, as "10.13.3"; raises what `load` raises."""
    number = load().getInferLibVersion()  # NV_TENSORRT_VERSION: 10000 major + 100 minor + patch, since version 10
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def linked_major() -> int:
    """The major version of TensorRT that ONNX Runtime's provider links; raises what `load` raises."""
    runtime, names = import_runtime(), linked("tensorrt")
    if TENSORRT not in runtime.get_available_providers() or not names:
        raise DeviceError(_no_provider(runtime.__version__))
    found = [name for name in names if name.startswith(LINKS)]
    if not found:
        raise DeviceError(f"ONNX Runtime's provider links {', '.join(names)}, no {LINKS}: choose --device cuda")
    return int(found[0].removeprefix(LINKS))


def _open(library: str, major: int) -> ctypes.CDLL:
    """From the system, else from the wheel tensorrt_cu1x_libs; globally, so that what links it finds it by name."""
    name, folder = f"{library}.so.{major}", _wheel()
    for path in (name, *([str(folder / name)] if folder else [])):
        with suppress(OSError):
            return ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    raise OSError(name)


def _wheel() -> Path | None:
    found = importlib.util.find_spec("tensorrt_libs")
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) if places else None


def _absent(major: int) -> str:
    others = list(_majors_here(major))
    if others:
        return f"TensorRT {others[0]} is here, but ONNX Runtime's provider links TensorRT {major}: {EXTRA}"
    return f"no libnvinfer.so.{major}, TensorRT's library: {EXTRA}"


def _majors_here(but: int) -> Iterator[int]:
    for major in OTHERS:
        if major != but:
            with suppress(OSError):
                _open("libnvinfer", major)
                yield major


def _no_provider(runtime: str) -> str:
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        mend = f"pip uninstall -y onnxruntime onnxruntime-gpu, then {install('gpu-cu13')} or gpu-cu12"
        return f"the CPU's onnxruntime hides onnxruntime-gpu, which is installed too: {mend}"
    return f"ONNX Runtime {runtime} has no provider for TensorRT: {install('gpu-cu13')} or gpu-cu12"


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
