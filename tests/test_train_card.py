"""What a run measures: no video by a calibration that saw its people, and where that cannot be, the card says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")
pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dfx.clip_cache import CachedClips
from dfx.torch.draws import Example
from dfx.torch.options import Options
from dfx.torch.train_card import Result, card, measured

pytestmark = pytest.mark.torch
CLIPS = CachedClips(Path("none.npz"), np.zeros(1, np.int64), np.ones(1), "")
FEW_REAL = ([0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4], [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1])  # a fold has all the REAL ones
SIDES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=3, max_size=30)


def result(groups: list[int], fake: list[int], moved: int | None = None) -> Result:
    """Of random scores, the fakes' higher; moved: a video that scores otherwise."""
    logits = np.random.default_rng(1).normal(size=len(fake)) + np.array(fake)
    if moved is not None:
        logits[moved] += 3
    return measured([Example(str(i), bool(f), CLIPS) for i, f in enumerate(fake)], np.array(groups), logits)


def test_a_fold_that_takes_all_of_a_class_is_left_out_group_by_group() -> None:
    assert not result(*FEW_REAL).seen.any()


@settings(max_examples=40)
@given(SIDES, st.integers(0, 29))
def test_no_video_is_measured_by_what_its_group_had_a_part_in(rows: list[tuple[int, bool]], place: int) -> None:
    groups, fake = [group for group, _ in rows], [int(one) for _, one in rows]
    assume(0 < sum(fake) < len(fake))
    place %= len(rows)
    one, other = result(groups, fake), result(groups, fake, moved=place)
    people = (np.array(groups) == groups[place]) & (np.arange(len(rows)) != place)
    unseen = people & ~one.seen
    np.testing.assert_array_equal(one.probabilities[unseen], other.probabilities[unseen])
    alone = [np.array(fake)[np.array(groups) != group] for group in groups]
    np.testing.assert_array_equal(one.seen, [not 0 < rest.sum() < len(rest) for rest in alone])


def words(groups: list[int], fake: list[int]) -> str:
    """The card's text on one line."""
    found = result(groups, fake)
    number = len(fake)
    parts = (np.array([*groups, 98, 99]), np.arange(number + 2) < number)
    training = [Example("a", False, CLIPS), Example("b", True, CLIPS)]
    return " ".join(card([training, found.examples], parts, {}, 1, Options(), found).split())


def test_the_card_counts_what_was_measured_by_what_saw_it() -> None:
    assert "each by a calibration that was fitted without its group:" in words(*FEW_REAL)
    text = words([0, 0, 1, 2, 2, 3], [0, 0, 1, 1, 1, 1])
    assert (
        "On the 6 held-out videos, both classes weighing the same, 4 of them by a calibration that was fitted" in text
    )
    assert "The other 2 were measured by the file's own calibration" in text
    assert "that flatters the figures:" in text
