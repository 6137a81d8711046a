"""Shared libraries that stand in for NVIDIA's, compiled here: every function gives 0 unless told."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

REACHED = 42  # the exit status of a process that comes to TensorRT's or cuBLAS's first call
END = f"void _exit(int); void* {{}}() {{{{ _exit({REACHED}); return 0; }}}}"
CODE = {
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int* count) { *count = 1; return 0; }",
    "getInferLibVersion": "int getInferLibVersion() { return 101303; }",
    "getPluginRegistry": (
        "static long none() { return 0; } static void* table[99]; static void** registry = table;"
        "void* getPluginRegistry() { for (int i = 0; i < 99; ++i) table[i] = (void*)none; return &registry; }"
    ),
} | {name: END.format(name) for name in ("createInferBuilder_INTERNAL", "createInferRuntime_INTERNAL")}
CODE["cublasCreate_v2"] = END.format("cublasCreate_v2")

UNVERSIONED = ("libcuda.", "libnvinfer", "libnvonnx")
TOOLS = all(shutil.which(tool) for tool in ("cc", "nm", "readelf"))


def library(folder: Path, name: str, code: Mapping[str, str], version: str | None = None) -> Path:
    """Compiles functions, by name, into a library of that soname. version: of its symbols."""
    source, script = folder / f"{name}.c", folder / f"{name}.map"
    source.write_text("\n".join(code.values()))
    script.write_text(f"{version} {{ global: *; }};\n")
    versions = [f"-Wl,--version-script={script}"] if version else []
    command = ["cc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{name}", *versions, "-o", folder / name, source]
    subprocess.run(command, check=True)
    return folder / name


def for_onnxruntime(capi: Path, folder: Path) -> None:
    """All that ONNX Runtime's providers for NVIDIA's GPUs link, so that they load and parse their options anywhere."""
    needed: dict[str, set[str]] = {}
    for provider in capi.glob("libonnxruntime_providers_*.so"):
        for name in re.findall(r"NEEDED.*\[(lib(?:cu|nv)[^\]]*)\]", _said("readelf", "-d", provider)):
            needed.setdefault(name, set())
        for symbol in re.findall(r" U (\S+)", _said("nm", "-D", "--undefined-only", provider)):
            if owner := _owner(symbol):
                needed.setdefault(owner, set()).add(symbol.partition("@")[0])
    for name, symbols in needed.items():
        code = {symbol: CODE.get(symbol, f"long {symbol}() {{ return 0; }}") for symbol in sorted(symbols)}
        library(folder, name, code, None if name.startswith(UNVERSIONED) else name)


def _owner(symbol: str) -> str | None:
    name, _, library_name = symbol.partition("@")
    if library_name.startswith(("libcu", "libnv")):
        return library_name
    if re.match("cu[A-Z]", name):  # the driver's have no version
        return "libcuda.so.1"
    if "NvOnnx" in name:
        return "libnvonnxparser.so.10"
    return "libnvinfer.so.10" if "Infer" in name or name == "getPluginRegistry" else None


def _said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
