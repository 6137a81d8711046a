"""How far the colours of what a GPU decodes are from the CPU's: a part of `benchmarks/gpu.py`."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from apart import Figures
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from gpu_rates import work_of
from numpy.typing import NDArray

from dfx import ops
from dfx.decode.dali import DALIDecoder
from dfx.decode.pyav import PyAVDecoder
from dfx.demo import SAMPLES
from dfx.errors import DfxError
from dfx.ops import cuda

STILLS = (
    ("libx264", "yuv420p"),
    ("libx264", "yuvj420p"),
    ("libx265", "yuv420p"),
    ("libx265", "yuvj420p"),
    ("libx265", "yuv420p10le"),
    ("libvpx-vp9", "yuv420p"),
    ("libvpx-vp9", "yuvj420p"),
)
FINE = {"crf": "10", "x265-params": "log-level=none", "lag-in-frames": "0"}  # no pictures that VP9 does not show


def colours(work: Path) -> Figures:
    """A still portrait in several codecs, depths and ranges: each channel on the GPU as a line over that on the CPU.

    A slope of 1, an offset of 0 and a small rest mean that the two agree; what else comes out says what differs.
    VP9 of full range, which the decoder leaves to the CPU while nobody has seen it, is shown to NVDEC all the same.
    """
    asked = {f"{codec} {pix_fmt}": _colours(work, codec, pix_fmt) for codec, pix_fmt in STILLS}
    return {f"{name} {channel}": found for name, channels in asked.items() for channel, found in channels.items()}


def _colours(work: Path, codec: str, pix_fmt: str) -> Figures:
    path = _still(work / f"{codec}_{pix_fmt}.mp4", codec, pix_fmt)
    info, chosen = work_of(path)
    with cuda.Lane(0) as lane:
        try:
            frames = next(iter(_Unbound(lane).read(info, chosen)))
        except DfxError as error:
            return {"error": f"{type(error).__name__}: {error}"}
        theirs = np.asarray(ops.letterbox(frames.pictures[:1], info.height, info.width))[0].astype(np.float64)
    planes = next(iter(PyAVDecoder().read(info, chosen))).pictures[:1]
    ours = np.asarray(ops.letterbox(planes, info.height, info.width))[0].astype(np.float64)
    return {channel: _line(ours[place].ravel(), theirs[place].ravel()) for place, channel in enumerate("rgb")}


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> Figures:
    slope, offset = np.polyfit(x, y, 1)
    rest = float(np.abs(y - slope * x - offset).mean())
    return {"slope": float(slope), "offset": float(offset), "rest": rest, "apart": float(np.abs(y - x).mean())}


class _Unbound(DALIDecoder):
    """Decodes what is sound, whether or not NVDEC was seen to tell its range."""

    knows_range = True


def _still(path: Path, codec: str, pix_fmt: str) -> Path:
    with av.open(str(SAMPLES / "real.mp4")) as sample:
        frame = next(sample.decode(video=0)).reformat(format=pix_fmt)
    if pix_fmt.startswith("yuvj"):  # which not every encoder takes by that name
        frame = VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")
        frame.color_range = ColorRange.JPEG
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=FINE)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        if pix_fmt.startswith("yuvj"):
            stream.codec_context.color_range = ColorRange.JPEG
        for number in range(20):
            frame.pts, frame.pict_type = number, PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
