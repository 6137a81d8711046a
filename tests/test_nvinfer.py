"""What stands in TensorRT's way is said in a line, with the mend."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import stand_ins

from dfx.errors import DeviceError
from dfx.infer import nvinfer
from dfx.infer.session import CPU, CUDA, TENSORRT
from dfx.origin import install


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts an ONNX Runtime in place, with these providers; the one for TensorRT links this library."""

    def put(*providers: str, links: str = "libnvinfer.so.10") -> None:
        module = SimpleNamespace(__version__="1.27.0", get_available_providers=lambda: list(providers))
        names = ["libcudart.so.13", links, "libnvonnxparser.so.10"] if TENSORRT in providers else []
        monkeypatch.setattr(nvinfer, "import_runtime", lambda: module)
        monkeypatch.setattr(nvinfer, "linked", {"tensorrt": names}.get)

    nvinfer.load.cache_clear()
    yield put
    nvinfer.load.cache_clear()


def only(monkeypatch: pytest.MonkeyPatch, *majors: int) -> None:
    """TensorRT of these major versions alone can be opened."""

    def opened(library: str, major: int) -> SimpleNamespace:
        if major not in majors:
            raise OSError(f"{library}.so.{major}")
        return SimpleNamespace(getInferLibVersion=lambda: 10000 * major + 1602)

    monkeypatch.setattr(nvinfer, "_open", opened)


def test_the_right_one_serves(runtime: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(TENSORRT, CUDA, CPU)
    only(monkeypatch, 10, 11)
    assert nvinfer.missing() is None
    assert nvinfer.release() == "10.16.2"


@pytest.mark.parametrize("major", [10, 11])
def test_the_provider_says_which_one_it_links(runtime: Callable[..., None], major: int) -> None:
    runtime(TENSORRT, links=f"libnvinfer.so.{major}")
    assert nvinfer.linked_major() == major


@pytest.mark.parametrize(
    ("majors", "message"),
    [
        ((), "no libnvinfer.so.10, TensorRT's library: " + install("tensorrt-cu13")),
        ((8,), "TensorRT 8 is here, but ONNX Runtime's provider links TensorRT 10: pip install"),
        ((11,), "TensorRT 11 is here, but ONNX Runtime's provider links TensorRT 10: pip install"),
    ],
)
def test_an_absent_library_and_another_major_version_are_told_apart(
    runtime: Callable[..., None], monkeypatch: pytest.MonkeyPatch, majors: tuple[int, ...], message: str
) -> None:
    runtime(TENSORRT, CUDA, CPU)
    only(monkeypatch, *majors)
    said = nvinfer.missing()
    assert said is not None
    assert said.startswith(message)
    assert "\n" not in said


def test_the_cpus_build_has_no_provider(runtime: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(CPU)
    monkeypatch.setattr(nvinfer, "_installed", lambda package: package == "onnxruntime")
    assert nvinfer.missing() == (f"ONNX Runtime 1.27.0 has no provider for TensorRT: {install('gpu-cu13')} or gpu-cu12")


def test_the_cpus_build_over_the_gpus_is_named(runtime: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime(CPU)
    monkeypatch.setattr(nvinfer, "version", lambda package: "1.27.0")
    said = nvinfer.missing()
    assert said is not None
    assert said.startswith("the CPU's onnxruntime hides onnxruntime-gpu, which is installed too: pip uninstall -y ")


def test_a_library_that_names_no_tensorrt_is_refused(runtime: Callable[..., None]) -> None:
    runtime(TENSORRT, links="libother.so.1")
    with pytest.raises(DeviceError, match=r"links libcudart\.so\.13, libother.*no libnvinfer.*choose --device cuda"):
        nvinfer.linked_major()


def test_a_card_before_turing_is_refused_with_the_mend() -> None:
    assert nvinfer.refuses("Tesla P100-PCIE-16GB", (6, 0)) == (
        "Tesla P100-PCIE-16GB has compute capability 6.0, and TensorRT 10 begins at 7.5: choose --device cuda"
    )
    assert nvinfer.refuses("Tesla T4", (7, 5)) is nvinfer.refuses("NVIDIA H200", (9, 0)) is None


@pytest.mark.skipif(not stand_ins.TOOLS, reason="needs cc and binutils")
@pytest.mark.parametrize("where", ["system", "wheel"])
def test_versions_come_from_the_libraries_themselves(tmp_path: Path, where: str) -> None:
    """By ctypes, from libraries that stand in for TensorRT's and NVML's, in a process of their own."""
    if where == "system" and _loads("libnvinfer.so.10"):
        pytest.skip("there is a TensorRT")
    folder = tmp_path if where == "system" else tmp_path / "tensorrt_libs"
    folder.mkdir(exist_ok=True)
    copies = 'int nvmlSystemGetDriverVersion(char* out) { for (const char* c = "580.1"; (*out++ = *c++);); return 0; }'
    plain = {name: f"int {name}() {{ return 0; }}" for name in ("nvmlInit_v2", "nvmlShutdown")}
    stand_ins.library(tmp_path, "libnvidia-ml.so.1", plain | {"nvmlSystemGetDriverVersion": copies})
    stand_ins.library(folder, "libnvinfer.so.10", {"version": stand_ins.CODE["getInferLibVersion"]})
    code = (
        "from dfx.infer import engines, nvinfer; nvinfer.linked_major = lambda: 10;"
        "print(engines.driver_version(), nvinfer.release(), nvinfer.missing())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,  # which is on the path of `-c`, and with it the package tensorrt_libs
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert done.stdout.split() == ["580.1", "10.13.3", "None"]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
