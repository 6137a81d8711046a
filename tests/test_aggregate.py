"""From clips to one probability."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfx.aggregate import aggregate
from dfx.doubts import uncertain
from dfx.errors import InputError
from dfx.infer import Calibration
from dfx.infer.contract import UNDECIDED
from dfx.values import ClipScore, Prediction, Reason

PLAIN, WIDE = Calibration(), (0.0, 1.0)
logits = st.floats(-30, 30)
people = st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 1), logits), min_size=1, max_size=12)


def clip(track: int, logit: float, confidence: float = 1.0) -> ClipScore:
    return ClipScore(track, 0.0, 0.6, (0.0, 0.0, 10.0, 10.0), confidence, logit)


def test_one_person_is_the_weighted_mean_of_their_clips() -> None:
    clips = [clip(0, 2.0, 0.75), clip(0, -2.0, 0.25)]
    assert aggregate(clips, PLAIN, WIDE) == pytest.approx(1 / (1 + math.exp(-1)))


def test_one_fake_among_the_real_makes_it_fake() -> None:
    real = aggregate([clip(0, -4.0)], PLAIN, WIDE)
    mixed = aggregate([clip(0, -4.0), clip(1, 4.0), clip(2, -4.0)], PLAIN, WIDE)
    assert real < 0.05
    assert mixed > 0.95


def test_the_calibration_is_platts() -> None:
    assert aggregate([clip(0, 2.0)], Calibration(0.5, -1.0), WIDE) == pytest.approx(0.5)


DOUBT = Calibration(2.0, 1.0, doubt=0.5)


def test_what_is_in_doubt_stays_at_one_half() -> None:
    """Log-odds of 2 * logit + 1, against what is left of them."""
    before = np.array([-9.0, -0.05, 0.0, 0.2, 0.5, 0.75, 1.0, 4.0])
    left = DOUBT.of_all((before - 1) / 2)
    np.testing.assert_allclose(left[[0, 1, 4, 5, 6, 7]], [-9, -0.05, 0, 0.5, 1, 4], atol=1e-12)
    assert (left[2:4] < 0).all()
    assert (left[2:4] > -0.05).all()
    assert math.log(0.4875 / 0.5125) == pytest.approx(-UNDECIDED, abs=1e-3), "as the card and the README say"
    assert aggregate([clip(0, (0.5 - 1) / 2)], DOUBT, WIDE) <= 0.5 < aggregate([clip(0, (0.51 - 1) / 2)], DOUBT, WIDE)


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 5))
def test_doubt_keeps_the_order(one: float, other: float, doubt: float) -> None:
    plain, doubting = Calibration(0.5, 0.1), Calibration(0.5, 0.1, doubt)
    if plain.of(one) < plain.of(other) - 1e-9:
        assert doubting.of(one) < doubting.of(other)
    assert doubting.of(one) <= plain.of(one) + 1e-12


def test_who_knows_nothing_says_what_is_known_beforehand() -> None:
    """In doubt the prevalence is what is left: the odds of the prior, as if no video had been looked at."""
    for share in (0.01, 0.1, 0.9):
        assert aggregate([clip(0, -0.25)], DOUBT, WIDE, share) == pytest.approx(share)


def test_prevalence_restates_the_probability_by_bayes() -> None:
    clips, share = [clip(0, math.log(3))], 0.01  # three to one for fake where half are
    expected = 3 * share / (3 * share + (1 - share))
    assert aggregate(clips, PLAIN, WIDE, share) == pytest.approx(expected)
    assert aggregate(clips, PLAIN, WIDE, 0.5) == pytest.approx(0.75)


def test_the_range_bounds_both_ends() -> None:
    assert aggregate([clip(0, 1000.0)], PLAIN, (0.02, 0.97)) == 0.97
    assert aggregate([clip(0, -1000.0)], PLAIN, (0.02, 0.97)) == 0.02


@given(people, st.randoms())
def test_the_order_of_the_clips_changes_nothing(items: list[tuple[int, float, float]], random: object) -> None:
    clips = [clip(track, logit, confidence) for track, confidence, logit in items]
    shuffled = list(clips)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert aggregate(clips, PLAIN, WIDE) == aggregate(shuffled, PLAIN, WIDE)


@given(people, st.floats(0.1, 5))
def test_more_fake_clips_never_look_more_real(items: list[tuple[int, float, float]], more: float) -> None:
    before = aggregate([clip(track, logit, weight) for track, weight, logit in items], PLAIN, WIDE)
    after = aggregate([clip(track, logit + more, weight) for track, weight, logit in items], PLAIN, WIDE)
    assert after >= before


def test_the_ends_are_exact() -> None:
    assert aggregate([clip(0, -50.0)], PLAIN, WIDE) / math.exp(-50) == pytest.approx(1)
    assert aggregate([clip(0, -1e300)], PLAIN, WIDE) == 0
    assert aggregate([clip(0, 1e300)], PLAIN, WIDE) == 1


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clips"),
        ([clip(0, math.nan)], "not finite"),
        ([clip(0, 1.0, math.nan)], "confidence"),
        ([clip(0, 1.0, 0.0)], "confidence"),
    ],
)
def test_nothing_and_nonsense_are_refused(clips: list[ClipScore], message: str) -> None:
    with pytest.raises(InputError, match=message):
        aggregate(clips, PLAIN, WIDE)


CLEAR = replace(clip(0, 1.0), box=(0.0, 0.0, 120.0, 120.0))


@pytest.mark.parametrize(
    ("clips", "unsure"),
    [
        ((CLEAR, CLEAR), False),
        ((CLEAR,), True),
        ((), True),
        ((CLEAR, replace(CLEAR, box=(0.0, 0.0, 60.0, 60.0))), True),
        ((CLEAR, replace(CLEAR, confidence=0.59)), True),
    ],
)
def test_thin_evidence_is_uncertain(clips: tuple[ClipScore, ...], unsure: bool) -> None:
    assert uncertain(Prediction("a.mp4", 0.5, Reason.OK, clips=clips)) == unsure
