"""Record: a prediction as plain values, as the journal keeps it and a worker sends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dfx.values import ClipScore, Prediction, Reason


def from_prediction(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values; floats survive to the bit."""
    return asdict(prediction)


def to_prediction(plain: dict[str, Any]) -> Prediction:
    """The inverse of `from_prediction`."""
    clips = tuple(ClipScore(**{**clip, "box": tuple(clip["box"])}) for clip in plain["clips"])
    return Prediction(**{**plain, "reason": Reason(plain["reason"]), "clips": clips})
