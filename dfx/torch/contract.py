"""Export to ONNX with the contract of `dfx.infer.contract` in the file's metadata, checked against torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from dfx.files import write_bytes
from dfx.infer.contract import COLOUR, VERSION, contract_of
from dfx.infer.session import list_hash

AGREEMENT = 2e-4
"""Largest difference allowed between torch and ONNX Runtime, in logits and deltas, for values up to one; relative to
the largest value beyond (FP32 sums reordered)."""


def export(
    net: nn.Module,
    path: Path,
    examples: Sequence[Tensor],
    dynamic: Collection[int],
    contract: Mapping[str, Any],
) -> None:
    """Compares a network with its ONNX form on every example, and writes that, whole or not at all.

    examples: inputs uint8, of several sizes; dynamic: axes of the input that may have any size;
    contract: the `dfx.*` keys without their prefix; what is no text is stored as JSON.

    Raises, and leaves what stands at the path:
        ModelError: the contract is one that dfx would not read. OutputError: the file cannot be written.
        RuntimeError: ONNX Runtime and torch differ by more than AGREEMENT.
    """
    metadata = metadata_of(contract, path)
    content = _converted(net.eval(), examples[0], dynamic, metadata)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for example in examples:
        _compare(net, session, example, path.name)
    write_bytes(path, content)
    list_hash(path)


def _converted(net: nn.Module, example: Tensor, dynamic: Collection[int], metadata: Mapping[str, str]) -> bytes:
    """The network as an ONNX file, with the names of inputs and outputs that the contract has."""
    contract = contract_of(metadata, "the network")
    program = torch.onnx.export(
        net,
        (example,),
        input_names=contract.inputs,
        output_names=contract.outputs,
        dynamic_shapes=(dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC),),
        opset_version=18,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    assert program is not None, "the exporter by torch.export gives one"
    model = program.model_proto
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    _fix_shapes(model)
    _forget_paths(model)
    return bytes(model.SerializeToString())


def metadata_of(contract: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The `dfx.*` keys as a file holds them; raises ModelError where dfx could not read them."""
    text = {f"dfx.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in contract.items()}
    metadata = {"dfx.contract": VERSION, "dfx.colour": COLOUR, **text}
    contract_of(metadata, str(path))
    return metadata


def _fix_shapes(model: onnx.ModelProto) -> None:
    """Reshapes by constants: the first axis is kept, one more is worked out. What computed the sizes goes.

    A GPU's provider would run those sums of sizes on the CPU, in the middle of the network.
    """
    graph = model.graph
    constant = {tensor.name for tensor in graph.initializer}
    shapes = {value.name: _dims(value) for value in [*graph.value_info, *graph.output]}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] not in constant and 0 in shapes[node.output[0]][:1]:
            dims = np.array([0, *(size or -1 for size in shapes[node.output[0]][1:])], np.int64)
            graph.initializer.append(onnx.numpy_helper.from_array(dims, f"{node.output[0]}_shape"))
            node.input[1] = f"{node.output[0]}_shape"
            del node.attribute[:]  # without `allowzero` a 0 keeps the axis
    _prune(graph)


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    """Sizes of the axes; 0 where they are known by name only."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _prune(graph: onnx.GraphProto) -> None:
    """Drops the nodes and constants that no output depends on."""
    needed = {output.name for output in graph.output}
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
    for items in (graph.node, graph.initializer, graph.value_info):
        kept = [item for item in items if needed & set(getattr(item, "output", [item.name]))]
        del items[:]
        items.extend(kept)


def _forget_paths(model: onnx.ModelProto) -> None:
    """Stack traces of the exporting machine say nothing to a user and name its folders."""
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


@torch.no_grad()
def _compare(net: nn.Module, session: onnxruntime.InferenceSession, example: Tensor, name: str) -> None:
    theirs = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    ours = net(example)
    for mine, other in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
        worst = float(np.abs(mine.numpy() - other).max() / max(1.0, mine.abs().max()))
        if not worst <= AGREEMENT:
            raise RuntimeError(f"{name}: ONNX Runtime differs from torch by {worst:.2g}; {AGREEMENT:.0e} is allowed")
