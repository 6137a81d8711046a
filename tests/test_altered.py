"""The benchmark of altered videos: an alteration does what its name says, to planes of every depth and sampling."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from altered import ALTERATIONS, Altering, Cutting, told

from dfx.decode.pyav import PyAVDecoder
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import Limits
from dfx.values import Planes, Prediction, Reason

NO_ALTERATION = "as it is"
KINDS = {"8 bits": (8, 2, 2), "10 bits": (10, 2, 2), "4:2:2": (8, 1, 2), "4:4:4": (8, 1, 1)}


def drawn(depth: int, down: int, across: int) -> Planes:
    """Noise that keeps clear of both ends; sides that are multiples of nothing."""
    rng, unit = np.random.default_rng(0), 1 << (depth - 8)
    sides = [(37, 43), *[(-(-37 // down), -(-43 // across))] * 2]
    dtype = np.uint8 if depth == 8 else np.uint16
    y, u, v = (rng.integers(90 * unit, 160 * unit, side).astype(dtype) for side in sides)
    return Planes(y, u, v, depth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_makes_other_planes_of_the_same_kind(name: str, kind: str) -> None:
    before = drawn(*KINDS[kind])
    after = ALTERATIONS[name](before)
    assert (after.depth, after.y.dtype) == (before.depth, before.y.dtype)
    same = all(np.array_equal(getattr(before, plane), getattr(after, plane)) for plane in "yuv")
    assert same == (name == NO_ALTERATION)


@pytest.mark.parametrize("kind", KINDS)
def test_alterations_do_what_their_names_say(kind: str) -> None:
    before = drawn(*KINDS[kind])
    unit = 1 << (before.depth - 8)

    def luma(name: str) -> np.ndarray:
        return ALTERATIONS[name](before).y / unit

    plain = before.y / unit
    assert luma("darker").mean() < plain.mean() < luma("brighter").mean()
    assert luma("blurred").std() < luma("less contrast").std() < plain.std()
    assert min(luma("more contrast").std(), luma("sharpened").std()) > plain.std()
    np.testing.assert_array_equal(luma("mirrored"), plain[:, ::-1])
    assert np.std(luma("noisy") - plain) == pytest.approx(6, rel=0.1)
    assert luma("half as large").shape == (16, 20)
    grey, warm = ALTERATIONS["in grey"](before), ALTERATIONS["warmer"](before)
    assert (grey.u == 128 * unit).all()
    np.testing.assert_array_equal(warm.v - before.v, 10 * unit)
    bars = (luma("between black bars").shape[0] - plain.shape[0]) // 2
    np.testing.assert_array_equal(luma("between black bars")[bars:-bars], plain)
    assert (luma("between black bars")[:bars] == 16).all()


def test_a_jump_cut_shows_another_window(samples: Path) -> None:
    info = probe(samples / "real.mp4")
    chosen = plan(info, windows=2, count=4, stride=4)
    plain, cut = (list(each.read(info, chosen)) for each in (_decoder(), Cutting(_decoder())))
    for mine, other, both in zip(plain, plain[::-1], cut, strict=True):
        shown = [mine.pictures[0], mine.pictures[1], other.pictures[2], other.pictures[3]]
        assert all(np.array_equal(one.y, two.y) for one, two in zip(shown, both.pictures, strict=True))
        assert np.array_equal(both.seconds, mine.seconds)


def test_a_decoder_alters_every_picture(samples: Path) -> None:
    info = probe(samples / "real.mp4")
    chosen = plan(info, windows=1, count=4, stride=4)
    (plain,), (dark,) = (list(each.read(info, chosen)) for each in (_decoder(), _darker()))
    assert all(after.y.mean() < before.y.mean() for before, after in zip(plain.pictures, dark.pictures, strict=True))


def test_what_is_told_counts_each_class() -> None:
    rows = [Prediction("a", score, reason) for score, reason in ((0.6, Reason.OK), (0.5, Reason.NO_FACE))]
    rows += [Prediction("b", score, Reason.OK) for score in (0.7, 0.8, 0.4)]
    found = told(rows, np.array([False, False, True, True, True]))
    assert (found["real_above_half"], found["fake_above_half"], found["without_a_face"]) == (1, 2, 1)
    assert found["auc"] == pytest.approx(4 / 6)


def _decoder() -> PyAVDecoder:
    return PyAVDecoder(Limits().pixels)


def _darker() -> Altering:
    return Altering(_decoder(), ALTERATIONS["darker"])
