"""`dfx doctor` tells the truth about environments that are made here."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tolerances import SCORE_BETWEEN_PROCESSORS

import dfx
from dfx import doctor
from dfx.decode import dali
from dfx.infer import nvinfer
from dfx.ops import cuda
from dfx.origin import install as advice


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that stands before all others and hides ONNX Runtime's; fill it by `install`."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if not name.startswith("onnxruntime"):
            return real(name)
        found = list(importlib.metadata.distributions(name=name, path=[str(tmp_path)]))
        if not found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[0].version

    monkeypatch.setattr(doctor, "version", version)
    return tmp_path


def install(folder: Path, name: str, number: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_one_runtime_is_as_it_should_be(installed: Path) -> None:
    install(installed, "onnxruntime", "1.31.0")
    assert doctor.runtime() == doctor.Finding("ONNX Runtime", True, "onnxruntime 1.31.0")


def test_both_runtimes_at_once_overwrite_each_other(installed: Path) -> None:
    install(installed, "onnxruntime", "1.31.0")
    install(installed, "onnxruntime-gpu", "1.26.0")
    found = doctor.runtime()
    assert not found.sound
    assert found.found == "onnxruntime 1.31.0, onnxruntime-gpu 1.26.0: the two overwrite each other"
    assert found.mend.startswith("pip uninstall -y onnxruntime onnxruntime-gpu, then pip install")


@pytest.mark.usefixtures("installed")
def test_no_runtime_names_the_extras() -> None:
    found = doctor.runtime()
    assert (found.sound, found.found) == (False, "none")
    assert advice("cpu") in found.mend


def test_a_gpu_runtime_without_a_driver_is_told_apart(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(installed, "onnxruntime-gpu", "1.26.0")
    monkeypatch.setattr(cuda, "missing", lambda: "no driver: install NVIDIA's")
    assert doctor.runtime().sound
    assert doctor.gpu() == doctor.Finding("GPU", False, "no driver", "install NVIDIA's")


def test_what_dali_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "missing", lambda: "no libnvcuvid.so.1: mount the driver's video part")
    assert doctor.decoder() == doctor.Finding("DALI", False, "no libnvcuvid.so.1", "mount the driver's video part")


def test_what_tensorrt_lacks_is_said_and_that_it_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvinfer, "missing", lambda: "no libnvinfer.so.10: install it")
    assert doctor.tensorrt() == doctor.Finding(
        "TensorRT", False, "no libnvinfer.so.10", "install it; not needed: the CUDA provider serves without it"
    )


@pytest.mark.parametrize(("capability", "sound"), [((7, 5), True), ((6, 0), False)])
def test_tensorrt_serves_cards_from_turing_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], sound: bool
) -> None:
    monkeypatch.setattr(nvinfer, "missing", lambda: None)
    monkeypatch.setattr(nvinfer, "release", lambda: "10.13.3")
    monkeypatch.setattr(cuda, "missing", lambda: None)
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cuda, "device_name", lambda index: "a card")
    monkeypatch.setattr(cuda, "compute_capability", lambda index: capability)
    found = doctor.tensorrt()
    assert found.sound == sound
    assert found.found.startswith("10.13.3" if sound else "a card has compute capability 6.0")
    assert ("--device cuda" in found.mend) != sound


def test_the_scores_that_ship_are_current(samples: Path) -> None:
    with doctor.GOLDEN.open(newline="") as lines:
        golden = {row["filename"]: float(row["label"]) for row in csv.DictReader(lines)}
    rows = dfx.predict_dir(samples, device="cpu", progress=False)
    assert golden == pytest.approx({row.filename: row.probability for row in rows}, abs=SCORE_BETWEEN_PROCESSORS)


def test_scores_that_are_off_fail_the_test_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "golden.csv"
    wrong.write_text(doctor.GOLDEN.read_text().replace("0.5", "0.9"))
    monkeypatch.setattr(doctor, "GOLDEN", wrong)
    assert not doctor.self_test("cpu").sound


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_command(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "dfx", "doctor", *options]
    environment = os.environ | {"COLUMNS": "160"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    if options:
        assert "cpu" in json.loads(done.stdout)["serves"]
    else:
        assert "can serve: cpu" in done.stdout
        assert "self-test on cpu" in done.stdout
