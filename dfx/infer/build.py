"""Builds TensorRT engines through ONNX Runtime's provider: `python -m dfx.infer.build MODEL FOLDER GPU`.

export/build_engines.py is the command for people; this one lets a run build what it lacks in a process of its own.
Needs the package onnx, which dfx[tensorrt-cu12] and dfx[tensorrt-cu13] bring.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dfx.errors import DependencyError, DfxError, ModelError
from dfx.files import replace_file
from dfx.infer import libraries, nvinfer
from dfx.infer.contract import Shapes, contract_of
from dfx.infer.engines import Engine, Fingerprint, place
from dfx.infer.options import building_options, profile_of
from dfx.infer.session import TENSORRT, create, read_model

if TYPE_CHECKING:
    import onnx

UINT8 = 2  # onnx.TensorProto.UINT8
CASTS = "TensorRT takes uint8 into one Cast and nothing else: cast it first in the graph"
MOVES = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})  # they move values and change none


def build(model: Path, folder: Path, gpu: int) -> Engine:
    """Builds the engine of a model for the ordinal of a GPU, and its manifest, in a folder.

    Raises:
        ModelError: TensorRT would not run all of the model as one engine, or the file is no model of dfx.
        DeviceError: no TensorRT, or it fails to build. DependencyError: onnx or ONNX Runtime is missing.
        MissingInputError: no such model. OSError: the folder cannot be written.
    """
    here, source = Fingerprint.here(model, gpu), load(model)
    shapes = shapes_of(source, model)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as work:
        context = Path(work) / "context.onnx"
        _compile(cast_first(source, model).SerializeToString(), model, building_options(gpu, shapes, context))
        content = finished(load(context), source, model).SerializeToString()
    return store(content, place(model, folder, here), here, shapes)


def store(content: bytes, path: Path, here: Fingerprint, shapes: Shapes) -> Engine:
    """Writes an engine and then its manifest, which a reader would not believe of another file."""
    engine = Engine(path, here, profile_of(shapes), hashlib.sha256(content).hexdigest())
    replace_file(path, content)
    engine.write_manifest()
    return engine


def shapes_of(model: onnx.ModelProto, path: Path) -> Shapes:
    """The shapes that a GPU is to be fed, by the contract in the model's `metadata_props`; ModelError without one."""
    return contract_of({item.key: item.value for item in model.metadata_props}, str(path)).shapes


def load(path: Path) -> onnx.ModelProto:
    """The ONNX file at a path; raises ModelError, MissingInputError or DependencyError."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise DependencyError(f"building engines needs the package onnx ({error}): {nvinfer.EXTRA}") from error
    try:
        return onnx.load_model_from_string(read_model(path))
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX model ({error})") from error


def cast_first(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """A copy whose uint8 inputs go into a Cast at once, before what only moves values; the results are the same.

    TensorRT takes uint8 into a Cast and nothing else, "even just data-movement ops like reshape / transpose"
    (NVIDIA/TensorRT issue 3985). dfx's classifier reshapes first.

    Raises:
        ModelError: an input goes into something else.
    """
    twin = type(model)()
    twin.CopyFrom(model)
    for value in twin.graph.input:
        if value.type.tensor_type.elem_type == UINT8:
            _hoist(twin.graph, value.name, path)
    return twin


def _hoist(graph: onnx.GraphProto, name: str, path: Path) -> None:
    """Moves the Cast at the end of a chain of MOVES to its beginning, the graph's input `name`."""
    chain: list[onnx.NodeProto] = []
    node = _reader(graph, name, path)
    while node.op_type in MOVES:
        chain.append(node)
        node = _reader(graph, node.output[0], path)
    if node.op_type != "Cast":
        raise ModelError(f"{path.name}: its input {name!r} goes into {node.op_type}; {CASTS}")
    if not chain:
        return
    last, node.input[0], node.output[0] = node.output[0], name, f"{name}_cast"
    chain[0].input[0], chain[-1].output[0] = node.output[0], last
    order = [node, *(each for each in graph.node if each is not node)]
    moved = [type(node).FromString(each.SerializeToString()) for each in order]
    del graph.node[:], graph.value_info[:]  # types between them have changed; they are inferred anew
    graph.node.extend(moved)


def _reader(graph: onnx.GraphProto, name: str, path: Path) -> onnx.NodeProto:
    """The one node that reads a value; ModelError where there are several, or none."""
    readers: list[onnx.NodeProto] = [node for node in graph.node if name in node.input]
    if len(readers) != 1:
        raise ModelError(f"{path.name}: {len(readers)} nodes read {name!r}; {CASTS}")
    return readers[0]


def finished(written: onnx.ModelProto, source: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """What TensorRT's provider wrote, with the source's metadata put back, which it leaves out.

    Raises:
        ModelError: it is not one node EPContext of that provider with the engine inside.
    """
    nodes = list(written.graph.node)
    if [node.op_type for node in nodes] != ["EPContext"]:
        raise ModelError(
            f"{path.name}: TensorRT took it in {len(nodes)} parts ({', '.join(node.op_type for node in nodes[:5])}); "
            "one engine of the whole graph is needed: write it in operators that TensorRT has"
        )
    words = {each.name: each.i or each.s for each in nodes[0].attribute}
    foreign = words.get("source", TENSORRT.encode()) != TENSORRT.encode()  # which older versions do not write
    if foreign or words.get("embed_mode") != 1 or not words.get("ep_cache_context"):
        raise ModelError(f"{path.name}: the file that ONNX Runtime wrote holds no engine of TensorRT; report it")
    del written.metadata_props[:]
    written.metadata_props.extend(source.metadata_props)
    return written


def _compile(content: bytes, model: Path, options: dict[str, str]) -> None:
    """Has ONNX Runtime build the engine, which it writes when a session is made."""
    nvinfer.load()
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # TensorRT's builder allows TF32, and the provider has no option for it
    libraries.load("tensorrt")
    create(content, model, (TENSORRT, options))


def main(words: list[str]) -> Any:
    """Builds one engine; returns the error, in a line, or None."""
    model, folder, gpu = words
    try:
        build(Path(model), Path(folder), int(gpu))
    except (DfxError, OSError) as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
