"""Where the canvas and the aligned face lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform
from tolerances import SINGLE_PRECISION, SUBPIXEL

from dfx import ops
from dfx.errors import InputError

TEMPLATE = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], np.float32)


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 2000))
def test_geometry_holds_the_whole_picture(width: int, height: int, long_side: int) -> None:
    box = ops.letterbox_geometry(width, height, long_side)
    assert box.width % 32 == box.height % 32 == 0
    for canvas, side in ((box.width, width), (box.height, height)):
        assert side * box.scale <= canvas + SINGLE_PRECISION
        assert side * box.scale > canvas - 32
    assert box.scale <= 2


def test_geometry_of_common_pictures() -> None:
    assert ops.letterbox_geometry(1920, 1080, 640) == ops.Letterbox(1 / 3, 640, 384)
    assert ops.letterbox_geometry(1080, 1920, 640) == ops.Letterbox(1 / 3, 384, 640)
    assert ops.letterbox_geometry(100, 50, 640) == ops.Letterbox(2.0, 224, 128)


def test_geometry_refuses_what_has_no_size() -> None:
    with pytest.raises(InputError, match="at least 1"):
        ops.letterbox_geometry(0, 5, 32)


def test_similarity_agrees_with_scikit_image() -> None:
    rng = np.random.default_rng(5)
    faces = (rng.random((20, 5, 2)) * 300 + 100).astype(np.float32)  # far from any face: the fit must still be the best
    ours = ops.similarity(faces, TEMPLATE, 160)
    for face, matrix in zip(faces, ours, strict=True):
        theirs = SimilarityTransform.from_estimate(TEMPLATE * 160, face).params[:2]
        if np.linalg.det(theirs[:, :2]) > 0:
            np.testing.assert_allclose(matrix, theirs, rtol=SUBPIXEL, atol=SUBPIXEL)


def test_similarity_brings_the_template_to_the_face() -> None:
    cos, sin = 1.7 * np.cos(0.4), 1.7 * np.sin(0.4)
    truth = np.array([[cos, -sin, 320], [sin, cos, 111]])
    faces = TEMPLATE * 112 @ truth[:, :2].T + truth[:, 2]
    np.testing.assert_allclose(ops.similarity(faces[None], TEMPLATE, 112), truth[None], rtol=SINGLE_PRECISION)


def test_similarity_of_one_point_is_that_point() -> None:
    (matrix,) = ops.similarity(np.full((1, 5, 2), 7.5), TEMPLATE, 64)
    assert matrix.tolist() == [[0, 0, 7.5], [0, 0, 7.5]]


@pytest.mark.parametrize(
    ("landmarks", "template", "size"),
    [
        (np.zeros((1, 4, 2)), TEMPLATE, 64),
        (np.zeros((5, 2)), TEMPLATE, 64),
        (np.full((1, 5, 2), np.nan), TEMPLATE, 64),
        (np.zeros((1, 5, 2)), np.ones((5, 2)), 64),
        (np.zeros((1, 5, 2)), TEMPLATE, 0),
    ],
)
def test_similarity_refuses(landmarks: np.ndarray, template: np.ndarray, size: int) -> None:
    with pytest.raises(InputError):
        ops.similarity(landmarks, template, size)
