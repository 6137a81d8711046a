"""Fixtures that several test files share, and the skips that say why."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from cuda_driver import driver

if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: torch's threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same cases every time, and no clock: a loaded machine is no bug.
hypothesis.settings.register_profile("dfx", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("dfx")

SHARED = Path(__file__).parents[2] / "shared"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def _no_tensorrt() -> str | None:
    if os.environ.get("DFX_REQUIRE_TENSORRT") == "1":
        return None
    if not driver():
        return "no NVIDIA GPU (DFX_REQUIRE_TENSORRT=1 makes that a failure)"
    from dfx.infer import nvinfer

    return nvinfer.missing()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    required = os.environ.get("DFX_REQUIRE_GPU") == "1"
    absent = {
        "gpu": None if required or driver() else "no NVIDIA GPU, or no driver (DFX_REQUIRE_GPU=1 makes that a failure)",
        "tensorrt": _no_tensorrt(),
        "shared": None if SHARED.is_dir() else "the data folder ../shared is not beside this checkout",
        "dali": None if _has("nvidia.dali") else "DALI is not installed (pip install 'dfx[gpu-cu13]')",
        "torch": None if importlib.util.find_spec("torch") else "torch is not installed (pip install 'dfx[train]')",
    }
    for item in items:
        for marker, reason in absent.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real videos and pictures. Tests that use it carry the marker `shared`."""
    return SHARED


@pytest.fixture(scope="session")
def samples() -> Path:
    """The clips that ship with dfx."""
    import dfx.demo

    return dfx.demo.SAMPLES


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: DFX_BROWSER names another. playwright carries no browser, only what talks to one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    names = [os.environ["DFX_BROWSER"]] if "DFX_BROWSER" in os.environ else BROWSERS
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium-headless-shell, or name one by DFX_BROWSER")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


# Of the tests of engines. What a GPU is needed for, ONNX Runtime's call of TensorRT, is stood in for; all else is real.


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one H100 and TensorRT 10.13.3, as far as fingerprints go."""
    from surfaces import pretended_kernels

    from dfx.infer import engines, nvinfer
    from dfx.ops import cuda

    kernels = pretended_kernels()
    kernels.gpu_name = lambda ordinal: "NVIDIA H100 80GB HBM3"
    monkeypatch.setattr(cuda, "kernels", lambda: kernels)
    monkeypatch.setattr(engines, "driver_version", lambda: "580.159.03")
    monkeypatch.setattr(nvinfer, "release", lambda: "10.13.3")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier whose logit is the brightness of a clip."""
    from models import brightness_classifier

    return brightness_classifier(tmp_path / "mine.onnx")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands in for ONNX Runtime writes `file` where it is told to, and notes what it was given."""
    import onnx
    from engine_files import context

    from dfx.infer import build, nvinfer

    noted = SimpleNamespace(file=context(), told=None, content=b"")

    def create(content: bytes, path: Path, provider: tuple[str, dict[str, str]]) -> None:
        noted.content, noted.told = content, provider
        onnx.save(noted.file, provider[1]["trt_ep_context_file_path"])

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setattr(build, "create", create)
    monkeypatch.setattr(nvinfer, "load", lambda: None)
    return noted
