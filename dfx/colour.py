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
KNEE = 0.8  # of diffuse white: light above it is bent towards 1, as cameras for SDR do it, and never clipped
# PQ's constants (SMPTE ST 2084), and HLG's (ITU-R BT.2100, table 5).
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
A, B, C = 0.17883277, 0.28466892, 0.55991073
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)  # linear light of BT.2020's primaries to BT.709's (ITU-R BT.2087)


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

    By the light that a display shows: the signal's own electro-optical function (BT.2100), diffuse white for white, the
    primaries of BT.709, and the inverse of BT.1886.
    """
    return _through(np.eye(3), rgb, transfer, np.eye(3))


def as_sdr_of_bt601(rgb: Pixels, transfer: Transfer, matrix: str) -> Pixels:
    """`as_sdr`, of RGB that was made by BT.601 whatever the stream's `matrix`, into RGB that is made so too."""
    before = retaken("bt601", matrix if matrix in LUMA else "bt2020")
    return _through(before, rgb, transfer, retaken(SDR_MATRIX, "bt601"))


def _through(before: NDArray[np.float64], rgb: Pixels, transfer: Transfer, after: NDArray[np.float64]) -> Pixels:
    """before, after: [3, 3], of the signals."""
    signal = (before / 255).astype(np.float32) @ rgb.reshape(3, -1).astype(np.float32)
    light = _bent(TO_709.astype(np.float32) @ LIGHT[transfer](signal.clip(0, 1)))
    levels = (255 * after).astype(np.float32) @ light ** np.float32(1 / GAMMA)
    return np.asarray(levels.round().clip(0, 255), np.uint8).reshape(rgb.shape)


def _bent(light: Float) -> Float:
    """What is above KNEE nears 1; the slope is 1 at the knee."""
    rest = 1 - KNEE
    return np.where(light < KNEE, light.clip(0), 1 - rest * np.exp((KNEE - light) / rest)).astype(np.float32)


def _of_pq(signal: Float) -> Float:
    """Light in WHITE (SMPTE ST 2084's EOTF, of 10,000 cd/m2)."""
    root = signal ** np.float32(1 / M2)
    return np.asarray((np.maximum(root - C1, 0) / (C2 - C3 * root)) ** (1 / M1) * (10000 / WHITE), np.float32)


def _of_hlg(signal: Float) -> Float:
    """Light in WHITE: the inverse OETF of HLG, then its OOTF, by the luminance of the scene."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - C) / A) + B) / 12)
    red, blue = LUMA["bt2020"]
    luminance = np.array([red, 1 - red - blue, blue]) @ scene
    return np.asarray(PEAK / WHITE * scene * luminance**0.2, np.float32)


LIGHT = {Transfer.PQ: _of_pq, Transfer.HLG: _of_hlg}
