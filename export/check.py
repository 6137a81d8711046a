"""Compares forms of one model in logits: torch, ONNX in FP32, FP16 and INT8, on each provider that is here.

Example:
    python export/check.py dfx/models/classifier.onnx classifier.fp16.onnx classifier.int8.onnx

The first file is the measure, on ONNX Runtime's CPU provider. Inputs are the faces or pictures of the clips that ship.
Tolerances are those of agreement.py. Exits with 1 where one is broken, and with 2 where a file cannot be read or a
provider that is here cannot run it.
"""

from __future__ import annotations

import dfx  # noqa: F401  before ONNX Runtime, whose telemetry it turns off

# isort: split
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnxruntime
import to_onnx
from agreement import TOLERANCES, Array, inputs, logits
from one_line import OneLine
from rich.console import Console
from rich.table import Table

from dfx.demo import SAMPLES
from dfx.errors import InputError, ModelError
from dfx.infer.build import load
from dfx.infer.session import create, read_model

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


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("models", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="The .pt that the models come from.")
@click.option("--like", help="Published weights whose pixels a ResNet-50 RetinaFace of your own was trained on.")
@click.option("--videos", type=click.Path(path_type=Path, exists=True), default=SAMPLES, help="Clips to compare on.")
@click.option("--count", type=click.IntRange(min=1), default=32, show_default=True, help="Inputs, at most.")
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
    kinds = {path: precision_of(path) for path in models}
    task = common_task(models)
    examples = inputs(models[0], task, [videos], count)
    wanted = [logits(task, outputs) for outputs in map(runner(models[0], PROVIDERS[0]), examples)]
    forms = [(path.name, name, kinds[path], runner(path, name)) for path in models for name in here()]
    if checkpoint is not None:
        forms.insert(0, (checkpoint.name, "torch", "fp32", torch_runner(checkpoint, like)))
    return [measure(form, name, kind, task, run, examples, wanted) for form, name, kind, run in forms]


def here() -> list[str]:
    """The providers of this ONNX Runtime that dfx knows."""
    return [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]


def precision_of(path: Path) -> str:
    """That of an ONNX file; raises ModelError where it is none."""
    return to_onnx.precision_of(load(path))


def common_task(models: Sequence[Path]) -> str:
    """The task of all of them; raises InputError where they differ."""
    tasks = {path: to_onnx.task_of(load(path)) for path in models}
    first = tasks[models[0]]
    for path, task in tasks.items():
        if task != first:
            raise InputError(f"{path} is for {task}, {models[0]} for {first}; files of one network are needed")
    return first


def runner(path: Path, provider: str) -> Run:
    """Runs the file on one provider and one thread, as dfx does; that it falls back to the CPU is an error."""
    session = create(read_model(path), path, (provider, {}))
    name = session.get_inputs()[0].name

    def run(array: Array) -> Sequence[Array]:
        try:
            return list(session.run(None, {name: array}))
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise ModelError(f"{path}: {provider} cannot run it on {array.dtype} {array.shape}: {error}") from error

    return run


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
