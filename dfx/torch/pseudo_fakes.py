"""Pseudo-fakes: a real face blended over itself, so that a network learns the traces of blending, whoever made them.

After self-blended images (Shiohara and Yamasaki, CVPR 2022): a copy of the face, recoloured, rescaled or sharpened and
a little moved, is blended over the face along a mask. Unlike there, it is always the inner copy that is changed: what
lies outside of the mask is the original's to the bit, so that no change of the whole picture gives a fake away.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfx.torch.clipnet import CROP_TEMPLATE

Picture = NDArray[np.uint8]
Float = NDArray[np.float32]
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # how much of the copy is seen, as in the paper
EYES, MOUTH = [0, 1], [3, 4]  # rows of the landmarks


def self_blended(picture: Picture, rng: np.random.Generator) -> Picture:
    """A pseudo-fake of a face crop uint8 [S, S, 3], RGB, whose landmarks lie about where CROP_TEMPLATE has them."""
    size = picture.shape[0]
    changed = _moved(_recoloured(_rescaled(picture, rng), rng), rng)
    mask = _mask(size, rng)[..., None] * rng.choice(RATIOS)
    return np.asarray(np.clip(changed * mask + picture * (1 - mask) + 0.5, 0, 255), np.uint8)


def _rescaled(picture: Picture, rng: np.random.Generator) -> Picture:
    """Half of the time coarser, as a generator's small output enlarged; else sharper, as one that was touched up."""
    size = picture.shape[:2]
    if rng.random() < 0.5:
        factor = rng.uniform(0.25, 0.8)
        small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        return cast(Picture, cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR))
    blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 2.0))
    amount = rng.uniform(0.2, 0.8)
    return cast(Picture, cv2.addWeighted(picture, 1 + amount, blurred, -amount, 0))


def _recoloured(picture: Picture, rng: np.random.Generator) -> Picture:
    """Hue, saturation, brightness and contrast of one copy, and a shift of each channel."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-6, 6)) % 180
    hsv[..., 1:] *= rng.uniform(0.75, 1.25, 2).astype(np.float32)
    rgb = cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    shifted = (rgb - 128) * rng.uniform(0.85, 1.15) + 128 + rng.uniform(-12, 12, 3)
    return np.asarray(shifted.clip(0, 255), np.uint8)


def _moved(picture: Picture, rng: np.random.Generator) -> Picture:
    """Shifted by up to 3 % of the side and scaled by up to 5 %, as landmarks that are a little off would have it."""
    size = picture.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-2, 2), rng.uniform(0.95, 1.05))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * size
    warped = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return cast(Picture, warped)


def _mask(size: int, rng: np.random.Generator) -> Float:
    """A soft mask float32 [S, S] in [0, 1]: a bent shape over the face, or over its eyes or mouth."""
    marks = np.array(CROP_TEMPLATE) * size + rng.normal(0, 0.02 * size, (5, 2))
    centre, axes = _region(marks, size, rng)
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = 1 + _smooth(rng.normal(0, 0.12, 24))
    outline = centre + np.stack([np.cos(turns), np.sin(turns)], 1) * axes * radii[:, None]
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [outline.round().astype(np.int32)], 1.0)
    for _ in range(2):
        mask = cast(Float, cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.008, 0.05) * size))
    return mask / max(float(mask.max()), 1e-6)


def _region(
    marks: NDArray[np.float64], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and half axes, pixels, of what is replaced: the whole face more often than a part of it."""
    eyes, mouth = marks[EYES].mean(axis=0), marks[MOUTH].mean(axis=0)
    draw = rng.random()
    if draw < 0.7:
        return (eyes + mouth) / 2 + [0, 0.02 * size], np.array([0.38, 0.46]) * size * rng.uniform(0.8, 1.1, 2)
    if draw < 0.85:
        return mouth, np.array([0.24, 0.16]) * size * rng.uniform(0.8, 1.2, 2)
    return eyes, np.array([0.36, 0.13]) * size * rng.uniform(0.8, 1.2, 2)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and its neighbours on a ring."""
    return np.asarray((values + np.roll(values, 1) + np.roll(values, -1)) / 3)
