"""Aggregate: clips -> people -> one probability for the video."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from dfx.errors import InputError
from dfx.infer import Calibration
from dfx.values import ClipScore

SHARPNESS = 2.0
"""How near the soft maximum over people is to the hard one, a unit of logit. One person: the maximum is that person's
score, whatever the sharpness. It is not fitted: the labelled videos hardly ever show two people."""


def aggregate(
    clips: Sequence[ClipScore], calibration: Calibration, clip_range: tuple[float, float], prevalence: float = 0.5
) -> float:
    """The probability that the video is fake, within `clip_range`. It does not depend on the order of the clips.

    A person's score is the mean logit of their clips, weighted by the detector's confidence. A video's is a soft
    maximum over its people (log-mean-exp), since one fake face among real ones makes it fake. Calibration is
    for as many fakes as real videos; another `prevalence` shifts the logit by its own (Bayes' rule; Saerens et al.,
    Neural Computation 2002). The range bounds what a confident mistake costs: -log(0.01) = 4.6 of log loss.

    Raises:
        InputError: no clips, a logit that is not finite, or a confidence that is not above 0.
    """
    if not clips:
        raise InputError("no clips: a video without a face has no score")
    if not all(math.isfinite(clip.logit) for clip in clips):
        raise InputError("a logit is not finite: the model is broken on this video")
    if not all(0 < clip.confidence < math.inf for clip in clips):
        raise InputError("a confidence is not a number above 0: the face detector is broken on this video")
    people: dict[int, list[ClipScore]] = defaultdict(list)
    for clip in clips:
        people[clip.track].append(clip)
    logit = _soft_maximum([_person(person) for person in people.values()])
    low, high = clip_range
    expected = math.log(prevalence / (1 - prevalence))
    return min(high, max(low, _sigmoid(calibration.of(logit) + expected)))


def _person(clips: Sequence[ClipScore]) -> float:
    weight = math.fsum(clip.confidence for clip in clips)
    return math.fsum(clip.confidence * clip.logit for clip in clips) / weight


def _soft_maximum(logits: Sequence[float]) -> float:
    top = max(logits)
    total = math.fsum(math.exp(SHARPNESS * (logit - top)) for logit in logits)
    return top + math.log(total / len(logits)) / SHARPNESS


def _sigmoid(x: float) -> float:
    """Without overflow, and exact to the last digits at both ends."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
