"""What a container says of its video stream, and of the sound beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfx.table import Row, Tabular
from dfx.values import Transfer

NEARLY_SQUARE = 0.1  # of a pixel's side: faces differ by more
WIDEST = 5  # times as wide as high; a wider pixel is a writer's slip
USUAL = {"mirrored": False, "pixel_aspect": 1, "interlaced": False, "transfer": Transfer.SDR}
"""Facts that are told of where they are otherwise."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The first audio stream: codec name, sampling rate in Hz, channels, bit rate in bit/s (0 where unknown)."""

    codec: str
    rate: int
    channels: int
    bit_rate: int


@dataclass(frozen=True, slots=True, eq=False)
class PacketTable:
    """What the demuxer says of each packet of the video stream, in decode order. Every array has shape [packets].

    pts: int64, in `time_base` units, a repeated one a unit later; made up from the position and the rate where the
    container has none, or none that will do.
    keyframe: bool; the demuxer's flag.
    """

    pts: NDArray[np.int64]
    keyframe: NDArray[np.bool_]
    made_up: bool = False

    def __post_init__(self) -> None:
        if self.pts.ndim != 1 or self.pts.shape != self.keyframe.shape:
            raise ValueError(f"pts {self.pts.shape} and keyframe {self.keyframe.shape} must both be [packets]")

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def order(self) -> NDArray[np.int64]:
        """The packets in order of presentation: int64 [packets], so that frame i comes in packet order[i]."""
        return np.argsort(self.pts, kind="stable")

    @property
    def rank(self) -> NDArray[np.int64]:
        """The inverse of `order`: the frame that each packet holds."""
        return np.argsort(self.order, kind="stable")


@dataclass(frozen=True, slots=True, repr=False)
class VideoInfo(Tabular):
    """What a container says of its video stream, without a picture decoded.

    width, height: pixels of the coded picture, before rotation; rotation: degrees clockwise that make it upright (0,
    90, 180, 270); mirrored: whether it is to be turned over, top to bottom, before that; pixel_aspect: how much wider
    than high a coded pixel is to be shown; interlaced: whether the even lines show a later moment than the odd ones, or
    an earlier one; transfer: whether it is HDR, and which; rate: exact average frames a second; time_base: seconds a
    tick; duration: seconds; frames: packets of the video stream; bit_rate: bit/s of the file; stream: index of the
    video stream in the container.
    """

    path: Path
    container: str
    codec: str
    profile: str
    pix_fmt: str
    width: int
    height: int
    rotation: int
    rate: Fraction
    time_base: Fraction
    duration: float
    frames: int
    bit_rate: int
    bytes: int
    stream: int
    audio: AudioInfo | None
    packets: PacketTable = field(compare=False)
    mirrored: bool = False
    pixel_aspect: Fraction = Fraction(1)
    interlaced: bool = False
    transfer: Transfer = Transfer.SDR

    @property
    def stretch(self) -> float:
        """What the coded picture's width is multiplied by, so that a face keeps its shape: 1 where it nearly has it."""
        aspect = float(self.pixel_aspect)
        return aspect if abs(aspect - 1) > NEARLY_SQUARE and 1 / WIDEST <= aspect <= WIDEST else 1.0

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Indices in presentation order of the pictures that the demuxer flags as keyframes."""
        return tuple(int(i) for i in np.flatnonzero(self.packets.keyframe[self.packets.order]))

    def columns(self) -> tuple[str, ...]:
        """One row a fact."""
        return ("fact", "value")

    def rows(self) -> Iterator[Row]:
        """The fields, the audio stream taken apart, and the keyframes."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, AudioInfo):
                yield "audio", f"{value.codec}, {value.rate} Hz, {value.channels} channels, {value.bit_rate} bit/s"
            elif not isinstance(value, PacketTable) and (item.name not in USUAL or value != USUAL[item.name]):
                yield item.name, value
        shown = ", ".join(str(index) for index in self.keyframes[:12])
        yield "keyframes", shown + (f", ... {len(self.keyframes)} in all" if len(self.keyframes) > 12 else "")
