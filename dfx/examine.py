"""Examine: the facts of a file and what is unusual in it. From packets alone, no decoding."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfx.decode.container import AS_PLAYED, moving, open_video
from dfx.errors import VideoError
from dfx.facts import Facts
from dfx.files import sha256_of
from dfx.info import VideoInfo
from dfx.probe import info_of
from dfx.settings import Limits
from dfx.values import Transfer

LONGEST_GOP = 250  # frames from one keyframe to the next, x264's default: a shorter clip has but one by right
JITTER = 0.05  # of a frame: by so much may timestamps stray in a video of constant rate
SHORT = 0.05  # share of the stated duration that may lack pictures at the end, where sound goes on


class FactsTask:
    """Looks at one file after the other, in a child process. digest: whether to give the SHA-256 of each."""

    def __init__(self, limits: Limits, digest: bool) -> None:
        self._limits, self._digest = limits, digest

    def __call__(self, path: str) -> dict[str, Any]:
        """The facts of a file and its problems, each a kind, a colon and a sentence."""
        facts, problems = examine(Path(path), self._limits, digest=self._digest)
        return {"facts": facts.to_json(), "problems": problems}


def examine(path: Path, limits: Limits, *, digest: bool) -> tuple[Facts, list[str]]:
    """Looks at one file in this process. What is wrong with it becomes a problem; a missing file raises."""
    known, problems = {}, []
    try:
        with open_video(path, limits.pixels, AS_PLAYED) as (container, stream):
            info = info_of(path, container, stream, limits)
            known = _known(info, container, stream)
            problems = list(_problems(info, container, stream))
    except VideoError as error:
        problems = [f"{error.reason}: {' '.join(str(error).split())}"]
    return Facts(**known, bytes=path.stat().st_size, sha256=sha256_of(path) if digest else None), problems


def _known(info: VideoInfo, container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return {
        "container": info.container,
        "codec": stream.codec_context.codec.canonical_name,  # not its decoder's, as "libdav1d"
        "profile": info.profile or None,
        "pix_fmt": info.pix_fmt or None,
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "display_aspect": Fraction(info.width, info.height) * aspect,
        "rate": stream.base_rate,
        "average_rate": stream.average_rate,
        "variable": _varies(info),
        "frames": info.frames,
        "duration": info.duration,
        "bit_rate": container.bit_rate or None,
        "keyframes": info.keyframes,
        **_audio(info),
    }


def _audio(info: VideoInfo) -> dict[str, Any]:
    if info.audio is None:
        return {}
    names = ("codec", "rate", "channels", "bit_rate")
    return {f"audio_{name}": getattr(info.audio, name) or None for name in names}


def _problems(info: VideoInfo, container: InputContainer, stream: VideoStream) -> Iterator[str]:
    if lack := _lack(info, container, stream):
        yield f"truncated: {lack}"
    if len(streams := moving(container)) > 1:
        known = ", ".join(str(each.index) for each in streams)
        yield f"several video streams: {known}, of which {info.stream} is looked at"
    if _varies(info):
        yield f"variable rate: {_unsteady(_steps(info))}"
    if info.frames == 1:
        yield "one frame: a still picture"
    elif info.frames > LONGEST_GOP and len(info.keyframes) == 1:
        yield f"one keyframe: in {info.frames} frames"
    if info.rotation:
        yield f"rotated: by {info.rotation} degrees"
    if info.width % 2 or info.height % 2:
        yield f"odd size: {info.width}x{info.height}"
    if stream.sample_aspect_ratio not in {None, 0, 1}:
        yield f"pixels not square: {stream.sample_aspect_ratio}"
    if info.interlaced:
        yield "interlaced: a picture's odd and even lines show two moments"
    if info.transfer != Transfer.SDR:
        yield f"HDR: its tones are {info.transfer} (BT.2100), and are seen as those of ordinary video"


def _steps(info: VideoInfo) -> NDArray[np.float64]:
    """Seconds from each frame to the next, in order of presentation."""
    return np.diff(np.sort(info.packets.pts).astype(np.float64)) * float(info.time_base)


def _varies(info: VideoInfo) -> bool:
    """Whether steps differ by more than rounding to the time base. The last is left out: writers make it up."""
    steps = _steps(info)[:-1]
    rounding = 1.001 * float(info.time_base)
    return bool(len(steps)) and float(np.ptp(steps)) > max(rounding, JITTER / float(info.rate))


def _unsteady(steps: NDArray[np.float64]) -> str:
    usual = float(np.median(steps))
    others = int((np.abs(steps - usual) > JITTER * usual).sum())
    low, high = 1000 * steps.min(), 1000 * steps.max()
    return f"{others} of {len(steps)} steps are not of {1000 * usual:.1f} ms, but from {low:.1f} to {high:.1f}"


def _lack(info: VideoInfo, container: InputContainer, stream: VideoStream) -> str:
    """What the header promises and the file does not hold; "" where it is whole, as far as can be told."""
    if stream.frames > info.frames and info.container != "avi":  # which counts packets that hold nothing
        return f"{info.frames} of {stream.frames} frames are there"
    entries = stream.index_entries
    if any(entry.pos + entry.size > info.bytes for entry in entries[-3:]):
        return "the last frame is cut"
    stated = _stated(container, stream)
    end = float(np.ptp(info.packets.pts)) * float(info.time_base) + float(1 / info.rate)
    if stated - end > max(SHORT * stated, 0.5):
        return f"pictures end at {end:.1f} of {stated:.1f} s"
    return ""


def _stated(container: InputContainer, stream: VideoStream) -> float:
    """Seconds that the header states for the video stream, or for the file where it says nothing of streams; or 0."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6
