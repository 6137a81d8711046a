"""Colour: luma's weights, and pictures of high dynamic range (HDR) brought to the tones of ordinary video (SDR).

Networks learned from ordinary video. A phone's HDR film, taken for that, is flat and dark to them; its own light,
with diffuse white where SDR has it, is not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfx.values import Float, Pixels, Transfer

LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""Weights of red and blue in luma (ITU-R BT.601, BT.709, BT.2020)."""
SDR_MATRIX = "bt709"  # what pictures that were HDR have after `as_sdr`, as ordinary video of their size
WHITE = 203.0  # cd/m2 of diffuse white in HDR (ITU-R BT.2408), which is 1.0 here
PEAK = 1000.0  # cd/m2, the nominal peak of a display of HLG; its system gamma is 1.2 (ITU-R BT.2100)
GAMMA = 2.4  # of a display of SDR (ITU-R BT.1886)
KNEE = 0.8  # of diffuse white: light above it is bent towards 1, as cameras for SDR do it
BRIGHTEST = 4.0  # of diffuse white: all that is brighter is white too
STEPS = 4096  # of the tables, between no signal and all of it: 16 a level of 8 bits
BAND = 1 << 16  # pixels at a time: what a cache holds; of a whole picture of 8K the values on the way would take 2 GB
# PQ's constants (SMPTE ST 2084), and HLG's (ITU-R BT.2100, table 5).
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
A, B, C = 0.17883277, 0.28466892, 0.55991073
TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Linear light of BT.2020's primaries to BT.709's (ITU-R BT.2087)."""


def from_luma(matrix: str) -> NDArray[np.float64]:
    """Y, Cb, Cr in -0.5..0.5 -> R, G, B: [3, 3], by the weights of a standard in LUMA."""
    red, blue = LUMA[matrix]
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    return np.array([[1, 0, to_red], [1, -to_blue * blue / green, -to_red * red / green], [1, to_blue, 0]])


def retaken(taken: str, matrix: str) -> NDArray[np.float64]:
    """[3, 3]: RGB that was made of luma and chroma by one standard in LUMA, as it is by another."""
    return np.asarray(from_luma(matrix) @ np.linalg.inv(from_luma(taken)))


def as_sdr(rgb: Pixels, transfer: Transfer) -> Pixels:
    """A picture of HDR, RGB of BT.2020's primaries, as ordinary video has it, RGB of BT.709's: uint8 [3, ...] both.

    By the light that a display shows: the signal's own electro-optical function (BT.2100), diffuse white nearly white,
    the primaries of BT.709, and the inverse of BT.1886. A stream that is HDR is taken to have BT.2020's primaries.
    """
    return _through(np.eye(3), rgb, transfer, np.eye(3))


def as_sdr_of_bt601(rgb: Pixels, transfer: Transfer, matrix: str) -> Pixels:
    """`as_sdr`, of RGB that was made by BT.601 whatever the stream's `matrix`, into RGB that is made so too."""
    before = retaken("bt601", matrix if matrix in LUMA else "bt2020")
    return _through(before, rgb, transfer, retaken(SDR_MATRIX, "bt601"))


def _through(before: NDArray[np.float64], rgb: Pixels, transfer: Transfer, after: NDArray[np.float64]) -> Pixels:
    """before, after: [3, 3], of the signals."""
    out = np.empty_like(rgb.reshape(3, -1))
    for start in range(0, out.shape[1], BAND):
        part = slice(start, start + BAND)
        steps = _times(before * STEPS / 255, rgb.reshape(3, -1)[:, part].astype(np.float32)).clip(0, STEPS)
        light = LIGHT[transfer](_whole(steps))
        root = np.sqrt(_times(TO_709, light).clip(0, BRIGHTEST))
        signal = SDR_SIGNAL[_whole(root * np.float32(STEPS / BRIGHTEST**0.5))]
        out[:, part] = _times(255 * after, signal).round().clip(0, 255)
    return out.reshape(rgb.shape)


def _whole(steps: Float) -> NDArray[np.intp]:
    """Places in a table: the nearest."""
    return (steps + np.float32(0.5)).astype(np.intp)


def _times(matrix: NDArray[np.float64], values: Float) -> Float:
    return np.asarray(matrix.astype(np.float32) @ values)


def _of_pq(steps: NDArray[np.intp]) -> Float:
    """Light in WHITE (SMPTE ST 2084's EOTF, of 10,000 cd/m2)."""
    return PQ_LIGHT[steps]


def _of_hlg(steps: NDArray[np.intp]) -> Float:
    """Light in WHITE: of the scene, by HLG's inverse OETF, and from it by the OOTF, by the scene's luminance."""
    scene = HLG_SCENE[steps]
    red, blue = LUMA["bt2020"]
    luminance = _times(np.array([red, 1 - red - blue, blue]), scene)
    return np.asarray(np.float32(PEAK / WHITE) * scene * luminance ** np.float32(0.2))


def _bent(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is above KNEE nears 1; the slope is 1 at the knee."""
    rest = 1 - KNEE
    return np.where(light < KNEE, light, 1 - rest * np.exp((KNEE - light) / rest))


_SIGNAL = np.linspace(0, 1, STEPS + 1)
_ROOT = _SIGNAL ** (1 / M2)
PQ_LIGHT = ((10000 / WHITE) * (np.maximum(_ROOT - C1, 0) / (C2 - C3 * _ROOT)) ** (1 / M1)).astype(np.float32)
HLG_SCENE = np.where(_SIGNAL <= 0.5, _SIGNAL**2 / 3, (np.exp((_SIGNAL - C) / A) + B) / 12).astype(np.float32)
SDR_SIGNAL = (_bent(BRIGHTEST * _SIGNAL**2) ** (1 / GAMMA)).astype(np.float32)  # by the root of light
LIGHT = {Transfer.PQ: _of_pq, Transfer.HLG: _of_hlg}
