"""Facts: what a container says of its video and audio."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one file; None where it is not.

    width, height: pixels of the coded picture, before rotation; rotation: degrees clockwise that make it upright;
    display_aspect: of the coded picture as it is to be shown, before rotation; rate: the lowest frames a second that
    hold every timestamp exactly, FFmpeg's guess; average_rate: frames a second; variable: the time from one frame to
    the next varies; frames: packets of the video stream; duration: seconds; bit_rate: bit/s of the file; keyframes:
    frames in order of presentation; audio_rate: Hz; audio_bit_rate: bit/s; bytes: size of the file.
    """

    container: str | None = None
    codec: str | None = None
    profile: str | None = None
    pix_fmt: str | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    display_aspect: Fraction | None = None
    rate: Fraction | None = None
    average_rate: Fraction | None = None
    variable: bool | None = None
    frames: int | None = None
    duration: float | None = None
    bit_rate: int | None = None
    keyframes: tuple[int, ...] = ()
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_channels: int | None = None
    audio_bit_rate: int | None = None
    bytes: int | None = None
    sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values; fractions as texts."""
        values = ((name, getattr(self, name)) for name in NAMES)
        return {name: str(value) if isinstance(value, Fraction) else value for name, value in values}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Facts:
        """The inverse of `to_json`."""
        exact = {name: Fraction(plain[name]) for name in FRACTIONS if plain[name] is not None}
        return cls(**{**plain, **exact, "keyframes": tuple(plain["keyframes"])})


FRACTIONS = ("display_aspect", "rate", "average_rate")
NAMES = tuple(item.name for item in fields(Facts))
