"""A run that wants TensorRT takes engines that fit, builds others or leaves the GPU to CUDA; and the script."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from engine_files import PLAN, context, store

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

import build_engines

from dfx import equip
from dfx.device import Choice, Crew
from dfx.errors import MissingInputError
from dfx.infer.engines import Engine, Fingerprint, engine_of
from dfx.ops import cuda

pytestmark = pytest.mark.usefixtures("machine")

WANTED = Choice((0,), "tensorrt:0 (NVIDIA H100 80GB HBM3)", tensorrt=(0,))


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the one that builds."""

    def put(code: str) -> None:
        (tmp_path / "builder.py").write_text(f"import shutil, sys, time\nmodel, folder, gpu = sys.argv[1:]\n{code}\n")
        monkeypatch.setattr(equip, "COMMAND", [sys.executable, str(tmp_path / "builder.py")])

    put("sys.exit('it must not be called')")
    return put


def test_engines_that_fit_are_taken(model: Path, tmp_path: Path, builder: Any) -> None:
    store(model, tmp_path)
    ready = equip.equip(WANTED, [model], tmp_path)
    assert ready == replace(WANTED, engines=tmp_path)
    assert ready.crews(3, cores=4) == [Crew(0, 3, str(tmp_path))]


def test_what_is_missing_is_built(model: Path, tmp_path: Path, builder: Any) -> None:
    store(model, tmp_path / "built")
    builder("shutil.copytree(sys.path[0] + '/built', folder)")
    assert equip.equip(WANTED, [model], tmp_path / "engines").tensorrt == (0,)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('a trace', file=sys.stderr); sys.exit('no operator')", "it could not be built: no operator"),
        ("sys.exit(3)", "it could not be built: exit status 3"),
        ("pass", "there is no mine"),
        ("time.sleep(60)", "building it took more than 1 s"),
    ],
)
def test_what_cannot_be_built_leaves_the_gpu_to_cuda_and_says_so(
    model: Path,
    tmp_path: Path,
    builder: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: str,
    reason: str,
) -> None:
    builder(code)
    monkeypatch.setattr(equip, "BUILD_SECONDS", 1.0 if "sleep" in code else 60.0)
    monkeypatch.setattr(equip, "BUILD_LEAST", 0.5)
    ready = equip.equip(WANTED, [model], tmp_path / "engines")
    assert ready.crews(3, cores=4) == [Crew(0, 3, None)]
    assert ready.why.startswith("cuda:0 (NVIDIA H100 80GB HBM3), since TensorRT does not serve: there is no mine-")
    assert reason in ready.why
    assert f"the CUDA provider does: {ready.why.partition('serve: ')[2]}" in caplog.text


def test_a_short_budget_leaves_no_time_to_build(
    model: Path, tmp_path: Path, builder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store(model, tmp_path, driver="535.1")
    with caplog.at_level(logging.WARNING, "dfx"):
        ready = equip.equip(WANTED, [model], tmp_path, deadline=time.monotonic() + 300)
    assert ready.tensorrt == ()
    assert "driver 535.1, here 580.159.03" in ready.why
    assert "there is no time to build it: 300 s of the budget are left, 600 needed" in ready.why


def test_one_gpu_without_engines_does_not_hold_up_the_other(
    model: Path, tmp_path: Path, builder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(model, tmp_path)
    kernels = cuda.kernels()
    monkeypatch.setattr(kernels, "gpu_name", lambda ordinal: ["NVIDIA H100 80GB HBM3", "Tesla T4"][ordinal])
    both = Choice((0, 1), "", tensorrt=(0, 1))
    ready = equip.equip(both, [model], tmp_path)
    assert ready.crews(2, cores=4) == [Crew(0, 2, str(tmp_path)), Crew(1, 2, None)]
    assert ready.why.startswith("tensorrt:0 (NVIDIA H100 80GB HBM3); cuda:1 (Tesla T4), since TensorRT does not serve")


def test_other_devices_need_no_engines() -> None:
    assert equip.equip(Choice((), "the CPU"), [], None) == Choice((), "the CPU")


def test_a_model_that_is_absent_ends_the_run(tmp_path: Path, builder: Any) -> None:
    with pytest.raises(MissingInputError, match=r"nothing\.onnx"):
        equip.equip(WANTED, [tmp_path / "nothing.onnx"], tmp_path)


# -- the commands ------------------------------------------------------------------------------------------------------


def test_the_process_that_builds_says_in_a_line_what_it_lacks(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "dfx.infer.build", str(model), str(tmp_path / "engines"), "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    if done.returncode == 0:
        pytest.skip("this machine has a GPU and TensorRT")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "driver" in done.stderr


@pytest.fixture
def script(written: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(build_engines, "choose", lambda wanted: None)
    return lambda *words: CliRunner().invoke(build_engines.main, [str(word) for word in words])


def test_the_script_builds_once_and_again_when_asked(script: Any, model: Path, tmp_path: Path) -> None:
    first = script(model, "--out", tmp_path / "engines")
    assert first.exit_code == 0, first.output
    assert ".nvidia-h100-80gb-hbm3.onnx: 0.00 MB, built in" in first.output
    assert "fits this GPU, driver and model already" in script(model, "--out", tmp_path / "engines").output
    assert "built in" in script(model, "--out", tmp_path / "engines", "--again").output


def test_a_standalone_engine_has_a_manifest_of_its_own(
    script: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(build_engines, "plan_of", lambda *given_here: given.append(given_here) or PLAN)
    done = script(model, "--out", tmp_path / "engines", "--standalone")
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "engines").glob("mine-*.nvidia-h100-80gb-hbm3.engine")
    assert path.read_bytes() == PLAN
    assert Engine.read(path).fingerprint == Fingerprint.here(model, 0)
    ((content, shapes, _),) = given
    assert shapes == {"clips": (1, 16, 3, 32, 32)}
    assert onnx.load_model_from_string(content).graph.node[0].op_type == "Cast"
    assert engine_of(model, tmp_path / "engines", 0).path.suffix == ".onnx"


def test_standalone_without_polygraphy_names_the_extra(
    script: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = script(model, "--out", tmp_path, "--standalone")
    assert done.exit_code == 2
    assert "Error: standalone engines need Polygraphy and TensorRT" in done.output
    assert "[export-trt]" in done.output


def test_errors_are_one_line(model: Path, tmp_path: Path, script: Any, written: SimpleNamespace) -> None:
    written.file = context(nodes=2)
    for words in ([model], [tmp_path / "nothing.onnx"]):
        done = script(*words, "--out", tmp_path / "engines")
        assert done.exit_code == 2
        assert done.output.startswith("Error: ")
        assert done.output.count("\n") == 1


def test_help_has_an_example() -> None:
    assert "Example:\n" in CliRunner().invoke(build_engines.main, ["--help"]).output


def test_without_a_gpu_the_script_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU")
    done = CliRunner().invoke(build_engines.main, ["--out", str(tmp_path / "engines")])
    assert done.exit_code == 2
    assert done.output.startswith("Error: tensorrt:0 cannot serve: ")
    assert not (tmp_path / "engines").exists()
