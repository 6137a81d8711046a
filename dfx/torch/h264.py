"""What x264 leaves of a face clip at a random quality: encoded and decoded in memory, on the CPU.

There is no encoder among torch's operations, and NVENC is not on every card, so a GPU is fed by the processes that load
its batches, or from crops that were recoded when they were packed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from dfx.torch.augment import Dice
from dfx.values import Pixels

PRESETS = ("ultrafast", "veryfast", "medium")
CRF = (18.0, 40.0)  # x264's default is 23; from 40 on a face is a smear
SCALE = (0.5, 1.0)  # of the side: a face that fills the crop was often smaller in the video
SCALED = 0.5  # the share of clips that are made smaller
STILL = 3  # frames that a picture is encoded as, the last of which has been predicted from those before it
RATE = 30  # frames/s, by which x264 plans


@dataclass(frozen=True, slots=True)
class Coding:
    """How a clip is encoded: x264's rate factor (more is coarser), its preset, and the side's share before it."""

    crf: float
    preset: str
    scale: float

    @classmethod
    def drawn(cls, dice: Dice) -> Self:
        """At random, from dice for one clip."""
        preset = PRESETS[int(dice.uniform(0, len(PRESETS)))]
        return cls(float(dice.uniform(*CRF)), preset, float(dice.sometimes(SCALED, *SCALE, 1.0)))


def recoded(clip: Pixels, coding: Coding) -> Pixels:
    """A clip uint8 [T, 3, S, S], RGB, after x264 (4:2:0, BT.601) and back; the same bits every time.

    FFmpeg's scaler rounds downwards, which darkens it by about one step of 255.

    Raises:
        av.FFmpegError: this FFmpeg has no libx264.
    """
    side = clip.shape[-1]
    small = 2 * max(8, round(side * coding.scale / 2))  # 4:2:0 wants even sides
    encoder, decoder = _encoder(coding, small), av.CodecContext.create("h264", "r")
    packets = [packet for frame in [*map(_frame, clip), None] for packet in encoder.encode(_sized(frame, small))]
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return np.asarray(np.stack([_pixels(frame, side) for frame in frames]), np.uint8)


def recoded_alike(clips: Pixels, coding: Coding) -> Pixels:
    """Clips uint8 [K, T, 3, S, S], a real one and its fakes, each encoded in the same way."""
    return np.asarray(np.stack([recoded(clip, coding) for clip in clips]), np.uint8)


def recoded_still(picture: Pixels, coding: Coding) -> Pixels:
    """A picture uint8 [3, S, S] as the last frame of a short clip in which nothing moves."""
    return np.asarray(recoded(np.broadcast_to(picture, (STILL, *picture.shape)), coding)[-1])


def _encoder(coding: Coding, side: int) -> VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = side, side, "yuv420p"
    encoder.framerate, encoder.thread_count = Fraction(RATE), 1
    encoder.options = {"crf": f"{coding.crf:.1f}", "preset": coding.preset, "mbtree": "0"}  # with it, bits vary
    return encoder


def _frame(pixels: Pixels) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)), "rgb24")


def _sized(frame: av.VideoFrame | None, side: int) -> av.VideoFrame | None:
    """In the encoder's format; None, which ends the stream, as it is."""
    return frame and frame.reformat(side, side, "yuv420p", interpolation="AREA", dst_colorspace="ITU601")


def _pixels(frame: av.VideoFrame, side: int) -> Pixels:
    rgb = frame.reformat(side, side, "rgb24", interpolation="BICUBIC", src_colorspace="ITU601")
    return np.asarray(rgb.to_ndarray().transpose(2, 0, 1), np.uint8)
