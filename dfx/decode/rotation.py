"""How a picture is to be turned: from the headers of an mp4, mov or Matroska file, without a picture decoded."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dfx.decode import matroska

EBML = b"\x1a\x45\xdf\xa3"  # how a Matroska file begins
LARGEST_HEADER = 64 * 2**20  # bytes of `moov`, or of a Matroska file, that are looked at


def orientation(path: Path) -> tuple[int, bool]:
    """Degrees clockwise that make the picture upright, 0, 90, 180 or 270, and whether it is turned over before that.

    0 and False where the container has no such header.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) == EBML:
            return matroska.orientation(file, min(size, LARGEST_HEADER))
        for kind, start, end in boxes(file, 0, size):
            if kind == b"moov" and end - start <= LARGEST_HEADER:
                return _of_movie(file, start, end)
    return 0, False


def _of_movie(file: BinaryIO, start: int, end: int) -> tuple[int, bool]:
    for kind, inner, stop in boxes(file, start, end):
        if kind == b"trak" and is_video(file, inner, stop):
            for header, first, _ in boxes(file, inner, stop):
                if header == b"tkhd":
                    return _of_track(file, first)
    return 0, False


def is_video(file: BinaryIO, start: int, end: int) -> bool:
    """Whether the `trak` box with this payload holds a video."""
    for kind, inner, stop in boxes(file, start, end):
        if kind == b"mdia":
            for handler, first, _ in boxes(file, inner, stop):
                if handler == b"hdlr":
                    file.seek(first + 8)
                    return file.read(4) == b"vide"
    return False


def _of_track(file: BinaryIO, start: int) -> tuple[int, bool]:
    """The matrix of `tkhd` (ISO/IEC 14496-12, 8.3.2): a, b, u and c, d, v, its rows, 16.16 fixed point."""
    file.seek(start)
    version = file.read(1)
    file.seek(start + (52 if version == b"\x01" else 40))
    data = file.read(20)
    if len(data) < 20:
        return 0, False
    a, b, _, c, d = struct.unpack(">5i", data)
    return round(math.degrees(math.atan2(b, a)) / 90) % 4 * 90, a * d < b * c


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two offsets: kind, start of the payload, end."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, payload = int.from_bytes(head[:4], "big"), start + 8
        if size == 1:
            size, payload = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if size == 0 else start + size
        if stop < payload or stop > end:
            return
        yield head[4:8], payload, stop
        start = stop
