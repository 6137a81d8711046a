"""Meso4 (Afchar et al., WIFS 2018), a small network that looks at the texture of a face; its authors' weights are a
teacher here, and never shipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfx.errors import DependencyError, ModelError
from dfx.torch.weights import read_weights

SIZE = 256  # pixels
PUBLISHED = (8, 8, 16, 16)  # channels of its four stages
WIDTHS = (8, 16, 24, 16)  # of ours: wider in the middle; the last stage is as theirs, so that it can be met
SIDES, POOLS = (3, 5, 5, 5), (2, 2, 2, 4)  # of a stage's kernel, and of what is pooled after it
CELLS = SIZE // 32  # of the last stage's output, along a side
HIDDEN = 16
NORM_EPSILON = 1e-3  # Keras'


class MesoNet(nn.Module):
    """Faces uint8 or float [N, 3, 256, 256], RGB, 0 to 255 -> logits float [N], positive for fake.

    widths: channels of its four stages.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs, side, pool in zip((3, *widths), widths, SIDES, POOLS, strict=False):
            convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2)
            stages += [convolution, nn.ReLU(), nn.BatchNorm2d(outputs, NORM_EPSILON), nn.MaxPool2d(pool)]
        self.stages = nn.Sequential(*stages)
        self.hidden = nn.Linear(widths[-1] * CELLS**2, HIDDEN)
        self.vote = nn.Linear(HIDDEN, 1)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The network in a mesonet.pt; raises as `read_weights`."""
        return cls.of(read_weights(path, "dfx.torch.train_mesonet", "vote.weight"))

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Self:
        """The network with these weights, as wide as they are."""
        stages = range(0, 4 * len(POOLS), 4)
        net = cls(tuple(len(state[f"stages.{stage}.weight"]) for stage in stages))
        net.load_state_dict(state)
        return net

    def features(self, faces: Tensor) -> Tensor:
        """What the stages make of faces: float [N, C, 8, 8]."""
        return self.stages(faces.float() / 255)  # type: ignore[no-any-return]

    def logits(self, features: Tensor) -> Tensor:
        """float [N, C, 8, 8] -> float [N]."""
        hidden = functional.leaky_relu(self.hidden(features.flatten(1)), 0.1)
        return self.vote(hidden).squeeze(1)  # type: ignore[no-any-return]

    def forward(self, faces: Tensor) -> Tensor:
        """uint8 or float [N, 3, 256, 256] -> float [N]."""
        return self.logits(self.features(faces))


@torch.no_grad()
def published(path: Path) -> MesoNet:
    """The network of its authors' Keras file, whose own logits are positive for real.

    Raises:
        ModelError: the file holds no such network. DependencyError: h5py is not installed.
    """
    net = MesoNet(PUBLISHED).eval()
    layers = [layer for layer in net.modules() if not list(layer.children()) and list(layer.parameters())]
    try:
        for layer, stored in zip(layers, _keras_layers(path), strict=True):
            _fill(layer, stored)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} holds no Meso4 of its authors: give Meso4_F2F.h5 or Meso4_DF.h5") from error
    for weight in net.vote.parameters():
        weight.neg_()
    return net


def _keras_layers(path: Path) -> list[dict[str, Tensor]]:
    """The arrays of each layer that has some, by their names, in the order of the layers."""
    try:
        import h5py
    except ImportError as error:
        raise DependencyError("Keras weights are read by h5py: pip install h5py") from error
    with h5py.File(path) as file:
        names = [name.decode() if isinstance(name, bytes) else name for name in file.attrs["layer_names"]]
        groups = [file[name][name] for name in names if name in file[name]]
        return [
            {name.partition(":")[0]: torch.tensor(values[()]) for name, values in group.items()} for group in groups
        ]


def _fill(layer: nn.Module, values: dict[str, Tensor]) -> None:
    """Keras' arrays of a layer, by their names there; its pictures have their channels last."""
    if isinstance(layer, nn.BatchNorm2d):
        names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        state = {ours: values[theirs] for ours, theirs in names.items()}
    elif isinstance(layer, nn.Conv2d):
        state = {"weight": values["kernel"].permute(3, 2, 0, 1), "bias": values["bias"]}
    else:
        kernel = values["kernel"]
        if len(kernel) > HIDDEN:
            kernel = kernel.view(CELLS, CELLS, -1, HIDDEN).permute(2, 0, 1, 3).flatten(0, 2)
        state = {"weight": kernel.T, "bias": values["bias"]}
    layer.load_state_dict(state, strict=False)
