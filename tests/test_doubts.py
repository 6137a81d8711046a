"""Doubts: what would make a score unsure."""

from __future__ import annotations

from dataclasses import replace

from dfx.doubts import doubts
from dfx.values import ClipScore, Prediction, Reason

CLIP = ClipScore(0, 0.0, 0.5, (10.0, 20.0, 110.0, 140.0), 0.95, 1.5)


def test_doubts_name_what_is_odd_and_only_that() -> None:
    sound = Prediction("a", 0.9, Reason.OK, faces=1, clips=(CLIP, replace(CLIP, start=5, end=5.5)))
    clear = {"clips": [{"sharpness": 90.0, "brightness": 120.0}], "bits": 0.2}
    assert doubts(sound, clear, lambda clip: 0.9) == ()
    far = replace(CLIP, box=(0, 0, 30, 40), confidence=0.55)
    poor = {"clips": [{"sharpness": 2.0, "brightness": 20.0}], "bits": 0.01}
    said = " ".join(doubts(replace(sound, probability=0.52, faces=2, clips=(far,)), poor, lambda clip: clip.logit))
    for word in ("close to 0.5", "Only one", "2 people", "35 pixels", "unsure (0.55", "blurred", "dark", "compressed"):
        assert word in said, word
    rare = replace(sound, probability=0.501)
    assert doubts(rare, clear, lambda clip: 0.5, prevalence=0.01) == (), "fifty times the share of fakes is a sign"
    near = doubts(replace(sound, probability=0.0101), clear, lambda clip: 0.0101, prevalence=0.01)
    assert near == ("The score, 0.01, is close to 0.01: that is too little to go by.",)
    split = replace(sound, clips=tuple(replace(clip, opinions=(2.0, -2.0)) for clip in sound.clips))
    (told,) = doubts(split, clear, lambda clip: 0.9, prevalence=0.01)
    assert told == "Its classifiers disagree: by themselves they say 0.069, 0.0014."
    assert "disagree" in doubts(sound, clear, lambda clip: clip.start / 10)[0]
    assert doubts(Prediction("b", 0.5, Reason.CORRUPT), None, lambda _: 0.5) == ()
