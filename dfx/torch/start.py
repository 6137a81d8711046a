"""What a training begins with: the weights of a file of dfx, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper

from dfx.errors import MissingInputError, ModelError
from dfx.torch.clipnet import DESIGNS, TIGHT, ClipNet, FrameNet, design_of


def begin(start: Path | None, design: str) -> ClipNet:
    """A network with the weights of an ONNX file that dfx wrote, of a classifier.pt or backbone.pt, or from nothing.

    Raises:
        MissingInputError: no such file. ModelError: it holds no such network.
    """
    if start is None:
        return ClipNet(DESIGNS[design])
    if not start.is_file():
        raise MissingInputError(f"no file at {start}: name a .onnx that dfx wrote, a classifier.pt or a backbone.pt")
    try:
        state = _weights(start)
        net = ClipNet.from_frames(FrameNet.load(start)) if "head.weight" in state else _clip_net(state)
    except (ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise ModelError(f"{start}: not the weights of a network of dfx ({error})") from error
    if net.cut != TIGHT:
        raise ModelError(f"{start}: made for crops of {net.cut.size} pixels; training here cuts those of {TIGHT.size}")
    return net


def _clip_net(state: dict[str, torch.Tensor]) -> ClipNet:
    net = ClipNet(design_of(state))
    net.load_state_dict(state)
    return net


def _weights(start: Path) -> dict[str, torch.Tensor]:
    if start.suffix == ".onnx":
        return from_onnx(start)
    state = torch.load(start, weights_only=True, map_location="cpu")
    return dict(state.get("net", state))


def from_onnx(path: Path) -> dict[str, torch.Tensor]:
    """The weights in an ONNX file of ours, by their names in torch.

    The exporter keeps the names, but for the matrix of a linear layer, which it turns over and numbers.
    """
    stored = stored_in(path)
    net = ClipNet(design_of(stored))
    state = {}
    for name, weight in net.state_dict().items():
        turned = [value.T for value in stored.values() if value.ndim == 2 and value.T.shape == weight.shape]
        state[name] = stored[name] if name in stored else turned[0]
    return state


def stored_in(path: Path) -> dict[str, torch.Tensor]:
    """The weights in an ONNX file, by their names there."""
    return {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in onnx.load(path).graph.initializer}


def fingerprint_of(path: Path | None) -> str | None:
    """SHA-256 of a file, None without one. Raises MissingInputError."""
    if path is not None and not path.is_file():
        raise MissingInputError(f"no file at {path}: --start takes shipped, nothing, or a file of weights")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
