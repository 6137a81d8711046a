"""Writes a checkpoint of dfx's networks, or an FP32 ONNX file of its contract, as ONNX in a chosen precision.

Examples:
    python export/to_onnx.py runs/classifier/classifier.pt --out classifier.onnx
    python export/to_onnx.py facexlib --out detector.resnet50.onnx
    python export/to_onnx.py dfx/models/classifier.onnx --precision fp16 --out classifier.fp16.onnx
    python export/to_onnx.py dfx/models/detector.onnx --precision int8 --calibrate videos --out detector.int8.onnx

The precision is in the file, so that every provider runs the same typed graph: FP16 by casts, with the nodes whose
values leave its range kept in FP32 by name; INT8 by QDQ pairs, a scale a channel, with as many first
layers kept in FP32, by name, as it takes. Inputs stay uint8; they are normalised, and texture is measured, in FP32.

Needs `pip install ".[cpu,export]"`.
"""

from __future__ import annotations

import dfx  # noqa: F401  before ONNX Runtime, whose telemetry it turns off

# isort: split
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
from agreement import TOLERANCES, Array, inputs, logits
from one_line import ONNX, OneLine
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from dfx.demo import SAMPLES
from dfx.errors import ModelError
from dfx.files import write_bytes
from dfx.infer.build import load
from dfx.infer.session import OnnxSession, create, list_hash
from dfx.outputs import check_output

LARGEST = 65504 / 2  # a tensor that comes nearer to FP16's end than by a factor of two stays in FP32
QUANTISED = ["Conv", "Gemm", "MatMul"]
PREPARING = {"Gather", "Slice", "Cast", "Transpose", "MatMul", "Unsqueeze", "Concat", "Reshape", "Sub", "Div", "Mul"}


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="ONNX file to write.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True)
@click.option("--calibrate", type=click.Path(path_type=Path), default=SAMPLES, help="Videos for ranges; the samples.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Inputs that ranges are taken from, at most.",
)
@click.option("--keep", multiple=True, help="Name of a node to keep in FP32; may be given many times.")
@click.option("--model-version", default="1", show_default=True, help="What the contract of a checkpoint's file says.")
@click.option("--like", help="Published weights whose pixels a ResNet-50 RetinaFace of your own was trained on.")
def main(
    source: str,
    out: Path,
    precision: str,
    calibrate: Path,
    count: int,
    keep: tuple[str, ...],
    model_version: str,
    like: str | None,
) -> None:
    """Write SOURCE as ONNX with dfx's contract: a checkpoint (.pt), an FP32 ONNX file, or the name of published weights
    of a ResNet-50 RetinaFace (facexlib or retinaface-pytorch), which are downloaded and checked.

    \b
    Example:
        python export/to_onnx.py dfx/models/classifier.onnx --precision fp16 --out classifier.fp16.onnx
        python export/to_onnx.py facexlib --out detector.resnet50.onnx
    """
    check_output(out, ONNX, [source, calibrate])
    with tempfile.TemporaryDirectory() as work:
        plain = in_fp32(source, Path(work), model_version, like)
        model = loaded(plain)
        if precision != "fp32":
            examples = inputs(plain, task_of(model), [calibrate], count)
            model, kept = (to_fp16 if precision == "fp16" else to_int8)(model, examples, keep)
            click.echo(f"kept in FP32: {', '.join(kept)}")
    write_bytes(out, model.SerializeToString())
    list_hash(out)
    click.echo(f"{out}: {precision}, {out.stat().st_size / 1e6:.2f} MB")


def in_fp32(source: str, work: Path, version: str, like: str | None) -> Path:
    """The ONNX file itself, or what a checkpoint or published weights give, written to `work`.

    Raises:
        OSError, RuntimeError, ValueError: as `checkpoints.find` and `checkpoints.net_of`.
    """
    if source.endswith(".onnx"):
        return Path(source)
    import checkpoints  # torch is needed for a checkpoint only

    out = work / "fp32.onnx"
    checkpoints.to_fp32(checkpoints.find(source), out, version, like)
    return out


