"""Align: how far one motion, of a plane or of cloth, explains what differs between pictures of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dfx.values import Float

COARSE, REACH = 2, 9  # samples a step of the first search; half the side of the square that is slid, in steps
STEPS = 6  # of Gauss and Newton at each smoothness; eight change nothing
DAMPING = 1e-3  # of each unknown's own curvature: what a smooth face leaves open stays where it is


@dataclass(frozen=True, slots=True)
class Motion:
    """How a thing may move from one picture to another, as a polynomial of the place.

    stages: (smoothness in samples, order of the displacement), coarse to fine.
    """

    stages: tuple[tuple[float, int], ...]


PLANE = Motion(((3.0, 1), (1.5, 1), (1.0, 1)))  # affine: a board, however it is held and filmed
CLOTH = Motion(((3.0, 1), (1.5, 1), (1.5, 2), (1.0, 2)))  # it bends
LIGHT = 2  # order of the gain and the offset: glass reflects, and folds have shades


def aligned(pictures: Float, motion: Motion, half: int) -> Float:
    """Brings the middle square of each picture onto that of the middle one: in place, size, shape and light.

    pictures: float32 [T, n, n] of one thing, about in their middles. Returns float32 [T, 2 half, 2 half]. A search
    slides the reference over the others; Gauss and Newton's method with the reference's gradient (Hager and Belhumeur,
    PAMI 1998) then fits the motion.
    """
    reference, size = len(pictures) // 2, pictures.shape[-1]
    middle = slice(size // 2 - half, size // 2 + half)
    y, x = np.mgrid[middle, middle].astype(np.float32).reshape(2, -1)
    u, v = (x + 0.5 - size / 2) / half, (y + 0.5 - size / 2) / half
    place = np.stack([x, y]) + _slid(pictures, reference)[:, :, None]  # [T, 2, samples]
    light = _powers(u, v, LIGHT)
    for smoothness, order in motion.stages:
        smooth, bend = blurred(pictures, smoothness), _powers(u, v, order)
        aim = smooth[reference, middle, middle].ravel()
        down, right = (slope[middle, middle].ravel() for slope in np.gradient(smooth[reference]))
        solve = _solver(np.concatenate([right * bend, down * bend, _lit(aim, light)]))[:, : 2 * len(bend)]
        for _ in range(STEPS):
            moved = (_sampled(smooth, place) - aim) @ solve
            place = place - moved.reshape(len(place), 2, -1) @ bend
    found = _sampled(pictures, place)
    shades = _lit(found[reference], light)
    found = found - (found - found[reference]) @ _solver(shades) @ shades
    return np.asarray(found.reshape(len(found), 2 * half, 2 * half), np.float32)


def blurred(pictures: Float, smoothness: float) -> Float:
    """Gaussian means of float32 [T, n, n], of what is there at the edges; smoothness: standard deviation, samples."""
    weights = _gaussian(pictures.shape[-1], smoothness)
    return np.asarray(weights @ pictures @ weights.T, np.float32)


@lru_cache(maxsize=8)
def _gaussian(size: int, smoothness: float) -> Float:
    apart = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (apart / smoothness) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _slid(pictures: Float, reference: int) -> Float:
    """Where the reference's middle correlates best with each picture: float32 [T, 2], samples right and down."""
    count = pictures.shape[-1] // COARSE
    coarse = pictures.reshape(-1, count, COARSE, count, COARSE).mean(axis=(2, 4))
    parts = np.lib.stride_tricks.sliding_window_view(coarse, (2 * REACH, 2 * REACH), axis=(1, 2))
    shifts = parts.shape[1]
    flat = parts.reshape(len(pictures), shifts**2, -1)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-3)
    best = (flat @ flat[reference, shifts**2 // 2]).argmax(axis=1)
    return np.asarray(COARSE * (np.stack([best % shifts, best // shifts], axis=1) - shifts // 2), np.float32)


def _powers(u: Float, v: Float, order: int) -> Float:
    """The polynomials of two variables up to an order: float32 [terms, samples]."""
    return np.stack([u**i * v ** (total - i) for total in range(order + 1) for i in range(total + 1)])


def _lit(samples: Float, light: Float) -> Float:
    """What a change of gain and offset would add to the samples."""
    return np.concatenate([(samples - samples.mean()) * light, light])


def _solver(slopes: Float) -> Float:
    """Differences [T, samples] @ this = the unknowns whose slopes [unknowns, samples] explain them best."""
    curvature = slopes @ slopes.T
    return np.asarray(slopes.T @ np.linalg.pinv(curvature + DAMPING * np.diag(curvature.diagonal())), np.float32)


def _sampled(pictures: Float, place: Float) -> Float:
    """Bilinear samples of [T, n, n] at place [T, 2, samples] (x, y); outside, the edge is repeated."""
    size = pictures.shape[-1]
    x, y = np.clip(place, 0, size - 1.001).transpose(1, 0, 2)
    left, top = x.astype(np.intp), y.astype(np.intp)
    x, y = x - left, y - top
    at = top * size + left + (np.arange(len(pictures)) * size**2)[:, None]
    flat = pictures.ravel()
    above = flat[at] * (1 - x) + flat[at + 1] * x
    below = flat[at + size] * (1 - x) + flat[at + size + 1] * x
    return np.asarray(above * (1 - y) + below * y, np.float32)
