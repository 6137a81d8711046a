"""From FFmpeg's frame to `Planes`: views on the decoder's buffers where the format allows it, else a conversion."""

from __future__ import annotations

from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace

from dfx.decode.fields import is_combed, one_field
from dfx.values import Planes, Samples, Transfer

DEPTHS = {"": 8, "10le": 10, "12le": 12}
LAYOUTS = ("420p", "422p", "444p", "440p", "411p", "410p")
PLANAR = {
    f"{yuv}{layout}{tail}": depth for yuv in ("yuv", "yuvj") for layout in LAYOUTS for tail, depth in DEPTHS.items()
}
GRAY = {f"gray{tail}": depth for tail, depth in DEPTHS.items()}
MATRICES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}  # ITU-T H.273, table 4


def planes_of(frame: VideoFrame, mirrored: bool = False, transfer: Transfer = Transfer.SDR) -> Planes:
    """The picture's planes, upright, of one moment: of an interlaced picture in which something moves, the upper field.

    mirrored: to be turned over, as its file says. The frame could be asked, but PyAV's `side_data` ties it to itself,
    and its buffers then wait for Python's garbage collection: a worker took twice the memory. transfer: the file's.

    Views on FFmpeg's buffers; copies where a picture is turned, taken apart, or of a format that is not planar YUV.
    """
    if frame.format.name not in PLANAR and frame.format.name not in GRAY and frame.format.name != "nv12":
        frame = _converted(frame)
    name = frame.format.name
    depth = PLANAR.get(name) or GRAY.get(name) or 8
    parts = _split(frame, depth)
    if frame.interlaced_frame and is_combed(parts[0], depth):
        parts = one_field(parts[0]), one_field(parts[1]), one_field(parts[2])
    y, u, v = (_upright(plane, frame.rotation, mirrored) for plane in parts)
    matrix = MATRICES.get(int(frame.colorspace), "unknown")
    full = name.startswith("yuvj") or int(frame.color_range) == ColorRange.JPEG
    return Planes(y, u, v, depth, matrix, full, transfer)


def _split(frame: VideoFrame, depth: int) -> tuple[Samples, Samples, Samples]:
    y = _view(frame.planes[0], depth)
    if frame.format.name in GRAY:
        neutral = cast(Samples, np.full((-(-y.shape[0] // 2), -(-y.shape[1] // 2)), 1 << (depth - 1), y.dtype))
        return y, neutral, neutral
    if frame.format.name == "nv12":
        pairs = _view(frame.planes[1], depth, channels=2)
        u, v = (cast(Samples, np.ascontiguousarray(pairs[:, start::2])) for start in (0, 1))
        return y, u, v
    return y, _view(frame.planes[1], depth), _view(frame.planes[2], depth)


def _view(plane: VideoPlane, depth: int, channels: int = 1) -> Samples:
    """[rows, columns] on FFmpeg's own memory, which the array keeps alive."""
    dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
    rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
    return cast(Samples, rows[:, : plane.width * channels])


def _upright(plane: Samples, counterclockwise: int, mirrored: bool) -> Samples:
    """Turned by the display matrix, whose angle FFmpeg states counterclockwise; turned over before, if it says so."""
    turns = round(counterclockwise / 90) % 4
    if not turns and not mirrored:
        return plane
    return cast(Samples, np.ascontiguousarray(np.rot90(plane[::-1] if mirrored else plane, turns)))


def _converted(frame: VideoFrame) -> VideoFrame:
    """RGB, palettes, packed YUV and the rest, as full-range 4:4:4 by BT.601, which loses least."""
    return frame.reformat(format="yuvj444p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG)
