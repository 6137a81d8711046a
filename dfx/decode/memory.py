"""A video file as bytes for a demuxer that is not ours, mended so that it gives every packet, in the same order."""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from dfx.decode.rotation import boxes, is_video
from dfx.errors import CorruptVideoError, MissingInputError, UnsupportedVideoError
from dfx.values import Pixels, VideoInfo


def contents(info: VideoInfo) -> Pixels:
    """The file, uint8 [bytes]; an mp4's edit lists are struck out, as `dfx.decode.container` ignores them.

    Raises:
        MissingInputError: there is no such file. CorruptVideoError: it is empty. UnsupportedVideoError: an mp4 with
        several video tracks, of which another demuxer may choose another, or whose header states another size than its
        stream: NVDEC would go by the stream and DALI by the header.
    """
    try:
        with info.path.open("rb") as file:
            data: Pixels = np.fromfile(file, np.uint8)
            if info.container.startswith("mov"):
                _mend(file, data, info)
    except FileNotFoundError as error:
        raise MissingInputError(f"no video at {info.path}: name a file that exists") from error
    if not len(data):
        raise CorruptVideoError(f"{info.path.name!r}: it is empty (0 bytes)")
    return data


def _mend(file: BinaryIO, data: Pixels, info: VideoInfo) -> None:
    name = repr(info.path.name)
    tracks = _video_tracks(file, len(data))
    if len(tracks) != 1:
        raise UnsupportedVideoError(f"{name}: {len(tracks)} video tracks; DALI is sure of one only")
    if (stated := _stated_size(file, *tracks[0])) != (info.width, info.height):
        raise UnsupportedVideoError(f"{name}: {stated} pixels by its header, {info.width}x{info.height} by its stream")
    for kind, start, _ in boxes(file, *tracks[0]):
        if kind == b"edts":
            _strike_out(data, start)


def _strike_out(data: Pixels, start: int) -> None:
    """Renames the box whose payload begins at `start`; its name stands before that, or before a 64-bit size."""
    for place in (start - 4, start - 12):
        if data[place : place + 4].tobytes() == b"edts":
            data[place : place + 4] = np.frombuffer(b"free", np.uint8)
            return


def _video_tracks(file: BinaryIO, size: int) -> list[tuple[int, int]]:
    """Where the payloads of the movie's video tracks begin and end."""
    return [
        (inner, stop)
        for movie, start, end in boxes(file, 0, size)
        if movie == b"moov"
        for track, inner, stop in boxes(file, start, end)
        if track == b"trak" and is_video(file, inner, stop)
    ]


def _stated_size(file: BinaryIO, start: int, end: int) -> tuple[int, int] | None:
    """Width and height in a track's first sample entry (ISO/IEC 14496-12, 12.1.3); None where it has none."""
    for name in (b"mdia", b"minf", b"stbl", b"stsd"):
        inside = next(((first, last) for kind, first, last in boxes(file, start, end) if kind == name), None)
        if inside is None:
            return None
        start, end = inside
    for _, entry, _ in boxes(file, start + 8, end):
        file.seek(entry + 24)
        width, height = struct.unpack(">HH", file.read(4).rjust(4, b"\0"))
        return width, height
    return None
