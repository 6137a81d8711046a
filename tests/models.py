"""Small ONNX models made by the tests, with or without a contract."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TEMPLATE = [[0.35, 0.4], [0.65, 0.4], [0.5, 0.6], [0.38, 0.75], [0.62, 0.75]]
CONTRACT = {
    "dfx.contract": "1",
    "dfx.task": "deepfake-clip",
    "dfx.name": "brightness",
    "dfx.version": "1",
    "dfx.licence": "none",
    "dfx.training_data": "none",
    "dfx.colour": "RGB BT.601",
    "dfx.clip_length": "16",
    "dfx.clip_stride": "1",
    "dfx.crop_size": "32",
    "dfx.crop_template": json.dumps(TEMPLATE),
    "dfx.calibration": json.dumps({"scale": 1.0, "bias": 0.0}),
}


def brightness_classifier(path: Path, kind: int = TensorProto.FLOAT, **changes: str | None) -> Path:
    """A classifier whose logit, of some kind, is the clip's mean brightness; `changes` replace contract keys (None
    drops one)."""
    axes = numpy_helper.from_array(np.array([1, 2, 3, 4], np.int64), "axes")
    nodes = [
        helper.make_node("Cast", ["clips"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mean"], ["logits"], to=kind),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("clips", TensorProto.UINT8, ["n", "t", 3, "s", "s"])],
        [helper.make_tensor_value_info("logits", kind, ["n"])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    contract = CONTRACT | {f"dfx.{key}": value for key, value in changes.items()}
    helper.set_model_props(model, {key: value for key, value in contract.items() if value is not None})
    onnx.save(model, str(path))
    return path