def loaded(path: Path) -> onnx.ModelProto:
    """The model of an ONNX file in FP32 that ONNX Runtime loads, with a task of dfx's.

    Raises:
        ModelError, MissingInputError: there is no such file, or it is another. ValueError: as `task_of`.
    """
    model = load(path)
    task_of(model)
    if (found := precision_of(model)) != "fp32":
        raise ModelError(f"{path} is in {found}; a file in fp32 is needed: name the one that it was made of")
    create(model.SerializeToString(), path, OnnxSession.provider)
    return model


def precision_of(model: onnx.ModelProto) -> str:
    """Told by the graph: INT8 where values are quantised, FP16 where constants or casts are."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    half = any(constant.data_type == onnx.TensorProto.FLOAT16 for constant in model.graph.initializer)
    return "fp16" if half else "fp32"


def task_of(model: onnx.ModelProto) -> str:
    """The task that the file's contract names; ValueError where there is none."""
    for item in model.metadata_props:
        if item.key == "dfx.task":
            return str(item.value)
    raise ValueError("no key 'dfx.task' in its metadata_props: README, 'Your own model', lists the keys")


def to_fp16(
    model: onnx.ModelProto, examples: Sequence[Array], keep: Sequence[str] = ()
) -> tuple[onnx.ModelProto, list[str]]:
    """The model in FP16 and the names of the nodes that stay in FP32: what normalises and what measures texture, what
    overflows, and `keep`.

    A node whose input, output or constant leaves FP16's range on an example would give infinities, and NaN soon after.

    Raises:
        ValueError: a name in `keep` that no node has.
    """
    known = {node.name for node in model.graph.node}
    if unknown := set(keep) - known:
        raise ValueError(f"no node is called {', '.join(sorted(unknown))}; the graph has {', '.join(sorted(known))}")
    kept = sorted({*keep, *preparation(model), *measuring(model), *overflowing(model, examples)})
    half = convert_float_to_float16(_copy(model), keep_io_types=True, node_block_list=kept)
    _join(half)
    return _with_metadata(half, model), kept


def overflowing(model: onnx.ModelProto, examples: Sequence[Array]) -> list[str]:
    """The nodes that touch a value beyond LARGEST, looked for in all tensors of the FP32 model."""
    peaks = _peaks(model, examples)
    peaks |= {x.name: _peak(onnx.numpy_helper.to_array(x)) for x in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if any(peaks.get(name, 0.0) > LARGEST for name in (*node.input, *node.output))
    ]


def _peaks(model: onnx.ModelProto, examples: Sequence[Array]) -> dict[str, float]:
    """The largest magnitude of every tensor between two nodes, over all examples."""
    seen = _copy(model)
    there = {output.name for output in seen.graph.output}
    names = [name for node in seen.graph.node for name in node.output if name and name not in there]
    seen.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    name, order = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    peaks = dict.fromkeys(order, 0.0)
    for example in examples:
        for key, value in zip(order, session.run(None, {name: example}), strict=True):
            peaks[key] = max(peaks[key], _peak(value))
    return peaks


def _peak(values: Array) -> float:
    return float(np.abs(values).max()) if values.dtype == np.float32 and values.size else 0.0


def preparation(model: onnx.ModelProto) -> list[str]:
    """The nodes between the input and the first layer with weights: how pictures are cut out, scaled and normalised.

    A product of matrices scales a picture that is not normalised yet; of one that is, it is a layer.
    """
    normalised, names = {model.graph.input[0].name: False}, []
    for node in model.graph.node:
        done = [normalised[name] for name in node.input if name in normalised]
        if done and node.op_type in PREPARING and not (any(done) and node.op_type == "MatMul"):
            normalised |= dict.fromkeys(node.output, any(done) or node.op_type in {"Sub", "Div", "Mul"})
            names.append(node.name)
    return names


