"""The few calls of CUDA's driver that tests need, by ctypes."""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache


@cache
def driver() -> ctypes.CDLL | None:
    """The driver's library with CUDA started; None where there is none, or no GPU."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    return library


def call(name: str, *arguments: object) -> None:
    """Calls a function of the driver; AssertionError, with the code, where it fails."""
    library = driver()
    assert library is not None, "no CUDA driver or no GPU"
    code = getattr(library, name)(*arguments)
    assert code == 0, f"{name}: CUDA error {code}"


def capability(device: int = 0) -> tuple[int, int]:
    """The compute capability of a GPU, as (9, 0)."""
    values = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        value = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        values.append(value.value)
    return values[0], values[1]


def enter(device: int = 0) -> None:
    """Makes the GPU's primary context, the one of CUDA's runtime and of DALI, this thread's own."""
    context = ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)


def used_memory() -> int:
    """Bytes of the GPU's memory that this process has taken; all that are taken, where nobody tells by whom."""
    enter()
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    rows = (
        row.split(",") for row in subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    )
    own = [int(used) * 2**20 for pid, used in rows if pid == str(os.getpid()) and used.strip().isdigit()]
    if own:
        return own[0]
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return total.value - free.value
