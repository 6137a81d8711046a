"""Fixtures that several test files share, and the skips that say why."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cuda_driver import driver

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    required = os.environ.get("DFX_REQUIRE_GPU") == "1"
    absent = {
        "gpu": None if required or driver() else "no NVIDIA GPU, or no driver (DFX_REQUIRE_GPU=1 makes that a failure)",
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
