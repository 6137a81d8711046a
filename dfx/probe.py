"""Probe: what a container says of its video, from packets alone; no picture is decoded."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfx.decode.container import open_video, packets_of
from dfx.decode.rotation import orientation
from dfx.errors import CorruptVideoError, TooLargeVideoError
from dfx.info import AudioInfo, PacketTable, VideoInfo
from dfx.ops import LARGEST_SIDE
from dfx.settings import Limits
from dfx.values import Transfer

MOST_PACKETS = 2_000_000  # nine hours at 60 frames a second
REPEATED = 0.1  # share of the packets whose pts may be another's too: a writer's slip, not a clock that stands
REORDERED = 16  # packets that a picture may come before, at most: max_num_reorder_frames of H.264, as of HEVC
PROGRESSIVE = (0, 1)  # FFmpeg's AVFieldOrder: what is unknown, and what is; the rest are fields in several orders
HDR = {16: Transfer.PQ, 18: Transfer.HLG}  # ITU-T H.273, table 3; all else is as good as SDR
FALLBACK_RATE = Fraction(25)  # frames a second, where a container states none


def probe(path: str | Path, *, limits: Limits | None = None) -> VideoInfo:
    """Reads a file's headers and the packets of its video stream.

    Raises:
        MissingInputError, CorruptVideoError, UnsupportedVideoError: see `dfx.decode.container.open_video`.
        TooLargeVideoError: more pixels or a longer duration than the limits allow, or more than two million packets.
    """
    path, limits = Path(path), limits or Limits()
    with open_video(path, limits.pixels) as (container, stream):
        return info_of(path, container, stream, limits)


def info_of(path: Path, container: InputContainer, stream: VideoStream, limits: Limits) -> VideoInfo:
    """`probe`, of a file that is open. The packets of the stream are read to their end."""
    context = stream.codec_context
    _check_size(path, context.width, context.height, limits)
    rate = stream.average_rate or stream.guessed_rate or FALLBACK_RATE
    time_base = stream.time_base or 1 / rate
    packets = _packets(container, stream, path, tick=max(1, round(1 / (rate * time_base))))
    duration = _duration(container, packets, rate, time_base)
    rotation, mirrored = orientation(path)
    if duration > limits.duration:
        raise TooLargeVideoError(
            f"{path.name!r}: {duration:.0f} s long; {limits.duration:g} s is the limit (--max-duration)"
        )
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=context.codec.name,
        profile=str(context.profile or ""),
        pix_fmt=context.pix_fmt or "",
        width=context.width,
        height=context.height,
        rotation=rotation,
        mirrored=mirrored,
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        interlaced=context.field_order not in PROGRESSIVE,
        transfer=HDR.get(int(context.color_trc), Transfer.SDR),
        rate=rate,
        time_base=time_base,
        duration=duration,
        frames=len(packets),
        bit_rate=container.bit_rate or 0,
        bytes=path.stat().st_size,
        stream=stream.index,
        audio=_audio(container),
        packets=packets,
    )


def _check_size(path: Path, width: int, height: int, limits: Limits) -> None:
    """Refuses pictures that are larger than the limits or the kernels allow, and such as have no size."""
    if not width or not height:
        width, height = _size_beyond(path)
    if width * height > limits.pixels:
        raise TooLargeVideoError(f"{path.name!r}: {width}x{height} pixels; {limits.pixels} is the limit (--max-pixels)")
    if max(width, height) > LARGEST_SIDE:
        raise TooLargeVideoError(f"{path.name!r}: {width}x{height} pixels; {LARGEST_SIDE} a side is the limit")


def _size_beyond(path: Path) -> tuple[int, int]:
    """The size of pictures that cannot be known within the limit: some kinds of files tell it only by decoding."""
    with open_video(path) as (_, stream):
        context = stream.codec_context
        if not context.width or not context.height:
            raise CorruptVideoError(f"{path.name!r}: its header states no picture size; the file is cut or damaged")
        return context.width, context.height


def _packets(container: InputContainer, stream: VideoStream, path: Path, *, tick: int) -> PacketTable:
    """tick: units of the time base from one frame to the next, for streams without usable pts."""
    stamps: list[int | None] = []
    flags: list[bool] = []
    try:
        for packet in packets_of(container, stream):
            stamps.append(packet.pts)
            flags.append(packet.is_keyframe)
            if len(stamps) > MOST_PACKETS:
                raise TooLargeVideoError(
                    f"{path.name!r}: more than {MOST_PACKETS} packets of video, which is the limit"
                )
    except av.error.FFmpegError:  # a broken tail: what was read before it stands
        if not stamps:
            raise
    if not stamps:
        raise CorruptVideoError(f"{path.name!r}: its video stream holds no packets; the file is cut or damaged")
    if not any(flags):
        flags[0] = True  # some writers set no flag at all; decoding can only begin at the beginning
    given = _presentation(stamps)
    made_up = np.arange(len(stamps), dtype=np.int64) * tick
    return PacketTable(made_up if given is None else given, np.array(flags), given is None)


def _presentation(stamps: list[int | None]) -> NDArray[np.int64] | None:
    """The packets' pts, of which no two are the same; None where they will not do: where any is missing, many are
    repeated, or a clock jumps back, as in a transport stream that was joined."""
    given = np.array([stamp for stamp in stamps if stamp is not None], np.int64)
    jumps = (given[REORDERED + 1 :] < np.maximum.accumulate(given)[: -REORDERED - 1]).any()
    if len(np.unique(given)) < (1 - REPEATED) * len(stamps) or len(given) < len(stamps) or jumps:
        return None
    order, place = np.argsort(given, kind="stable"), np.arange(len(given))
    given[order] = np.maximum.accumulate(given[order] - place) + place  # one that is repeated: a unit later
    return given


def _duration(container: InputContainer, packets: PacketTable, rate: Fraction, time_base: Fraction) -> float:
    if container.duration:
        return float(container.duration / av.time_base)
    span = float((int(packets.pts.max()) - int(packets.pts.min())) * time_base + 1 / rate)
    return span if math.isfinite(span) else 0.0


def _audio(container: InputContainer) -> AudioInfo | None:
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is not None:
            name = context.codec.canonical_name  # the codec's own: FFmpeg's decoder of mp3 is "mp3float"
            return AudioInfo(name, context.sample_rate or 0, context.channels or 0, context.bit_rate or 0)
    return None
