"""What the tests of engines share: a machine of their making, and files as ONNX Runtime's provider writes them.

What a GPU is needed for, ONNX Runtime's call of TensorRT, is stood in for; all else is the real code.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from models import brightness_classifier
from onnx import TensorProto, helper
from surfaces import pretended_kernels

from dfx.infer import build, engines, nvinfer
from dfx.infer.engines import Engine, Fingerprint, place
from dfx.ops import cuda

PLAN = b"a plan of TensorRT"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one H100 and TensorRT 10.13.3, as far as fingerprints go."""
    kernels = pretended_kernels()
    kernels.gpu_name = lambda ordinal: "NVIDIA H100 80GB HBM3"
    monkeypatch.setattr(cuda, "kernels", lambda: kernels)
    monkeypatch.setattr(engines, "driver_version", lambda: "580.159.03")
    monkeypatch.setattr(nvinfer, "release", lambda: "10.13.3")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return brightness_classifier(tmp_path / "mine.onnx")


def context(nodes: int = 1, **words: Any) -> onnx.ModelProto:
    """A file as TensorRT's provider writes it: no metadata, one node EPContext with the plan inside."""
    given = {
        "embed_mode": 1,
        "ep_cache_context": PLAN,
        "hardware_architecture": "90",
        "onnx_model_filename": "",
    } | words
    names = ["clips", *(f"between{n}" for n in range(1, nodes)), "logits"]
    parts = [
        helper.make_node("EPContext", [names[n]], [names[n + 1]], domain="com.microsoft", **given) for n in range(nodes)
    ]
    clips = helper.make_tensor_value_info("clips", TensorProto.UINT8, ["n", 16, 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"])
    return helper.make_model(helper.make_graph(parts, "context", [clips], [logits]), ir_version=10)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands in for ONNX Runtime writes `file`, and notes what it was told."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    noted = SimpleNamespace(file=context(), told=None, content=b"")

    def create(content: bytes, path: Path, provider: Any) -> None:
        noted.content, noted.told = content, provider
        onnx.save(noted.file, provider[1]["trt_ep_context_file_path"])

    monkeypatch.setattr(build, "create", create)
    monkeypatch.setattr(nvinfer, "load", lambda: None)
    monkeypatch.setattr(build, "import_runtime", lambda: SimpleNamespace(preload_dlls=lambda directory: None))
    return noted


def store(model: Path, folder: Path, **changes: str) -> Engine:
    """An engine in a folder, with another fingerprint than this machine's."""
    here = Fingerprint.here(model, 0)
    folder.mkdir(exist_ok=True)
    shapes = {"clips": (1, 16, 3, 32, 32)}
    return build.store(PLAN, place(model, folder, here.gpu), replace(here, **changes), shapes)
