"""Writes the detector's ONNX file: batch normalisation folded, probabilities out, the contract inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from dfx.cli.one_line import OneLine
from dfx.torch.contract import export
from dfx.torch.retinaface import MIN_SIZES, STRIDES, VARIANCES, VOTES, RetinaFace
from dfx.torch.retinaface_resnet50 import RetinaFaceResNet50
from dfx.torch.weights import read_weights

WRITER = "dfx.torch.train_detector"
CONTRACT = {
    "task": "face-detector",
    "name": "dfx-retinaface-mobilenet025",
    "licence": "research use only; see dfx/models/LICENSE",
    "training_data": "Face Mask Detection (CC0), WIDER FACE, LFW, frames of research videos; see DETECTOR_CARD.md",
    "strides": STRIDES,
    "min_sizes": MIN_SIZES,
    "variances": VARIANCES,
    "long_side": 640,
    "score_votes": VOTES,
}


class Probabilities(nn.Module):
    """The network with a sigmoid behind its scores."""

    def __init__(self, net: RetinaFace | RetinaFaceResNet50) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 [N, 3, H, W] -> scores [N, A], boxes [N, A, 4], landmarks [N, A, 10]."""
        logits, boxes, marks = self.net(images)
        return logits.sigmoid(), boxes, marks


@click.command(cls=OneLine)
@click.argument("weights", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), default="dfx/models/detector.onnx", show_default=True)
@click.option("--threshold", default=0.5, show_default=True, help="Score from which on a face counts.")
@click.option("--model-version", default="1", show_default=True)
def main(weights: tuple[Path, ...], out: Path, threshold: float, model_version: str) -> None:
    """Export the mean of WEIGHTS (one file or more, as train_detector writes them).

    \b
    Example:
        python -m dfx.torch.export_detector runs/detector/detector.pt
    """
    net = RetinaFace()
    states = [read_weights(path, WRITER, *RetinaFace().state_dict()) for path in weights]
    mean = {key: torch.stack([state[key].double() for state in states]).mean(dim=0) for key in states[0]}
    net.load_state_dict({key: value.to(states[0][key].dtype) for key, value in mean.items()})
    export_detector(net, out, threshold, model_version)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def export_detector(
    net: RetinaFace | RetinaFaceResNet50,
    out: Path,
    threshold: float = 0.5,
    version: str = "1",
    about: Mapping[str, str] | None = None,
) -> None:
    """Writes `out`, after comparing it with torch on several sizes and counts of pictures.

    about: what the contract says instead of the shipped model's name, licence and training data.

    Raises:
        RuntimeError: ONNX Runtime and torch differ by more than `dfx.torch.contract.AGREEMENT`.
    """
    shapes = [(2, 3, 96, 160), (1, 3, 384, 640), (3, 3, 64, 64)]
    examples = [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes]
    contract = CONTRACT | dict(about or {}) | {"version": version, "score_threshold": threshold}
    export(Probabilities(net), out, examples, [0, 2, 3], contract)


if __name__ == "__main__":
    main()
