"""What may befall a face crop besides manipulation, for whole batches on any device: both of a pair get the same.

Everything that is linear and separable (blur, enlarging, the transform of a codec) is a product with a matrix of each
picture's own, which a GPU does at no cost worth naming.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from dfx.torch.clipnet import TIGHT, Cut

BLOCK = 8  # pixels, of the transform of JPEG, and of much video
LUMA = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
CHROMA = "17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99" + " 99" * 36
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Dice:
    """Random draws for `count` pictures, each draw repeated `copies` times: [copies * count, ...]."""

    count: int
    generator: torch.Generator
    copies: int = 1

    @property
    def device(self) -> torch.device:
        """Where the draws lie."""
        return self.generator.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float [copies * count, *shape], at least `low`, below `high`."""
        drawn = torch.rand(self.count, *shape, generator=self.generator, device=self.device)
        return self._each(low + (high - low) * drawn)

    def normal(self, spread: float, *shape: int) -> Tensor:
        """float [copies * count, *shape], around 0."""
        return self._each(spread * torch.randn(self.count, *shape, generator=self.generator, device=self.device))

    def chance(self, share: float) -> Tensor:
        """bool [copies * count]."""
        return self.uniform(0, 1) < share

    def sometimes(self, share: float, low: float, high: float, otherwise: float) -> Tensor:
        """As `uniform` for a share of the pictures, a fixed value for the others: float [copies * count]."""
        return torch.where(self.chance(share), self.uniform(low, high), otherwise)

    def _each(self, drawn: Tensor) -> Tensor:
        return drawn.repeat(self.copies, *[1] * (drawn.ndim - 1))


def wide(values: Tensor) -> Tensor:
    """[N] -> [N, 1, 1, 1], to go with pictures."""
    return values[:, None, None, None]


def augment(pictures: Tensor, dice: Dice, cut: Cut = TIGHT) -> Tensor:
    """Changes pictures float [N, 3, S', S'] of 0 to 255 at random -> uint8 [N, 3, S, S], S of the cut.

    dice: with copies = 2, both halves of the pictures get the same. A video is compressed before it is cut out and
    scaled, so that the codec's blocks lie askew of the crop; now and then it is compressed again.
    """
    x = placed(recompressed(pictures, dice, 0.35), dice, cut)
    x = grained(softened(relit(x, dice), dice), dice)
    return recompressed(x, dice, 0.45).round().clamp(0, 255).to(torch.uint8)


