"""Pseudo-fakes: blended faces made on the spot, so that a network learns the traces of blending, whoever made them.

Two kinds: a real face blended over itself, after self-blended images (Shiohara and Yamasaki, CVPR 2022), and another
person's face, colours matched, blended in. Real and fake of a pair are the same to the bit outside of the mask, so that
no change of the whole picture gives a fake away.
"""

from __future__ import annotations

import math
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from dfx.torch.augment import (
    TO_RGB,
    TO_YCC,
    Dice,
    affine,
    along,
    blur_matrix,
    constant,
    grey_of,
    mixed,
    recompressed,
    shrink_matrix,
    wide,
)
from dfx.torch.clipnet import CROP_TEMPLATE

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # how much of the inner face is seen, as in the paper
EYES = ((CROP_TEMPLATE[0][0] + CROP_TEMPLATE[1][0]) / 2, CROP_TEMPLATE[0][1])
MOUTH = ((CROP_TEMPLATE[3][0] + CROP_TEMPLATE[4][0]) / 2, CROP_TEMPLATE[3][1])
NOSE = CROP_TEMPLATE[2]
Region = tuple[tuple[float, float], tuple[float, float], float]
REGIONS: tuple[Region, ...] = (
    ((EYES[0], (EYES[1] + MOUTH[1]) / 2 + 0.02), (0.38, 0.46), 0.6),
    (MOUTH, (0.24, 0.16), 0.14),
    (EYES, (0.36, 0.13), 0.12),
    ((MOUTH[0], (NOSE[1] + 0.95) / 2), (0.36, 0.24), 0.14),
)
"""Centre and half axes in units of a tight crop's side, and how often: the whole face more often than a part of it."""
HEAD: Region = ((0.5, 0.42), (0.46, 0.52), 0.3)
"""From the hair to below the chin, and to the ears, as face swaps replace it that take the whole face: what lies beyond
a tight crop. The thirds of a face, hair to brows to nose to chin, are of like height."""
WIDE_REGIONS: tuple[Region, ...] = (HEAD, (*REGIONS[0][:2], 0.3), *REGIONS[1:])
WHOLE = 0.6  # the kinds of masks below it cover the whole face
WAVES = 5  # of an outline's radius


