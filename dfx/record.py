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
    clips = tuple(map(to_clip, plain["clips"]))
    dropped = tuple(map(_dropped, plain.get("dropped", ())))  # journals of version 2 have none
    return Prediction(**{**plain, "reason": Reason(plain["reason"]), "clips": clips, "dropped": dropped})


def to_clip(plain: dict[str, Any]) -> ClipScore:
    """A clip's score from plain values; journals of version 2 have no opinions."""
    return ClipScore(**{**plain, "box": tuple(plain["box"]), "opinions": tuple(plain.get("opinions", ()))})


def _dropped(plain: dict[str, Any]) -> Dropped:
    return Dropped(**{**plain, "verdict": Verdict(plain["verdict"]), "box": tuple(plain["box"])})
