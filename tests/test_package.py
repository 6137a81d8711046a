"""The package: what is public, and that it is loaded when it is asked for and not before."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dfx

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


def test_a_run_on_a_cpu_loads_nothing_of_a_gpu(tmp_path: Path) -> None:
    loaded = loaded_by("import dfx.predict, dfx.worker", tmp_path)
    assert not {"dfx.infer.gpu", "dfx.infer.nvinfer", "dfx.infer.engines", "dfx.decode.dali"} & loaded
