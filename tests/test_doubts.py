"""Doubts: what would make a score unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dfx.aggregate import aggregate
from dfx.doubts import doubts
from dfx.infer import Calibration
from dfx.settings import Settings
from dfx.values import ClipScore, Prediction, Reason

CLIP = ClipScore(0, 0.0, 0.5, (10.0, 20.0, 110.0, 140.0), 0.95, 1.5)


def score(clips: Sequence[ClipScore], clip_range: tuple[float, float], prevalence: float) -> float:
    return aggregate(clips, Calibration(), clip_range, prevalence)


def test_doubts_name_what_is_odd_and_only_that() -> None:
    sound = Prediction("a", 0.9, Reason.OK, faces=1, clips=(CLIP, replace(CLIP, start=5, end=5.5)))
    clear = {"clips": [{"sharpness": 90.0, "brightness": 120.0}], "bits": 0.2}
    assert doubts(sound, clear, score) == ()
    far = replace(CLIP, box=(0, 0, 30, 40), confidence=0.55, logit=0.08)
    poor = {"clips": [{"sharpness": 2.0, "brightness": 20.0}], "bits": 0.01}
    said = " ".join(doubts(replace(sound, probability=0.52, faces=2, clips=(far,)), poor, score))
    for word in ("close to 0.5", "Only one", "2 people", "35 pixels", "unsure (0.55", "blurred", "dark", "compressed"):
        assert word in said, word
    split = replace(sound, clips=(CLIP, replace(CLIP, logit=-1.5)))
    assert "Its clips disagree: by themselves they score from 0.18 to 0.82." in doubts(split, clear, score)
    assert doubts(Prediction("b", 0.5, Reason.CORRUPT), None, score) == ()


@pytest.mark.parametrize("prevalence", [0.5, 0.01, 0.001])
def test_doubts_are_the_same_whatever_the_prevalence_and_the_bounds(prevalence: float) -> None:
    """A score of 0.5 is a strong sign where one video in a hundred is fake, and all real ones then have the least."""

    def told(*logits: float, opinions: tuple[float, ...] = ()) -> tuple[str, ...]:
        clips = tuple(replace(CLIP, logit=logit, opinions=opinions) for logit in logits)
        row = Prediction("a", score(clips, settings.clip_range, prevalence), Reason.OK, faces=1, clips=clips)
        return doubts(row, None, score, settings)

    settings = Settings(prevalence=prevalence)
    assert told(-4.0, -4.1) == told(4.6, 4.6) == ()
    (near,) = told(0.1, 0.1)
    assert f"is close to {prevalence:g}: that is too little to go by." in near
    assert [line.split(":")[0] for line in told(2.0, 0.9)] == []
    assert [line.split(":")[0] for line in told(3.0, 0.9)] == ["Its clips disagree"]
    (split,) = told(3.0, 3.0, opinions=(2.0, -2.0))
    wanted = {0.5: "0.88, 0.12", 0.01: "0.069, 0.0014", 0.001: "0.0073, 0.00014"}[prevalence]
    assert split == f"Its classifiers disagree: by themselves they say {wanted}."
