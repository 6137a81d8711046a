"""Makes a classifier for dfx of any torch network that judges single pictures of faces.

Example:
    python export/from_frames.py dfdc_winner:network --weights final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36 \
        --size 380 --margin 0.333 --licence MIT --training-data "DFDC training set" --out winner.onnx

NETWORK is MODULE:FUNCTION, found beside this script, in the working folder or among the installed packages. The
function takes nothing and returns an `nn.Module` that takes normalised RGB pictures, float [N, 3, S, S], and returns a
logit each, [N] or [N, 1], or the logits of two classes, [N, 2]. A clip's logit is the mean of its frames'. Needs
`pip install ".[cpu,export]"`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from checkpoints import unpickled
from face_box import template
from one_line import ONNX, OneLine
from torch import Tensor, nn

from dfx.arguments import finite
from dfx.errors import DependencyError, InputError
from dfx.infer.contract import TEMPLATE
from dfx.origin import install
from dfx.outputs import check_output
from dfx.torch.contract import export, metadata_of

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of R, G, B in 0..1
FUNCTION = "give MODULE:FUNCTION, a function without arguments"
SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [  # what checkpoints hold beside tensors: a best loss that NumPy computed, 1 or 2
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
]


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("network")
@click.option("--weights", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="ONNX file to write.")
@click.option("--size", type=click.IntRange(min=1), required=True, help="Side S of the pictures, pixels.")
@click.option("--margin", default=0.3, show_default=True, help="What a crop shows beyond the face's box, each side.")
@click.option("--template", "points", help="Five [x, y] as JSON, instead of those that --margin gives.")
@click.option("--mean", type=(float, float, float), default=IMAGENET[0], show_default=True, help="Of R, G, B in 0..1.")
@click.option("--std", type=(float, float, float), default=IMAGENET[1], show_default=True)
@click.option("--fake", type=click.IntRange(0, 1), default=1, show_default=True, help="The class that means fake.")
@click.option("--frames", type=click.IntRange(min=1), default=1, show_default=True, help="Frames of a clip.")
@click.option("--stride", type=click.IntRange(min=1), default=1, show_default=True, help="From one to the next.")
@click.option("--calibration", type=(float, float), default=(1.0, 0.0), show_default=True, help="Scale and bias.")
@click.option("--licence", default="unknown", show_default=True)
@click.option("--training-data", default="unknown", show_default=True)
@click.option("--model-version", "version", default="1", show_default=True)
def main(
    network: str,
    weights: Path,
    out: Path,
    size: int,
    margin: float,
    points: str | None,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    fake: int,
    frames: int,
    stride: int,
    calibration: tuple[float, float],
    **about: str,
) -> None:
    """Write NETWORK, a function MODULE:FUNCTION, with its weights as an ONNX file with dfx's contract.

    \b
    Example:
        python export/from_frames.py dfdc_winner:network \\
            --weights final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36 \\
            --size 380 --margin 0.333 --licence MIT --training-data "DFDC training set" --out winner.onnx
    """
    check_output(out, ONNX, [weights])
    check_numbers(mean, std, calibration)
    contract = {
        "task": "deepfake-clip",
        "name": out.stem,
        **about,
        "clip_length": frames,
        "clip_stride": stride,
        "crop_size": size,
        "crop_template": points_of(points) if points is not None else template(wider(margin)),
        "calibration": dict(zip(("scale", "bias"), calibration, strict=True)),
    }
    metadata_of(contract, out)  # says what is wrong before any work
    examples = [torch.randint(0, 256, (count, frames, 3, size, size), dtype=torch.uint8) for count in (2, 1, 3)]
    net = build(network)
    net.load_state_dict(read(weights))
    clips = Clips(net, mean, std, fake).eval()
    clips(examples[0])  # says what is wrong before the exporter does
    export(clips, out, examples, [0], contract)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def check_numbers(mean: Sequence[float], std: Sequence[float], calibration: Sequence[float]) -> None:
    """Raises InputError for numbers with which every score would be the same, or none."""
    for value in mean:
        finite("--mean", value, "a finite number each for R, G and B", lambda _: True, shown=mean)
    for value in std:
        finite("--std", value, "a finite number above 0 each for R, G and B", lambda value: value > 0, shown=std)
    scale, bias = calibration
    finite("--calibration", scale, "a finite scale other than 0", lambda value: value != 0, shown=calibration)
    finite("--calibration", bias, "a finite bias", lambda _: True, shown=calibration)


def wider(margin: float) -> float:
    """The margin; raises InputError where it leaves nothing of the box."""
    return finite("--margin", margin, "a finite number above -0.5", lambda value: value > -0.5)


def points_of(text: str) -> Any:
    """The points of a template, as JSON; raises InputError where it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"--template is {text!r}; {TEMPLATE} as JSON is needed") from error


class Clips(nn.Module):
    """A network for pictures as one for clips: normalisation before it, the mean over frames behind it.

    mean, std: of R, G, B in 0..1. fake: the class that means fake, of two logits; 0 turns a single logit's sign.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float], fake: int = 1
    ) -> None:
        super().__init__()
        self.net, self.fake = net, fake
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 [N, T, 3, S, S] -> logits float32 [N], positive for fake.

        Raises:
            ValueError: the network returns other shapes than those of one or two classes.
        """
        frames, *shape = clips.shape[1:]
        found: Tensor = self.net((clips.reshape(-1, *shape).float() - self.mean) / self.std)
        if not isinstance(found, Tensor):
            raise ValueError(f"the network returns a {type(found).__name__}; a tensor of logits is needed")
        if found.dim() not in (1, 2) or (found.dim() == 2 and found.shape[1] > 2):
            raise ValueError(f"the network returns {list(found.shape)}; [N], [N, 1] or [N, 2] is needed")
        single = found.dim() == 1 or found.shape[1] == 1
        logits = found if single else found[:, 1] - found[:, 0]
        return (logits if self.fake else -logits).reshape(-1, frames).mean(dim=1)


def build(network: str) -> nn.Module:
    """What the function MODULE:FUNCTION returns.

    Raises:
        ValueError: no such module or function, or it returns something else. DependencyError: a package is missing.
    """
    sys.path.append(str(Path.cwd()))
    module, _, name = network.partition(":")
    try:
        net = function_of(module, name)()
    except ImportError as error:
        if f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{network}: {error}; {FUNCTION}") from error
        raise DependencyError(f"{network}: {error}; install what it needs (timm: {install('timm')})") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"{network} returned a {type(net).__name__}; an nn.Module is needed")
    return net


def function_of(module: str, name: str) -> Callable[[], Any]:
    """A function that takes nothing; raises ValueError or ImportError where there is none."""
    if not module:
        raise ValueError(f"the network's module is ''; {FUNCTION}")
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module), name)
        inspect.signature(function).bind()
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{module}:{name}: {error}; {FUNCTION}") from error
    return function


def read(weights: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, in FP32: of its `state_dict`, if it has one, without DataParallel's prefix."""
    with torch.serialization.safe_globals(HARMLESS):
        state = unpickled(weights, weights)
    tensors = state.get("state_dict", state)
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{weights} holds {sorted(state)[:3]}; tensors by name, or a state_dict of them, are needed")
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
    }


if __name__ == "__main__":
    main()