def placed(x: Tensor, dice: Dice, cut: Cut = TIGHT) -> Tensor:
    """Mirrored, turned, zoomed, stretched and shifted a little, as a detector's landmarks would have it, at the size
    of the cut."""
    zoom, stretch = dice.uniform(0.78, 1.02), dice.normal(0.03).exp()
    flip = torch.where(dice.chance(0.5), -1.0, 1.0)
    shift = dice.normal(0.045, 2) / cut.around
    theta = affine(dice.normal(math.radians(5)), zoom * stretch * flip, zoom / stretch, shift)
    grid = functional.affine_grid(theta, [len(x), 3, cut.size, cut.size], align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def affine(turn: Tensor, across: Tensor, down: Tensor, shift: Tensor) -> Tensor:
    """Maps float [N, 2, 3] of affine_grid: turn in radians, two scales, shift [N, 2] in half sides."""
    cos, sin = turn.cos(), turn.sin()
    rows = torch.stack([cos * across, -sin * down, sin * across, cos * down], 1).view(-1, 2, 2)
    return torch.cat([rows, shift[..., None]], 2)


def relit(x: Tensor, dice: Dice) -> Tensor:
    """Contrast, white balance, brightness and saturation; now and then no colour at all."""
    some = dice.chance(0.7)[:, None]
    gains = torch.where(some, dice.uniform(0.7, 1.3, 1) * (1 + dice.normal(0.05, 3)), 1.0)
    offsets = torch.where(some, dice.uniform(-20, 20, 1), 0.0)
    colour = torch.where(dice.chance(0.03), 0.0, dice.sometimes(0.3, 0.5, 1.4, 1.0))
    grey = grey_of(x)
    x = grey + (x - grey) * wide(colour)
    return (x * gains[..., None, None] + offsets[..., None, None]).clamp(0, 255)


def grey_of(x: Tensor) -> Tensor:
    """The brightness of RGB float [N, 3, H, W]: [N, 1, H, W]."""
    return (x * constant(TO_YCC[:1], x.device)[0, :, None, None]).sum(1, keepdim=True)


def softened(x: Tensor, dice: Dice) -> Tensor:
    """Made smaller and large again, or out of focus."""
    size = x.shape[-1]
    shrink = shrink_matrix(dice.sometimes(0.35, 0.35, 1.0, 1.0), size)
    return along(blur_matrix(dice.sometimes(0.2, 0.3, 1.5, 0.0), size) @ shrink, x)


def grained(x: Tensor, dice: Dice) -> Tensor:
    """Noise, half of it without colour; the same field on both of a pair."""
    size = x.shape[-1]
    colour = wide(dice.chance(0.5).float())
    grain = dice.normal(1, 3, size, size) * colour + dice.normal(1, 1, size, size) * (1 - colour)
    return (x + grain * wide(dice.sometimes(0.25, 1, 8, 0.0))).clamp(0, 255)


def along(matrix: Tensor, x: Tensor) -> Tensor:
    """Applies matrices float [N, S, S] to rows and columns of pictures [N, C, S, S]."""
    return matrix[:, None] @ x @ matrix[:, None].mT


def blur_matrix(sigma: Tensor, size: int) -> Tensor:
    """Gaussian blur along an axis, by sigma [N] pixels; 0 is none: float [N, S, S]."""
    at = torch.arange(size, device=sigma.device)
    weights = torch.exp(-((at[:, None] - at) ** 2) / (2 * sigma.clamp(min=0.01)[:, None, None] ** 2))
    return weights / weights.sum(2, keepdim=True)


def shrink_matrix(factor: Tensor, size: int) -> Tensor:
    """Shrinking by area to factor [N] of the size, and enlarging again: float [N, S, S]; 1 is none."""
    small = (size * factor).round()[:, None]
    step = size / small
    at = torch.arange(size, device=factor.device, dtype=torch.float32)
    low = (at * step)[..., None]
    area = (torch.minimum(low + step[..., None], at + 1) - torch.maximum(low, at)).clamp(min=0) / step[..., None]
    source = torch.minimum(((at + 0.5) / step - 0.5).clamp(min=0), small - 1)
    return (1 - (source[..., None] - at).abs()).clamp(min=0) @ area


def recompressed(x: Tensor, dice: Dice, share: float) -> Tensor:
    """A share of the pictures compressed: half of them as JPEG, half coarser and smoothed at the blocks, as video."""
    jpeg = quality_tables(dice.uniform(30, 96))
    flat = dice.uniform(6, 40)[:, None, None, None]
    video = dice.chance(0.5)
    tables = torch.where(wide(video), flat, jpeg)
    rounding = torch.where(video, 1 / 3, 1 / 2)  # an encoder of video rounds towards nothing, which costs fewer bits
    out = compressed(x, tables, rounding)
    out = torch.where(wide(video), unblocked(out, dice.uniform(0.3, 1)), out)
    return torch.where(wide(dice.chance(share)), out, x)


def quality_tables(quality: Tensor) -> Tensor:
    """The standard's tables for luma and chroma at qualities [N] of 1 to 100: float [N, 2, 8, 8]."""
    base = constant(tuple(tuple(float(value) for value in table.split()) for table in (LUMA, CHROMA)), quality.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    tables = base.view(1, 2, BLOCK, BLOCK) * wide(scale)
    return ((tables + 50) / 100).floor().clamp(1, 255)


def compressed(x: Tensor, tables: Tensor, rounding: Tensor) -> Tensor:
    """Through a codec and back, colour at half the size: float [N, 3, S, S], S a multiple of 16.

    tables: the steps of quantisation of luma and chroma, float [N, 2, 8, 8]. rounding: [N], 0.5 for the nearest.
    """
    ycc = mixed(x, TO_YCC)
    luma = quantised(ycc[:, :1] - 128, tables[:, :1], rounding) + 128
    chroma = quantised(functional.avg_pool2d(ycc[:, 1:], 2), tables[:, 1:], rounding)
    whole = torch.cat([luma, functional.interpolate(chroma, scale_factor=2.0, mode="bilinear")], 1)
    return mixed(whole, TO_RGB).clamp(0, 255)


def mixed(x: Tensor, matrix: Matrix) -> Tensor:
    """Channels [N, 3, H, W] times a matrix [3, 3]."""
    return (constant(matrix, x.device) @ x.flatten(2)).view_as(x)


@cache
def constant(values: Matrix, device: torch.device) -> Tensor:
    """A table of numbers on a device, brought there once: each copy would make the device wait."""
    return torch.tensor(values, device=device)


def quantised(x: Tensor, steps: Tensor, rounding: Tensor) -> Tensor:
    """Blocks of 8 x 8 transformed, rounded to multiples of steps [N, 1, 8, 8], and back: [N, C, H, W]."""
    count, channels, height, width = x.shape
    basis = _cosines(x.device)
    blocks = x.view(count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    steps = steps[:, :, None, None]
    ratios = (basis @ blocks @ basis.mT) / steps
    kept = ratios.sign() * (ratios.abs() + rounding.view(-1, 1, 1, 1, 1, 1)).floor() * steps
    return (basis.mT @ kept @ basis).transpose(3, 4).reshape(x.shape)


@cache
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal transform of a block: float [8, 8]."""
    at = torch.arange(BLOCK, device=device)
    basis = torch.cos(math.pi / BLOCK * (at + 0.5) * at[:, None]) * math.sqrt(2 / BLOCK)
    return torch.where(at[:, None] == 0, math.sqrt(1 / BLOCK), basis)


def unblocked(x: Tensor, strength: Tensor) -> Tensor:
    """Smoothed by strength [N] in the two pixels on either side of each block's border, as a decoder of video does."""
    size = x.shape[-1]
    inside = torch.arange(size, device=x.device) % BLOCK
    border = (inside < 2) | (inside >= BLOCK - 2)
    soft = along(blur_matrix(torch.full_like(strength, 1.0), size), x)
    return torch.lerp(x, soft, wide(strength) * (border | border[:, None]))
