"""What a worker and its parent say to each other: one JSON object a line, which holds nothing but data."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from dfx.values import ClipScore, Prediction, Reason


def encode(message: dict[str, Any]) -> bytes:
    """One line. ASCII, so that file names of any bytes (surrogates) pass."""
    return json.dumps(message, ensure_ascii=True).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The inverse of `encode`; raises ValueError on anything but one JSON object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"a message must be an object; got {line[:80]!r}")
    return message


def from_prediction(prediction: Prediction) -> dict[str, Any]:
    """A prediction as plain values; floats survive to the bit."""
    return asdict(prediction)


def to_prediction(plain: dict[str, Any]) -> Prediction:
    """The inverse of `from_prediction`."""
    clips = tuple(to_clip(clip) for clip in plain["clips"])
    return Prediction(**{**plain, "reason": Reason(plain["reason"]), "clips": clips})


def to_clip(plain: dict[str, Any]) -> ClipScore:
    """A clip's score from plain values."""
    return ClipScore(**{**plain, "box": tuple(plain["box"]), "opinions": tuple(plain["opinions"])})
