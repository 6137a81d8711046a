"""Pictures brought onto each other: what a motion explains goes, and what it does not stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data
from tolerances import ALIGNED

from dfx.align import CLOTH, PLANE, Motion, aligned, blurred

Float = NDArray[np.float32]
HALF = 18
GREY = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY)[30:230, 120:320]
FACE = cv2.resize(GREY, (80, 80), interpolation=cv2.INTER_AREA).astype(np.float32)
ROWS, COLUMNS = np.mgrid[:80, :80].astype(np.float32)


def moved(right: Float | float, down: Float | float) -> Float:
    """The astronaut's face, 80 x 80, with each sample moved so far."""
    at = (COLUMNS - right).astype(np.float32), (ROWS - down).astype(np.float32)
    return cv2.remap(FACE, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def left(other: Float, motion: Motion) -> float:
    """The share of the face's contrast by which another picture differs once it is aligned."""
    first, second = aligned(np.stack([other, FACE]), motion, HALF)
    return float(np.mean((first - second) ** 2) / second.var())


@pytest.mark.parametrize("motion", [PLANE, CLOTH])
def test_what_a_plane_does_is_undone(motion: Motion) -> None:
    turned = cv2.warpAffine(FACE, cv2.getRotationMatrix2D((40, 40), 9, 1.1), (80, 80), borderMode=cv2.BORDER_REPLICATE)
    assert np.mean((turned - FACE) ** 2) / FACE.var() > 5 * ALIGNED
    for other in (moved(7, -5), turned, 0.7 * turned + 20):
        assert left(other, motion) < ALIGNED


def test_only_cloth_bends_and_has_shades() -> None:
    bent = moved(4 * ((ROWS - 40) / 18) ** 2, 0.0) * (1 + 0.2 * ((COLUMNS - 40) / 18) ** 2)
    assert left(bent, CLOTH) < ALIGNED
    assert left(bent, PLANE) > 2 * left(bent, CLOTH)


@pytest.mark.parametrize("motion", [PLANE, CLOTH])
def test_what_is_new_stays(motion: Motion) -> None:
    spoken = FACE.copy()
    spoken[48:54, 34:48] = 0
    assert left(spoken, motion) > 2 * ALIGNED


def test_flat_pictures_are_no_trouble() -> None:
    assert np.isfinite(aligned(np.zeros((3, 80, 80), np.float32), CLOTH, HALF)).all()


def test_blurring_keeps_a_plain_picture() -> None:
    np.testing.assert_allclose(blurred(np.full((1, 20, 20), 7, np.float32), 3.0), 7, rtol=1e-5)
