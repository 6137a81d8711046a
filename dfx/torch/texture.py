"""How much contrast a face has at each fineness, and what is around it: of blur and light, not of what is shown."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
HAAR = (((1, 1), (1, 1)), ((1, 1), (-1, -1)), ((1, -1), (1, -1)), ((1, -1), (-1, 1)))
LEVELS = 5  # octaves, from details of 2 pixels to those of 32
FACE, AROUND = 0.8, 1.1  # within the one and beyond the other, in radii of the ellipse of a face
CENTRE, AXES = (0.0, 0.02), (0.36, 0.46)  # of that ellipse, from the middle of a tight crop, in its sides
LOWEST = 0.5  # what is below, in tight crops' sides from the middle, is as often a collar as a neck
FLOOR = 0.1  # grey levels squared: what rounding leaves of a flat picture


class Texture(nn.Module):
    """Frames uint8 or float [N, 3, S, S], RGB, 0 to 255 -> float [N, 2 * LEVELS].

    The logarithm of the mean energy of each level of a Haar wavelet transform of luma (Mallat, PAMI 1989), in the face
    and around it, fine to coarse.

    size: S; around: the crop's side in sides of a tight one.
    """

    first: Tensor
    haar: Tensor

    def __init__(self, size: int, around: float) -> None:
        super().__init__()
        haar = torch.tensor(HAAR, dtype=torch.float32)[:, None] / 4
        self.register_buffer("first", haar * torch.tensor(LUMA)[:, None, None], persistent=False)
        self.register_buffer("haar", haar, persistent=False)
        self._regions = [f"regions_{level}" for level in range(LEVELS)]
        for name, weights in zip(self._regions, _regions(size, around), strict=True):
            self.register_buffer(name, weights, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 or float [N, 3, S, S] -> float [N, 2 * LEVELS]."""
        coarse, found = frames.float(), []
        for level, name in enumerate(self._regions):
            parts = functional.conv2d(coarse, self.haar if level else self.first, stride=2)
            coarse, energy = parts[:, :1], parts[:, 1:].square().sum(dim=1)
            found.append(energy.flatten(1) @ getattr(self, name))
        return (torch.cat(found, dim=1) + FLOOR).log()


def _regions(size: int, around: float) -> list[Tensor]:
    """Weights of the places of each level in the face and around it, which sum to 1: float [places, 2] a level."""
    at = ((torch.arange(size) + 0.5) / size - 0.5) * around
    radius = torch.hypot((at - CENTRE[0]) / AXES[0], (at[:, None] - CENTRE[1]) / AXES[1])
    part = torch.stack([radius < FACE, (radius > AROUND) & (at[:, None] < LOWEST)]).float()[:, None]
    weights = []
    for _ in range(LEVELS):
        part = functional.avg_pool2d(part, 2)
        flat = part.flatten(1)
        weights.append((flat / flat.sum(dim=1, keepdim=True)).T.contiguous())
    return weights
