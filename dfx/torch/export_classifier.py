"""Writes the classifier's ONNX file, the contract and the calibration inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from dfx.cli.one_line import OneLine
from dfx.infer.contract import Calibration
from dfx.torch.clipnet import ClipNet
from dfx.torch.contract import export
from dfx.torch.steady import classifier_of
from dfx.torch.views import ViewedNet
from dfx.torch.weights import read_weights

CONTRACT = {
    "task": "deepfake-clip",
    "name": "dfx-clipnet",
    "licence": "research use only; see dfx/models/LICENSE",
    "training_data": "face crops of the DFDC training set, LFW, 150 labelled research videos; see CLASSIFIER_CARD.md",
}


@click.command(cls=OneLine)
@click.argument("weights", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), default="dfx/models/classifier.onnx", show_default=True)
@click.option("--model-version", default="1", show_default=True)
def main(weights: Path, out: Path, model_version: str) -> None:
    """Export WEIGHTS, the classifier.pt that train_classifier writes.

    \b
    Example:
        python -m dfx.torch.export_classifier runs/classifier/classifier.pt
    """
    state = read_weights(weights, "dfx.torch.train_classifier", "net", "scale", "bias")
    export_classifier(classifier_of(state), out, calibration_of(state), model_version)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def calibration_of(state: Mapping[str, Any]) -> Calibration:
    """That of a classifier.pt."""
    return Calibration(state["scale"], state["bias"], state.get("doubt", 0.0))


def export_classifier(
    net: ClipNet | ViewedNet,
    out: Path,
    calibration: Calibration,
    version: str = "1",
    about: Mapping[str, str] | None = None,
) -> None:
    """Writes `out`, after comparing it with torch on one, two and three clips.

    about: what the contract says instead of the shipped model's name, licence and training data.

    Raises:
        RuntimeError: ONNX Runtime and torch differ by more than `dfx.torch.contract.AGREEMENT`.
    """
    shape = (net.cut.length, 3, net.cut.size, net.cut.size)
    examples = [torch.randint(0, 256, (count, *shape), dtype=torch.uint8) for count in (2, 1, 3)]
    known = {"version": version, "calibration": asdict(calibration)}
    contract = CONTRACT | net.cut.contract | dict(about or {}) | known
    export(net, out, examples, [0], contract)


if __name__ == "__main__":
    main()
