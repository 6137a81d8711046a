"""Engines on disk: built for one GPU, driver, library and model, and never loaded for another."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from engine_files import PLAN, context, store
from models import brightness_classifier
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))


from dfx.errors import DependencyError, DeviceError, MissingInputError, ModelError
from dfx.files import replace_file
from dfx.infer import ClassifierContract, build, gpu, nvinfer, open_session
from dfx.infer.engines import Engine, Fingerprint, engine_of, manifest_of
from dfx.infer.session import CPU, TENSORRT
from dfx.ops.cuda import Lane
from dfx.settings import MODELS

pytestmark = pytest.mark.usefixtures("machine")

OTHER = {
    "gpu": "Tesla T4",
    "compute_capability": "7.5",
    "driver": "535.1",
    "tensorrt": "10.9.0",
    "onnxruntime": "1.23.2",
    "source": "0" * 64,
}


# -- building ----------------------------------------------------------------------------------------------------------


def test_an_engine_carries_the_models_metadata_and_its_manifest(
    model: Path, tmp_path: Path, written: SimpleNamespace
) -> None:
    built = build.build(model, tmp_path / "engines", 0)
    assert re.fullmatch(r"mine-[0-9a-f]{8}\.nvidia-h100-80gb-hbm3\.onnx", built.path.name)
    file = onnx.load(str(built.path))
    assert [node.op_type for node in file.graph.node] == ["EPContext"]
    assert build.shapes_of(file, model) == {"clips": (1, 16, 3, 32, 32)}
    assert {item.key for item in file.metadata_props} == {item.key for item in onnx.load(str(model)).metadata_props}
    assert engine_of(model, tmp_path / "engines", 0) == built == Engine.read(built.path)
    assert sorted(path.name for path in built.path.parent.iterdir()) == [built.path.name, f"{built.path.name}.json"]
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_it_is_built_for_the_shapes_of_the_contract_and_in_no_other_precision(
    model: Path, tmp_path: Path, written: SimpleNamespace
) -> None:
    build.build(model, tmp_path, 0)
    name, options = written.told
    assert name == TENSORRT
    assert {options[f"trt_profile_{which}_shapes"] for which in ("min", "opt", "max")} == {"clips:1x16x3x32x32"}
    assert not [option for option in options if "fp16" in option or "int8" in option or "bf16" in option]
    assert onnx.load_model_from_string(written.content).graph.node[0].op_type == "Cast"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (context(nodes=2), r"took it in 2 parts \(EPContext, EPContext\)"),
        (context(embed_mode=0), "holds no engine"),
        (context(ep_cache_context=b""), "holds no engine"),
        (context(source="QNNExecutionProvider"), "holds no engine"),
    ],
)
def test_what_is_not_one_engine_is_refused_and_leaves_nothing(
    model: Path, tmp_path: Path, written: SimpleNamespace, file: onnx.ModelProto, message: str
) -> None:
    written.file = file
    with pytest.raises(ModelError, match=message):
        build.build(model, tmp_path / "engines", 0)
    assert list((tmp_path / "engines").iterdir()) == []


def test_a_node_beside_the_engine_is_refused(model: Path, tmp_path: Path, written: SimpleNamespace) -> None:
    written.file.graph.node.append(helper.make_node("Identity", ["clips"], ["other"]))
    with pytest.raises(ModelError, match=r"2 parts \(EPContext, Identity\)"):
        build.build(model, tmp_path, 0)


def test_a_model_without_a_contract_is_refused(tmp_path: Path, written: SimpleNamespace) -> None:
    onnx.save(context(), str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="dfx runs models for 'face-detector' or 'deepfake-clip'"):
        build.build(tmp_path / "m.onnx", tmp_path, 0)
    (tmp_path / "text.onnx").write_bytes(b"this is no model")
    with pytest.raises(ModelError, match="not an ONNX model"):
        build.load(tmp_path / "text.onnx")


def test_without_onnx_the_mend_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"tensorrt-cu13"):
        build.load(model)


# -- uint8 goes into a Cast --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classifier.onnx", "detector.onnx"])
def test_the_shipped_models_cast_first_and_give_the_same_to_the_bit(name: str) -> None:
    path = MODELS / name
    source = build.load(path)
    twin = build.cast_first(source, path)
    reads = [node.op_type for node in twin.graph.node if source.graph.input[0].name in node.input]
    assert reads == ["Cast"]
    onnx.checker.check_model(twin)
    ((key, shape),) = build.shapes_of(source, path).items()
    pixels = np.random.default_rng(0).integers(0, 256, (1, *shape[1:]), np.uint8)
    for ours, theirs in zip(_run(twin, {key: pixels}), _run(source, {key: pixels}), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return list(onnxruntime.InferenceSession(model.SerializeToString(), providers=[CPU]).run(None, inputs))


def moving(*ops: str) -> onnx.ModelProto:
    """uint8 [2, 3, 4] through operators without attributes, and a sum."""
    chain = ["x", *(f"v{n}" for n in range(len(ops))), "y"]
    nodes = [
        helper.make_node(
            op, chain[n : n + 1], chain[n + 1 : n + 2], **({"to": TensorProto.FLOAT} if op == "Cast" else {})
        )
        for n, op in enumerate([*ops, "ReduceSum"])
    ]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [2, 3, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "moving", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("ops", [["Cast"], ["Transpose", "Cast"], ["Transpose", "Flatten", "Cast"]])
def test_a_cast_moves_before_what_only_moves_values(ops: list[str]) -> None:
    source = moving(*ops)
    twin = build.cast_first(source, Path("m.onnx"))
    assert [node.op_type for node in twin.graph.node] == ["Cast", *ops[:-1], "ReduceSum"]
    pixels = {"x": np.arange(24, dtype=np.uint8).reshape(2, 3, 4)}
    np.testing.assert_array_equal(_run(twin, pixels)[0], _run(source, pixels)[0])
    assert [node.op_type for node in source.graph.node] == [*ops, "ReduceSum"], "the source is left alone"


def test_uint8_into_anything_else_is_refused() -> None:
    with pytest.raises(ModelError, match=r"its input 'x' goes into ReduceSum; TensorRT takes uint8 into one Cast"):
        build.cast_first(moving("Transpose"), Path("m.onnx"))
    both = moving("Cast")
    both.graph.node.append(helper.make_node("Identity", ["x"], ["z"]))
    with pytest.raises(ModelError, match="2 nodes read 'x'"):
        build.cast_first(both, Path("m.onnx"))


# -- fingerprints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [each.name for each in fields(Fingerprint)])
def test_an_engine_for_anything_else_is_refused_and_the_difference_named(
    model: Path, tmp_path: Path, name: str
) -> None:
    store(model, tmp_path, **{name: OTHER[name]})
    ours = str(asdict(Fingerprint.here(model, 0))[name])[:20]
    with pytest.raises(DeviceError, match=rf"was built for .*{OTHER[name][:20]}, here {ours}: run python export/build"):
        engine_of(model, tmp_path, 0)


def test_a_manifest_has_the_whole_fingerprint(model: Path, tmp_path: Path) -> None:
    engine = store(model, tmp_path)
    plain = json.loads(manifest_of(engine.path).read_text())
    assert plain["fingerprint"] == {
        "gpu": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "driver": "580.159.03",
        "tensorrt": "10.13.3",
        "onnxruntime": onnxruntime.__version__,
        "source": build.hashlib.sha256(model.read_bytes()).hexdigest(),
    }
    assert plain["profile"] == "clips:1x16x3x32x32"


def test_an_engine_that_was_changed_or_is_gone_is_refused(model: Path, tmp_path: Path) -> None:
    engine = store(model, tmp_path)
    engine.path.write_bytes(PLAN[::-1])
    with pytest.raises(DeviceError, match="is absent, or not the file that was built"):
        engine_of(model, tmp_path, 0)
    engine.path.unlink()
    with pytest.raises(DeviceError, match="is absent"):
        engine_of(model, tmp_path, 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": {"gpu": "x"}}', '{"fingerprint": 3}'])
def test_an_odd_manifest_is_refused(model: Path, tmp_path: Path, text: str) -> None:
    manifest_of(store(model, tmp_path).path).write_text(text)
    with pytest.raises(DeviceError, match=r"is no manifest of an engine .*: run python export/build_engines\.py again"):
        engine_of(model, tmp_path, 0)


def test_models_of_one_name_have_engines_of_their_own(model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = brightness_classifier(tmp_path / "other" / model.name, version="2")
    kept = store(model, tmp_path), store(other, tmp_path)
    assert (engine_of(model, tmp_path, 0), engine_of(other, tmp_path, 0)) == kept


def test_no_engine_and_no_model_are_told_apart(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"there is no mine-[0-9a-f]{8}\.nvidia-h100-80gb-hbm3\.onnx\.json: run python export"
    ):
        engine_of(model, tmp_path, 0)
    with pytest.raises(MissingInputError):
        engine_of(tmp_path / "nothing.onnx", tmp_path, 0)


def test_a_session_loads_no_engine_that_does_not_fit(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one whose shapes are others than the contract's."""
    opened = []

    class Opened:
        def __init__(self, path: Path, provider: Any, *rest: Any) -> None:
            opened.append((path, provider))
            self.metadata = {item.key: item.value for item in onnx.load(str(model)).metadata_props}

    monkeypatch.setattr(gpu, "CudaSession", Opened)
    monkeypatch.setattr(nvinfer, "load", lambda: None)
    engine = store(model, tmp_path, driver="535.1")
    with Lane(0) as lane:
        with pytest.raises(DeviceError, match=r"driver 535\.1, here 580"):
            open_session(model, ClassifierContract, lane=lane, engines=tmp_path)
        assert opened == []
        engine = store(model, tmp_path)
        open_session(model, ClassifierContract, lane=lane, engines=tmp_path)
        assert [(path, provider[0]) for path, provider in opened] == [(engine.path, TENSORRT)]
        replace(engine, profile="clips:1x8x3x32x32").write_manifest()
        with pytest.raises(DeviceError, match="takes clips:1x8x3x32x32, and dfx feeds clips:1x16x3x32x32"):
            open_session(model, ClassifierContract, lane=lane, engines=tmp_path)


def test_what_cannot_be_put_in_its_place_is_not_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(OSError, match="taken"):
        replace_file(tmp_path / "taken.onnx", b"engine")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.onnx"]
