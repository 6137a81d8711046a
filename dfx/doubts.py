"""Doubts: what would make a score unsure, in sentences. They speak of the evidence, not of the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dfx.settings import Settings
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
CERTAIN = 27.6  # log-odds
EVEN = ((0.0, 1.0), 0.5)  # no bounds on scores, and as many fakes as real videos
Weigh = Callable[[Sequence[ClipScore], tuple[float, float], float], float]
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
    prediction: Prediction, sight: Mapping[str, Any] | None, weigh: Weigh, settings: Settings | None = None
) -> tuple[str, ...]:
    """What speaks against relying on a score; none for a video that has none.

    sight: what `dfx.evidence.show` said, None without it; weigh: the score of clips, for a range and a prevalence, as
    `dfx.aggregate` has it; settings: those of the score.
    """
    if not prediction.clips:
        return ()
    told = _of_scores(prediction, weigh, settings or Settings())
    return (*told, *_of_pictures(prediction, sight or {}))


def _of_scores(prediction: Prediction, weigh: Weigh, settings: Settings) -> Iterator[str]:
    """Measured on scores without bounds, for as many fakes as real videos, and told in those of the run."""
    clips, prevalence = prediction.clips, settings.prevalence
    scores = [weigh([clip], settings.clip_range, prevalence) for clip in clips]
    if abs(weigh(clips, *EVEN) - 0.5) < NEAR:
        yield f"The score, {prediction.probability:.2g}, is close to {prevalence:g}: that is too little to go by."
    if len(scores) < FEW:
        yield "Only one face clip was scored, so nothing can confirm or contradict it."
    if np.ptp([weigh([clip], *EVEN) for clip in clips]) > APART:
        yield f"Its clips disagree: by themselves they score from {min(scores):.2g} to {max(scores):.2g}."
    verdicts = [1 / (1 + math.exp(-logit)) for logit in _opinions(prediction)]
    if verdicts and max(verdicts) - min(verdicts) > APART:
        shift = math.log(prevalence / (1 - prevalence))
        said = ", ".join(f"{1 / (1 + math.exp(-logit - shift)):.2g}" for logit in _opinions(prediction))
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


def _opinions(prediction: Prediction) -> list[float]:
    """What each of several classifiers says of the video by itself, in log-odds for as many fakes as real videos,
    without its people being told apart; held where a probability is 0 or 1 to twelve digits."""
    logits = np.clip(np.mean([clip.opinions for clip in prediction.clips], axis=0), -CERTAIN, CERTAIN)
    return [float(logit) for logit in logits]
