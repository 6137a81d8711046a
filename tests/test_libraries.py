"""What ONNX Runtime's providers link is read from them, opened before they are, and named where it is not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import stand_ins

from dfx import _kernels
from dfx.infer import libraries
from dfx.origin import install

pytestmark = pytest.mark.skipif(not stand_ins.TOOLS, reason="needs cc and binutils")

RUNTIME = """
__version__ = "1.27.0"
get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
"""
ASKED = """
from dfx.infer.gpu import cuda_missing

print(cuda_missing())
print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "libcu" in line}), sep="\\n")
"""


def provider(folder: Path, *names: str) -> Path:
    """An ONNX Runtime in a folder, whose provider for CUDA links libraries of these names, and where those are."""
    capi, places = folder / "onnxruntime" / "capi", folder / "places"
    for each in (capi, places):
        each.mkdir(parents=True)
    (capi.parent / "__init__.py").write_text(RUNTIME)
    found = [stand_ins.library(places, name, {name: "int here;"}) for name in names]
    (folder / "provider.c").write_text("")
    command = ["cc", "-shared", "-fPIC", "-Wl,--no-as-needed", "-o", capi / libraries.PROVIDER.format("cuda")]
    subprocess.run([*command, folder / "provider.c", *found], check=True)
    return places


def asked(folder: Path, **environment: str) -> list[str]:
    """The lines that a process says which has this ONNX Runtime, and those NVIDIA libraries that it then has open."""
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=os.environ | environment)
    return done.stdout.split("\n")[:-1]


def test_the_names_are_those_that_readelf_shows(tmp_path: Path) -> None:
    provider(tmp_path, "libcudart.so.13", "libcudnn.so.9", "libz.so.77")
    for library in (Path(_kernels.__file__), next(tmp_path.rglob(libraries.PROVIDER.format("cuda")))):
        shown = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
        assert libraries.needed(library) == re.findall(r"\(NEEDED\).*\[(.*)\]", shown)
        assert libraries.needed(library)


def test_what_nvidias_packages_bring_is_opened(tmp_path: Path) -> None:
    """In the folders of CUDA 13 and of cuDNN; the driver's library and the system's own are not looked for."""
    places = provider(tmp_path, "libcublas.so.13", "libcudart.so.13", "libcudnn.so.9", "libcuda.so.1", "libother.so.7")
    for name, package in (("libcublas.so.13", "cu13"), ("libcudart.so.13", "cu13"), ("libcudnn.so.9", "cudnn")):
        folder = tmp_path / "nvidia" / package / "lib"
        folder.mkdir(parents=True, exist_ok=True)
        (places / name).rename(folder / name)
    said, *opened = asked(tmp_path)
    assert said == "None"
    assert [Path(path).relative_to(tmp_path / "nvidia").parts[0] for path in opened] == ["cu13", "cu13", "cudnn"]


def test_so_is_what_the_system_has(tmp_path: Path) -> None:
    places = provider(tmp_path, "libcudart.so.13")
    assert asked(tmp_path, LD_LIBRARY_PATH=str(places)) == ["None", str(places / "libcudart.so.13")]


@pytest.mark.parametrize("major", [12, 13])
def test_what_is_not_there_is_named_with_the_extra_that_brings_it(tmp_path: Path, major: int) -> None:
    names = f"libcublasLt.so.{major}99", f"libcudart.so.{major}"
    places = provider(tmp_path, *names)
    (places / names[0]).unlink()
    said, *_ = asked(tmp_path, LD_LIBRARY_PATH=str(places))
    assert said.startswith(f"{names[0]}, which ONNX Runtime's provider links, cannot be opened: pip install")
    assert install(f"cuda{major}") in said


def test_a_provider_that_is_not_there_links_nothing() -> None:
    assert libraries.linked("none") == []
