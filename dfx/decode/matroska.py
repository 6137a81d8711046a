"""How a picture is to be turned, from the track header of a Matroska or WebM file (RFC 9559, Projection)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import BinaryIO

SEGMENT, TRACKS, ENTRY, VIDEO, PROJECTION = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x7670
WAY = (SEGMENT, TRACKS, ENTRY, VIDEO, PROJECTION)
YAW, ROLL = 0x7673, 0x7675  # degrees
CLUSTER = 0x1F43B675  # where the packets begin
Element = tuple[int, int, int]


def orientation(file: BinaryIO, size: int) -> tuple[int, bool]:
    """Degrees clockwise that make the picture upright, and whether it is turned over before that, as FFmpeg has it."""
    angles = dict.fromkeys((YAW, ROLL), 0.0)
    for kind, start, end in _below(file, WAY, 0, size):
        if kind in angles:
            angles[kind] = _real(file, start, end)
    flipped = abs(round(angles[YAW])) == 180  # left to right, which is top to bottom and half a turn
    return round((180 * flipped - angles[ROLL]) / 90) % 4 * 90, flipped


def _below(file: BinaryIO, way: tuple[int, ...], start: int, end: int) -> Iterator[Element]:
    """The elements within those on the way down."""
    for kind, first, stop in _elements(file, start, end):
        if not way:
            yield kind, first, stop
        elif kind == way[0]:
            yield from _below(file, way[1:], first, stop)
        elif kind == CLUSTER:
            return


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[Element]:
    """The elements between two offsets: kind, start of the payload, end. One of unknown size goes on to the end."""
    while start < end:
        file.seek(start)
        head = file.read(12)
        length = _length(head)
        size = _length(head[length:])
        if not length or not size or len(head) < length + size:
            return
        mask = (1 << 7 * size) - 1
        payload = start + length + size
        count = int.from_bytes(head[length : length + size], "big") & mask
        stop = end if count == mask else min(end, payload + count)
        yield int.from_bytes(head[:length], "big"), payload, stop
        start = stop


def _length(head: bytes) -> int:
    """Bytes of the number that stands there (RFC 8794, 4.1); 0 where none does."""
    return 9 - head[0].bit_length() if head and head[0] else 0


def _real(file: BinaryIO, start: int, end: int) -> float:
    kind = {4: ">f", 8: ">d"}.get(end - start)
    if kind is None:  # not one that a writer meant, and maybe as long as the file
        return 0.0
    file.seek(start)
    number = float(struct.unpack(kind, file.read(end - start))[0])
    return number if math.isfinite(number) else 0.0
