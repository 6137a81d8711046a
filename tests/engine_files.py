"""Files as ONNX Runtime's TensorRT provider writes them, and engines of them in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from dfx.infer import build
from dfx.infer.engines import Engine, Fingerprint, place

PLAN = b"a plan of TensorRT"


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


def store(model: Path, folder: Path, **changes: str) -> Engine:
    """An engine in a folder, with another fingerprint than this machine's."""
    here = Fingerprint.here(model, 0)
    folder.mkdir(exist_ok=True)
    shapes = {"clips": (1, 16, 3, 32, 32)}
    return build.store(PLAN, place(model, folder, here), replace(here, **changes), shapes)
