"""Record: a prediction as plain values, as the journal keeps it and a worker sends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dfx.values import ClipScore, Dropped, Prediction, Reason, Verdict


def from_prediction(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values; floats survive to the bit."""
    return asdict(prediction)


def to_prediction(plain: dict[str, Any]) -> Prediction:
    """The inverse of `from_prediction`."""
    clips = tuple(ClipScore(**{**clip, "box": tuple(clip["box"])}) for clip in plain["clips"])
    dropped = tuple(_dropped(track) for track in plain.get("dropped", ()))  # journals of version 2 have none
    return Prediction(**{**plain, "reason": Reason(plain["reason"]), "clips": clips, "dropped": dropped})


def _dropped(plain: dict[str, Any]) -> Dropped:
    return Dropped(**{**plain, "verdict": Verdict(plain["verdict"]), "box": tuple(plain["box"])})