def self_blended(real: Tensor, dice: Dice, around: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Faces float [N, 3, S, S] of 0 to 255 -> a real and a fake of each, and the mask [N, 1, S, S] of the blending.

    A copy is recoloured, rescaled, compressed and moved; mostly it is the inner face, now and then what surrounds it.
    around: the pictures' side in sides of a tight crop.
    """
    copy = recompressed(moved(recoloured(rescaled(real, dice), dice), dice, around), dice, 0.25)
    outside = wide(dice.chance(0.3))
    outer, inner = torch.where(outside, copy, real), torch.where(outside, real, copy)
    mask = masks(dice, real.shape[-1], dice.uniform(0, 1), around)
    inner = torch.where(wide(dice.chance(0.3)), matched(inner, outer, mask), inner)
    mask = mask * wide(_ratios(dice))
    return outer, torch.lerp(outer, inner, mask), mask


def swapped(real: Tensor, donors: Tensor, dice: Dice, around: float = 1.0) -> tuple[Tensor, Tensor]:
    """Other people's faces, both float [N, 3, S, S] of 0 to 255, blended into real ones, and the masks [N, 1, S, S].

    around: the pictures' side in sides of a tight crop.
    """
    donors = moved(rescaled(donors, dice), dice, around)
    mask = masks(dice, real.shape[-1], dice.uniform(0, WHOLE), around)
    inner = recompressed(matched(donors, real, mask, dice.uniform(0.7, 1)), dice, 0.2)
    mask = mask * wide(dice.sometimes(0.3, 0.7, 1.0, 1.0))
    return torch.lerp(real, inner, mask), mask


def _ratios(dice: Dice) -> Tensor:
    return constant((RATIOS,), dice.device)[0, (dice.uniform(0, 1) * len(RATIOS)).long()]


def rescaled(x: Tensor, dice: Dice) -> Tensor:
    """Coarser, as a generator's small output enlarged, or out of focus, or sharper, as one that was touched up."""
    size, kind = x.shape[-1], dice.uniform(0, 1)
    factor = torch.where(kind < 0.45, dice.uniform(0.25, 0.8), 1.0)
    sigma = torch.where(kind < 0.45, 0.0, dice.uniform(0.6, 2.0))
    soft = along(blur_matrix(sigma, size) @ shrink_matrix(factor, size), x)
    sharp = (x + (x - soft) * wide(dice.uniform(0.2, 0.9))).clamp(0, 255)
    return torch.where(wide(kind > 0.65), sharp, soft)


def recoloured(x: Tensor, dice: Dice) -> Tensor:
    """Hue, saturation, brightness and contrast of one copy, and a shift of each channel."""
    grey, turn = grey_of(x), dice.uniform(-0.2, 0.2)
    colour = mixed(x, TO_YCC)[:, 1:] * wide(dice.uniform(0.75, 1.25))
    cos, sin = wide(turn.cos()), wide(turn.sin())
    hue = [colour[:, :1] * cos - colour[:, 1:] * sin, colour[:, :1] * sin + colour[:, 1:] * cos]
    rgb = mixed(torch.cat([grey * wide(dice.uniform(0.8, 1.2)), *hue], 1), TO_RGB)
    shifts = dice.uniform(-12, 12, 3)[..., None, None]
    return ((rgb - 128) * wide(dice.uniform(0.85, 1.15)) + 128 + shifts).clamp(0, 255)


def moved(x: Tensor, dice: Dice, around: float = 1.0) -> Tensor:
    """Shifted by up to 3 % of a tight crop's side, scaled by up to 5 % and bent a little, as landmarks that are off
    have it."""
    zoom, size = dice.uniform(0.95, 1.05), x.shape[-1]
    shift = dice.uniform(-0.06, 0.06, 2) / around
    theta = affine(dice.normal(math.radians(1.5)), zoom, zoom * dice.uniform(0.98, 1.02), shift)
    grid = functional.affine_grid(theta, [len(x), 3, size, size], align_corners=False)
    bent = functional.interpolate(dice.normal(0.012 / around, 2, 5, 5), size, mode="bicubic", align_corners=True)
    bent = bent * wide(dice.sometimes(0.5, 0.2, 1, 0.0))
    return functional.grid_sample(x, grid + bent.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


def matched(x: Tensor, target: Tensor, mask: Tensor, strength: Tensor | None = None) -> Tensor:
    """x with the target's mean and spread under the mask, in YCbCr; strength: how much of it, [N]."""
    ours, theirs = (mixed(picture, TO_YCC) for picture in (x, target))
    mean, spread = _moments(ours, mask)
    aim, width = _moments(theirs, mask)
    moved_over = (ours - mean) * (width / spread).clamp(0.4, 2.5) + aim
    out = moved_over if strength is None else torch.lerp(ours, moved_over, wide(strength))
    return mixed(out, TO_RGB).clamp(0, 255)


def _moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread under a mask: [N, 3, 1, 1] each."""
    weight = mask / mask.sum((2, 3), keepdim=True).clamp(min=1e-3)
    mean = (x * weight).sum((2, 3), keepdim=True)
    return mean, (((x - mean) ** 2 * weight).sum((2, 3), keepdim=True) + 1).sqrt()


def masks(dice: Dice, size: int, kind: Tensor, around: float = 1.0) -> Tensor:
    """Soft masks float [N, 1, S, S] in [0, 1]: bent shapes over the face or, by kind [N] in [0, 1), a part of it."""
    centre, axes = _regions(kind, dice, WIDE_REGIONS if around > 1 else REGIONS)
    at = 0.5 + ((torch.arange(size, device=dice.device) + 0.5) / size - 0.5) * around
    x = (at[None, None] - centre[:, :1, None]) / axes[:, :1, None]
    y = (at[None, :, None] - centre[:, 1:, None]) / axes[:, 1:, None]
    power = dice.uniform(2, 3.5)[:, None, None]
    radius = (x.abs() ** power + y.abs() ** power) ** (1 / power)
    edge = _outline(torch.atan2(y, x), dice) - radius
    edge = edge + functional.interpolate(dice.normal(0.06, 1, 6, 6), size, mode="bicubic", align_corners=True)[:, 0]
    soft = (edge / dice.uniform(0.04, 0.6)[:, None, None] + 0.5).clamp(0, 1)
    return (soft * soft * (3 - 2 * soft))[:, None]


def _regions(kind: Tensor, dice: Dice, regions: tuple[Region, ...]) -> tuple[Tensor, Tensor]:
    """Centres and half axes [N, 2], in units of a tight crop's side."""
    bounds = constant((tuple(accumulate(region[2] for region in regions))[:-1],), dice.device)[0]
    row = torch.bucketize(kind, bounds, right=True)
    centres, halves = (tuple(region[i] for region in regions) for i in (0, 1))
    centre, axes = constant(centres, dice.device)[row], constant(halves, dice.device)[row]
    return centre + dice.normal(0.02, 2), axes * dice.uniform(0.75, 1.1, 2)


def _outline(angle: Tensor, dice: Dice) -> Tensor:
    """How far the border is, around 1, at each angle float [N, S, S]: a few waves of random height."""
    out = torch.ones_like(angle)
    for wave in range(1, WAVES + 1):
        phase = dice.uniform(0, 2 * math.pi)[:, None, None]
        out = out + dice.normal(0.07 / math.sqrt(wave))[:, None, None] * torch.cos(wave * angle + phase)
    return out
