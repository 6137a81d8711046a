"""The package: what is public, and that it is loaded when it is asked for and not before."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dfx
from dfx import origin

HEAVY = {"numpy", "av", "rich", "onnxruntime", "torch", "cv2", "pandas"}


def loaded_by(code: str, folder: Path) -> set[str]:
    """The modules that a Python of its own holds after the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return set(done.stdout.split())


def test_every_public_name_is_there_and_type_checkers_are_told_of_the_same() -> None:
    tree = ast.parse(Path(dfx.__file__).read_text(encoding="utf-8"))
    told = {
        name.name
        for block in tree.body
        if isinstance(block, ast.If)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }
    assert told | {"__version__"} == set(dfx.__all__)
    for name in dfx.__all__:
        assert getattr(dfx, name) is not None
        assert name in dir(dfx)


def test_its_types_are_for_users_too() -> None:
    """PEP 561: without the mark a type checker takes everything of an installed package for Any."""
    assert Path(dfx.__file__).with_name("py.typed").is_file()


def test_what_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'dfx' has no attribute 'nonsense'"):
        _ = dfx.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["audio", "faces", "frames", "inspect", "probe", "rehearse", "score"])
def test_a_function_stands_before_the_module_of_its_name(name: str, tmp_path: Path) -> None:
    loaded_by(
        f"import dfx.{name}; import dfx; assert dfx.{name}.__name__ == {name!r} and callable(dfx.{name})", tmp_path
    )
    loaded_by(f"from dfx import {name}; import dfx.{name}; assert dfx.{name} is {name} and callable({name})", tmp_path)


@pytest.mark.parametrize("code", ["import dfx", "import dfx.cli", "import dfx.inspect", "import dfx.sandbox"])
def test_start_up_loads_nothing_heavy(code: str, tmp_path: Path) -> None:
    assert not HEAVY & loaded_by(code, tmp_path)


def test_onnx_runtime_reports_nothing(samples: Path, tmp_path: Path) -> None:
    """From 1.29 on it keeps an identity and a queue of events in the user's cache, unless it is told not to."""
    told = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    home = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    (tmp_path / "home").mkdir()
    command = [
        sys.executable,
        "-P",
        "-m",
        "dfx",
        "predict",
        samples / "real.mp4",
        "--out",
        tmp_path / "s.csv",
        "--quiet",
    ]
    subprocess.run([*command, "--device", "cpu"], check=True, env=told | home, cwd=tmp_path)
    assert [str(path) for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_advice_names_what_dfx_was_installed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the registry another package has its name."""

    class Installed:
        def __init__(self, noted: str | None) -> None:
            self.noted = noted

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return self.noted

    def said(noted: str | None) -> str:
        monkeypatch.setattr(origin, "distribution", lambda name: Installed(noted))
        origin._source.cache_clear()
        try:
            return origin.install("train", "export")
        finally:
            origin._source.cache_clear()

    place = tmp_path / "a b"
    place.mkdir()
    assert said(f'{{"url": "{place.as_uri()}", "dir_info": {{}}}}') == f'pip install "{place}[train,export]"'
    editable = f'{{"url": "{place.as_uri()}", "dir_info": {{"editable": true}}}}'
    assert said(editable) == f'pip install -e "{place}[train,export]"'
    assert said('{"url": "https://example.org/tmp", "vcs_info": {}}') == 'pip install "dfx[train,export]"'
    assert said(None) == said('{"url": "file:///gone", "dir_info": {}}') == 'pip install "dfx[train,export]"'


def test_a_run_on_a_cpu_loads_nothing_of_a_gpu(tmp_path: Path) -> None:
    loaded = loaded_by("import dfx.predict, dfx.worker", tmp_path)
    assert not {"dfx.infer.gpu", "dfx.infer.nvinfer", "dfx.infer.engines", "dfx.decode.dali"} & loaded
