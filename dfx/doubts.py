"""Doubts: what would make a score unsure, in sentences. They speak of the evidence, not of the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfx.values import ClipScore, Prediction, Verdict

# Where a measure begins to be unusual: about the lowest tenth of 298 clips of 150 labelled research videos, but for
# FEW (what two windows of a ten-second clip give) and SIDE (half of the classifier's crop: it is magnified twice).
FEW = 2  # clips
SIDE = 80  # pixels, the root of a box's area
SHARP = 10.0  # variance of the Laplacian of the crop
DARK = 55.0  # mean grey level of the crop
CONFIDENCE = 0.6  # the detector's; it keeps faces from 0.5 on
BITS = 0.045  # a pixel and frame, of the file
APART = 0.2  # between the scores of single clips, and of classifiers, where fakes are as many as real videos
NEAR = 0.1  # to 0.5, there too
TINY = 1e-12  # from 0 and 1, whose log-odds are not finite
LEFT_OUT = {
    frozenset({Verdict.POSTER, Verdict.PRINT}): "A face was left out as a picture of a face; if it is a living one, "
    "nobody has looked at it.",
    frozenset({Verdict.CROWD}): "There were more people than are scored; the smallest were left out.",
    frozenset({Verdict.UNSURE}): "What the detector hardly took for a face was left out; if it is one, "
    "nobody has looked at it.",
}


def uncertain(prediction: Prediction) -> bool:
    """Whether the evidence is too thin to say: too few clips, a face too small, or one that the detector doubts.

    A row without a score is uncertain too.
    """
    clips = prediction.clips
    return len(clips) < FEW or min(map(_side, clips)) < SIDE or min(clip.confidence for clip in clips) < CONFIDENCE


def doubts(
    prediction: Prediction,
    sight: Mapping[str, Any] | None,
    alone: Callable[[ClipScore], float],
    prevalence: float = 0.5,
) -> tuple[str, ...]:
    """What speaks against relying on a score; none for a video that has none.

    sight: what `dfx.evidence.show` said, None without it; alone: the score that a clip by itself would give;
    prevalence: the share of fakes that scores are for.
    """
    if not prediction.clips:
        return ()
    scores = [alone(clip) for clip in prediction.clips]
    return (*_of_scores(prediction, scores, prevalence), *_of_pictures(prediction, sight or {}))


def _of_scores(prediction: Prediction, scores: list[float], prevalence: float) -> Iterator[str]:
    if abs(float(_restated(prediction.probability, prevalence, 0.5)) - 0.5) < NEAR:
        yield f"The score, {prediction.probability:.2g}, is close to {prevalence:g}: that is too little to go by."
    if len(scores) < FEW:
        yield "Only one face clip was scored, so nothing can confirm or contradict it."
    if np.ptp(_restated(scores, prevalence, 0.5)) > APART:
        yield f"Its clips disagree: by themselves they score from {min(scores):.2g} to {max(scores):.2g}."
    verdicts = _verdicts(prediction)
    if verdicts.size and np.ptp(verdicts) > APART:
        said = ", ".join(f"{verdict:.2g}" for verdict in _restated(verdicts, 0.5, prevalence))
        yield f"Its classifiers disagree: by themselves they say {said}."
    if prediction.faces > 1:
        yield f"{prediction.faces} people were followed; the score is mostly that of the most suspicious one."
    dropped = {track.verdict for track in prediction.dropped}
    yield from (sentence for verdicts, sentence in LEFT_OUT.items() if dropped & verdicts)


def _of_pictures(prediction: Prediction, sight: Mapping[str, Any]) -> Iterator[str]:
    side = min(_side(clip) for clip in prediction.clips)
    if side < SIDE:
        yield f"A face is small, about {side:.0f} pixels a side: the model saw it magnified, without detail."
    confidence = min(clip.confidence for clip in prediction.clips)
    if confidence < CONFIDENCE:
        yield f"The face detector was unsure ({confidence:.2f} of 1): masked, turned away, or perhaps no face."
    if prediction.turned:
        stand = "on their head" if prediction.turned == 180 else "on their side"
        yield f"People are {stand} in it, and its file does not say so: dfx turned it by {prediction.turned} degrees."
    yield from (f"The file has {what}." for what in _odd(sight))
    shown = sight.get("clips", [])
    if any(clip["sharpness"] < SHARP for clip in shown):
        yield "A face is blurred, which hides the traces of a manipulation and can look like one."
    if any(clip["brightness"] < DARK for clip in shown):
        yield "A face is dark."
    if sight.get("bits", BITS) < BITS:
        yield f"The file is heavily compressed: {sight['bits']:.3f} bits a pixel and frame."


def _odd(sight: Mapping[str, Any]) -> Iterator[str]:
    """What lies in a file beside what was looked at, or is lost."""
    for kind, _, words in (problem.partition(": ") for problem in sight.get("problems", [])):
        if kind == "truncated":
            yield f"lost its end: {words}"
        if kind == "several video streams":
            yield f"{kind}: {words}"


def _side(clip: ClipScore) -> float:
    left, top, right, bottom = clip.box
    return math.sqrt(max(0.0, (right - left) * (bottom - top)))


def _verdicts(prediction: Prediction) -> NDArray[np.float64]:
    """What each of several classifiers says of the video by itself, without its people being told apart: for as many
    fakes as real videos."""
    return _sigmoid(np.mean([clip.opinions for clip in prediction.clips], axis=0))


def _restated(probability: ArrayLike, before: float, after: float) -> NDArray[np.float64]:
    """Probabilities for one prevalence, for another: Bayes' rule, as `dfx.aggregate` has it."""
    return _sigmoid(_logit(probability) - _logit(before) + _logit(after))


def _logit(probability: ArrayLike) -> NDArray[np.float64]:
    share = np.clip(np.asarray(probability, np.float64), TINY, 1 - TINY)
    return np.asarray(np.log(share) - np.log1p(-share))


def _sigmoid(logit: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0.0, np.negative(logit))))
