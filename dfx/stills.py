"""Pictures: a decoded picture or a face crop, at its full size, as the bytes of a PNG or JPEG file.

Colours follow the stream's tags. A stream without them is taken for BT.709 from 720 rows on and for BT.601 below, as
players do; HDR is BT.2020's. FFmpeg does the conversion and the compression.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from dfx.colour import as_sdr
from dfx.errors import InputError
from dfx.ops.geometry import subsampling
from dfx.values import Pixels, Planes, Samples, Transfer

FORMATS = ("png", "jpg")
HD_ROWS = 720  # of the upright picture's shorter side, from which on untagged video is BT.709
BEST_JPEG = 2  # FFmpeg's quantiser scale: 2 is the finest, 31 the coarsest
LAYOUTS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
MATRICES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def encoded(picture: VideoFrame, kind: str) -> bytes:
    """An RGB picture as a file: "png" without loss, or "jpg" of 4:4:4 chroma at FFmpeg's finest quantiser."""
    if kind == "png":
        return _encoded(_encoder("png", picture, "rgb24"), picture)
    if kind != "jpg":
        raise InputError(f"the format is {kind!r}; one of {', '.join(FORMATS)} is needed")
    full = picture.reformat(format="yuvj444p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG)
    encoder = _encoder("mjpeg", picture, "yuvj444p")
    encoder.qmin = encoder.qmax = BEST_JPEG
    return _encoded(encoder, full)


def from_crop(crop: Pixels) -> VideoFrame:
    """A crop uint8 [3, S, S], RGB, as a picture; its numbers are not touched."""
    return VideoFrame.from_ndarray(np.ascontiguousarray(crop.transpose(1, 2, 0)), format="rgb24")


def from_planes(planes: Planes) -> VideoFrame:
    """A decoded picture in RGB, by the matrix and the range of its tags; of HDR, in the tones of ordinary video."""
    frame = VideoFrame(planes.width, planes.height, _format(planes))
    for plane, samples in zip(frame.planes, (planes.y, planes.u, planes.v), strict=True):
        _fill(plane, samples)
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=_matrix(planes),
        src_color_range=ColorRange.JPEG if planes.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
        threads=1,
    )
    if planes.transfer == Transfer.SDR:
        return rgb
    return from_crop(as_sdr(np.asarray(rgb.to_ndarray().transpose(2, 0, 1), np.uint8), planes.transfer))


def _format(planes: Planes) -> str:
    rows, columns = planes.u.shape
    ratios = subsampling(planes.width, columns), subsampling(planes.height, rows)
    deep = "" if planes.depth == 8 else f"{planes.depth}le"
    return f"yuv{LAYOUTS[ratios]}p{deep}"


def _matrix(planes: Planes) -> Colorspace:
    guess = Colorspace.ITU709 if min(planes.width, planes.height) >= HD_ROWS else Colorspace.ITU601
    return MATRICES.get(planes.matrix, guess if planes.transfer == Transfer.SDR else Colorspace.BT2020)


def _fill(plane: VideoPlane, samples: Samples) -> None:
    rows = np.frombuffer(memoryview(plane), samples.dtype).reshape(plane.height, -1)
    rows[:, : plane.width] = samples


def _encoder(codec: str, picture: VideoFrame, pix_fmt: str) -> VideoCodecContext:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, pix_fmt
    encoder.time_base, encoder.thread_count = Fraction(1), 1
    return encoder


def _encoded(encoder: VideoCodecContext, picture: VideoFrame) -> bytes:
    picture.pts = None  # a file of one picture has no time
    return b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))