def measuring(model: onnx.ModelProto) -> list[str]:
    """The nodes that measure texture (`dfx.torch.texture`), down to the logit that it corrects.

    They are as good as free, and the energy of details of a grey level or two is lost in eight bits.
    """
    reached = {constant.name for constant in model.graph.initializer if constant.name.startswith("texture.")}
    names = []
    for node in model.graph.node:
        if reached & set(node.input):
            reached |= set(node.output)
            names.append(node.name)
    return names


def _join(model: onnx.ModelProto) -> None:
    """Leaves out the way to FP16 and back between two nodes in FP32: an overflow would be lost on it."""
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    for node in casts.values():
        before = casts.get(node.input[0])
        if before and _to(node) == onnx.TensorProto.FLOAT and _to(before) == onnx.TensorProto.FLOAT16:
            _rewire(model, node.output[0], before.input[0])
    tidy = OnnxModel(model)
    tidy.prune_graph()
    tidy.topological_sort()  # the converter puts its casts at the end


def _to(node: onnx.NodeProto) -> int:
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "to"))


def _rewire(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands the examples to ONNX Runtime's calibration, one by one."""

    def __init__(self, name: str, examples: Sequence[Array]) -> None:
        self._left = iter([{name: example} for example in examples])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


def to_int8(
    model: onnx.ModelProto, examples: Sequence[Array], keep: Sequence[str] = ()
) -> tuple[onnx.ModelProto, list[str]]:
    """The model with its layers in INT8, a scale a channel, and the names of the nodes kept in FP32.

    The first layers carry the faintest traces. None of them, one, two, four and so on stay in FP32, until the logits of
    the examples are within half of what INT8 may change.

    Raises:
        ValueError: they are not, with more than half of the layers in FP32.
    """
    layers = _layers(model)
    plain = _logits(model, examples)
    for first in (0, *(2**power for power in range((len(layers) - 1).bit_length()))):
        kept = sorted({*keep, *preparation(model), *measuring(model), *chain.from_iterable(layers[:first])})
        quantised = _in_int8(model, examples, kept)
        apart = max(map(_apart, _logits(quantised, examples), plain))
        if apart <= TOLERANCES["int8"] / 2:
            return quantised, kept
    raise ValueError(f"INT8 changes a logit by {apart:.2f} even with {first} of {len(layers)} layers in FP32: use fp16")


def _layers(model: onnx.ModelProto) -> list[list[str]]:
    """The nodes that can be quantised, in order; those that share their weights are one layer, seen several times."""
    weights, layers = {tensor.name for tensor in model.graph.initializer}, defaultdict[str, list[str]](list)
    for node in model.graph.node:
        if node.op_type in QUANTISED:
            layers[next((name for name in node.input if name in weights), node.name)].append(node.name)
    return list(layers.values())


def _apart(some: Array, others: Array) -> float:
    return float(np.abs(some - others).max())


def _logits(model: onnx.ModelProto, examples: Sequence[Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    task, name = task_of(model), model.graph.input[0].name
    return [logits(task, session.run(None, {name: example})) for example in examples]


def _in_int8(model: onnx.ModelProto, examples: Sequence[Array], kept: Sequence[str]) -> onnx.ModelProto:
    """Ranges are symmetric and signed, which TensorRT asks for, and those of weights have seven bits: of eight, two
    products overflow the sums of ONNX Runtime on a CPU without VNNI, and a logit was 1.2 off."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "int8.onnx"
        quantize_static(
            _copy(model),
            str(out),
            _Reader(model.graph.input[0].name, examples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=list(kept),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )
        return _with_metadata(onnx.load(str(out)), model)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin


def _with_metadata(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    del model.metadata_props[:]
    model.metadata_props.extend(source.metadata_props)
    return model


if __name__ == "__main__":
    main()
