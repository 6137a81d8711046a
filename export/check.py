"""Compares forms of one model in logits: torch, ONNX in FP32, FP16 and INT8, on each provider that is here.

Example:
    python export/check.py dfx/models/classifier.onnx classifier.fp16.onnx classifier.int8.onnx

The first file is the measure, on ONNX Runtime's CPU provider. Inputs are the faces or pictures of the clips that ship.
Tolerances are those of agreement.py. Exits with 1 where one is broken, or a provider that is here cannot run a file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
from agreement import TOLERANCES, Array, inputs, logits
from rich.console import Console
from rich.table import Table
from to_onnx import task_of

from dfx.demo import SAMPLES

PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider")
Run = Callable[[Array], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class Result:
    """One form on one provider. apart: largest difference in logits; mean: of all; milliseconds: median of a run."""

    form: str
    provider: str
    precision: str
    apart: float
    mean: float
    milliseconds: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the precision's tolerance; a NaN is not."""
        return self.apart <= TOLERANCES[self.precision]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="The .pt that the models come from.")
@click.option("--like", help="Published weights whose pixels a ResNet-50 RetinaFace of your own was trained on.")
@click.option("--videos", type=click.Path(path_type=Path, exists=True), default=SAMPLES, help="Clips to compare on.")
@click.option("--count", default=32, show_default=True, help="Inputs, at most.")
def main(models: tuple[Path, ...], checkpoint: Path | None, like: str | None, videos: Path, count: int) -> None:
    """Compare MODELS, ONNX files of one network, with the first of them.

    \b
    Example:
        python export/check.py dfx/models/classifier.onnx classifier.fp16.onnx classifier.int8.onnx
    """
    results = check(models, videos, count, checkpoint, like)
    show(results)
    sys.exit(not all(result.holds for result in results))


def check(
    models: Sequence[Path], videos: Path, count: int, checkpoint: Path | None = None, like: str | None = None
) -> list[Result]:
    """Every form of the model on every provider that this ONNX Runtime has, compared with the first on the CPU."""
    task = task_of(onnx.load(str(models[0])))
    examples = inputs(models[0], task, [videos], count)
    wanted = [logits(task, outputs) for outputs in map(runner(models[0], PROVIDERS[0]), examples)]
    forms = [(path.name, name, precision_of(path), runner(path, name)) for path in models for name in here()]
    if checkpoint is not None:
        forms.insert(0, (checkpoint.name, "torch", "fp32", torch_runner(checkpoint, like)))
    return [measure(form, name, kind, task, run, examples, wanted) for form, name, kind, run in forms]


def here() -> list[str]:
    """The providers of this ONNX Runtime that dfx knows."""
    return [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]


def precision_of(path: Path) -> str:
    """Told by the graph: INT8 where values are quantised, FP16 where constants or casts are."""
    graph = onnx.load(str(path)).graph
    if any(node.op_type == "QuantizeLinear" for node in graph.node):
        return "int8"
    half = any(constant.data_type == onnx.TensorProto.FLOAT16 for constant in graph.initializer)
    return "fp16" if half else "fp32"


def runner(path: Path, provider: str) -> Run:
    """Runs the file on one provider and one thread, as dfx does; that it falls back to the CPU is an error."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if provider != PROVIDERS[0]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"{path}: {provider} could not be loaded; dfx doctor says what is missing")
    name = session.get_inputs()[0].name
    return lambda array: list(session.run(None, {name: array}))


def torch_runner(checkpoint: Path, like: str | None) -> Run:
    """Runs a checkpoint in torch."""
    import torch
    from checkpoints import net_of

    net = net_of(checkpoint, like)

    def run(array: Array) -> Sequence[Array]:
        with torch.no_grad():
            found = net(torch.from_numpy(array))
        return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

    return run


def measure(
    form: str, provider: str, precision: str, task: str, run: Run, examples: Sequence[Array], wanted: Sequence[Array]
) -> Result:
    """Runs a form on the examples and takes the differences and the time."""
    run(examples[0])
    apart, seconds = [], []
    for example, right in zip(examples, wanted, strict=True):
        start = time.perf_counter()
        outputs = run(example)
        seconds.append(time.perf_counter() - start)
        apart.append(np.abs(logits(task, outputs) - right).ravel())
    every = np.concatenate(apart)
    return Result(form, provider, precision, float(every.max()), float(every.mean()), 1e3 * float(np.median(seconds)))


def show(results: Sequence[Result]) -> None:
    """A table of all."""
    table = Table("model", "on", "precision", "largest difference", "mean", "allowed", "ms", "holds")
    for one in results:
        allowed, holds = f"{TOLERANCES[one.precision]:g}", "yes" if one.holds else "NO"
        where = one.provider.removesuffix("ExecutionProvider")
        numbers = f"{one.apart:.2g}", f"{one.mean:.2g}", allowed, f"{one.milliseconds:.1f}"
        table.add_row(one.form, where, one.precision, *numbers, holds)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
