"""Damages video files in the ways that find bugs: at random, and where a demuxer or a decoder reads a number.

Everything here is a pure function of the bytes and the generator: the same seed gives the same file.

Example:
    mutate(path.read_bytes(), np.random.default_rng(0))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]
Item = TypeVar("Item")
MOST_BYTES = 2**20  # a file does not grow beyond this by what is put into it
DEEPEST = 16  # levels of boxes that are walked


def mutate(data: bytes, rng: Rng, other: bytes = b"") -> bytes:
    """A damaged copy, never the same as `data`. other: a second file, for splices."""
    return mutate_named(data, rng, other)[1]


def mutate_named(data: bytes, rng: Rng, other: bytes = b"") -> tuple[str, bytes]:
    """`mutate`, with the names of what was done: one mutation mostly, up to three."""
    names: list[str] = []
    made, wanted = data, int(rng.choice([1, 1, 1, 2, 3]))
    while len(names) < wanted or made == data:
        mutation = _pick(mutations_for(made, other), rng)
        changed = mutation(made, rng)[:MOST_BYTES]
        if changed != made:
            names.append(mutation.__name__)
            made = changed
    return "+".join(names), made


def mutations_for(data: bytes, other: bytes = b"") -> list[Mutation]:
    """What can be done to these bytes; structure, where there is one, weighs more than chance."""
    plain = [flip_bits, overwrite_bytes, overwrite_field, truncate, drop_chunk, double_chunk, zero_chunk, move_chunk]
    plain.append(append_rubbish)
    if other:
        plain.append(_splice_with(other))
    structure: list[Mutation] = []
    if spans := walk(data):
        structure += [edit_size, edit_kind, drop_span, double_span, edit_word]
        if spans[0].kind in KINDS:
            structure += [wrap_box, edit_count, edit_table, edit_header, change_codec, claim_samples]
    return [*plain, *structure * 2, edit_configuration, bomb_picture, bomb_picture]


# --- Chance ---------------------------------------------------------------------------------------------------------


def flip_bits(data: bytes, rng: Rng) -> bytes:
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 201)) if made else 0):
        made[int(rng.integers(len(made)))] ^= 1 << int(rng.integers(8))
    return bytes(made)


def overwrite_bytes(data: bytes, rng: Rng) -> bytes:
    start, end = _chunk(data, rng, 64)
    return data[:start] + rng.bytes(end - start) + data[end:]


def overwrite_field(data: bytes, rng: Rng) -> bytes:
    return _put(data, int(rng.integers(max(1, len(data)))), _interesting(rng, 4))


def truncate(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def drop_chunk(data: bytes, rng: Rng) -> bytes:
    start, end = _chunk(data, rng)
    return data[:start] + data[end:]


def double_chunk(data: bytes, rng: Rng) -> bytes:
    start, end = _chunk(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 20)) + data[end:]


def zero_chunk(data: bytes, rng: Rng) -> bytes:
    start, end = _chunk(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def move_chunk(data: bytes, rng: Rng) -> bytes:
    start, end = _chunk(data, rng)
    rest = data[:start] + data[end:]
    target = int(rng.integers(len(rest) + 1))
    return rest[:target] + data[start:end] + rest[target:]


def append_rubbish(data: bytes, rng: Rng) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 4096)))


def _splice_with(other: bytes) -> Mutation:
    def splice(data: bytes, rng: Rng) -> bytes:
        return data[: int(rng.integers(len(data) + 1))] + other[int(rng.integers(len(other) + 1)) :]

    return splice


def _chunk(data: bytes, rng: Rng, most: int = 4096) -> tuple[int, int]:
    """Where a random piece starts and ends: short ones as often as long ones."""
    start = int(rng.integers(len(data) + 1))
    return start, min(len(data), start + int(2 ** rng.uniform(0, np.log2(most))))


# --- Any container --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """A box, an EBML element or a RIFF chunk: offsets in the file, and those that it lies in, outermost first."""

    kind: bytes
    kind_at: int
    start: int
    size_at: int
    size_width: int
    body: int
    end: int
    parents: tuple[Span, ...] = ()


def walk(data: bytes) -> list[Span]:
    """Every box, element or chunk of the file, parents first; none where the container is none of the three."""
    if data[:4] == b"RIFF":
        return list(_chunks(data, 0, len(data), ()))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return list(_elements(data, 0, len(data), ()))
    return list(_boxes(data, 0, len(data), ())) if data[4:8] in KINDS else []


def edit_size(data: bytes, rng: Rng) -> bytes:
    span = _pick(walk(data), rng)
    size = span.end - span.start
    if rng.random() < 0.5:
        return _put(data, span.size_at, _interesting(rng, span.size_width))
    near = max(0, size + int(rng.choice([-size, -8, -1, 1, 4, 8, size]))) % 256**span.size_width
    return _put(data, span.size_at, near.to_bytes(span.size_width, _order(data)))


def edit_kind(data: bytes, rng: Rng) -> bytes:
    spans = walk(data)
    span, model = _pick(spans, rng), _pick(spans, rng)
    same = len(model.kind) == len(span.kind) and rng.random() < 0.7
    return _put(data, span.kind_at, model.kind if same else rng.bytes(len(span.kind)))


def drop_span(data: bytes, rng: Rng) -> bytes:
    return _replaced(data, _pick(walk(data), rng), b"", told=rng.random() < 0.7)


def double_span(data: bytes, rng: Rng) -> bytes:
    span = _pick(walk(data), rng)
    copies = int(rng.choice([2, 2, 3, 100]))
    return _replaced(data, span, data[span.start : span.end] * copies, told=rng.random() < 0.7)


def edit_word(data: bytes, rng: Rng) -> bytes:
    """Overwrites numbers near the start of a span's body, where headers have theirs."""
    span = _pick(walk(data), rng)
    return _with_words(data, span.body, min(span.end, span.body + 96), rng)


def _with_words(data: bytes, start: int, end: int, rng: Rng) -> bytes:
    for _ in range(int(rng.integers(1, 4)) if end > start else 0):
        width = int(rng.choice([1, 2, 4, 4, 4, 8]))
        at = start + int(rng.integers(max(1, (end - start) // width))) * width
        data = _put(data, at, _interesting(rng, min(width, end - at)))
    return data


def _replaced(data: bytes, span: Span, content: bytes, *, told: bool) -> bytes:
    """With other bytes for a span. told: the sizes of those that it lies in are kept right."""
    made = data[: span.start] + content + data[span.end :]
    grown = len(content) - (span.end - span.start)
    for parent in span.parents if told else ():
        field = data[parent.size_at : parent.size_at + parent.size_width]
        size = (int.from_bytes(field, _order(data)) + grown) % 256 ** len(field)
        made = _put(made, parent.size_at, size.to_bytes(len(field), _order(data)))
    return made


def _order(data: bytes) -> Literal["little", "big"]:
    return "little" if data[:4] == b"RIFF" else "big"


def _chunks(data: bytes, start: int, end: int, parents: tuple[Span, ...]) -> Iterator[Span]:
    """RIFF, so AVI."""
    while start + 8 <= end and len(parents) < DEEPEST:
        stop = min(end, start + 8 + int.from_bytes(data[start + 4 : start + 8], "little"))
        span = Span(data[start : start + 4], start, start, start + 4, 4, start + 8, stop, parents)
        yield span
        if span.kind in {b"RIFF", b"LIST"}:
            yield from _chunks(data, span.body + 4, stop, (*parents, span))
        start = stop + (stop - span.body) % 2


LONG_MASTERS = ("1A45DFA3", "18538067", "1654AE6B", "1F43B675", "1549A966", "1C53BB6B", "114D9B74", "4DBB")
MASTERS = frozenset(map(bytes.fromhex, (*LONG_MASTERS, "AE", "E0", "BB", "B7", "A0")))


def _elements(data: bytes, start: int, end: int, parents: tuple[Span, ...]) -> Iterator[Span]:
    """EBML, so Matroska and WebM."""
    while start + 2 <= end and len(parents) < DEEPEST:
        size_at = start + _vint_width(data[start])
        if size_at >= end:
            return
        width = _vint_width(data[size_at])
        size = int.from_bytes(data[size_at : size_at + width], "big") & ((1 << 7 * width) - 1)
        unknown = size == (1 << 7 * width) - 1
        stop = end if unknown else min(end, size_at + width + size)
        span = Span(data[start:size_at], start, start, size_at, width, size_at + width, stop, parents)
        yield span
        if span.kind in MASTERS:
            yield from _elements(data, span.body, stop, (*parents, span))
        start = max(stop, span.body)


def _vint_width(first: int) -> int:
    return 9 - first.bit_length() if first else 1


# --- ISO-BMFF: mp4 and mov ------------------------------------------------------------------------------------------

PLAIN = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf")
CONTAINERS = dict.fromkeys(PLAIN, 0) | {b"meta": 4, b"stsd": 8, b"dref": 8}  # bytes before the boxes inside
CODECS = (b"avc1", b"avc3", b"hvc1", b"hev1", b"vp08", b"vp09", b"av01", b"mp4v", b"apcn", b"apch", b"ap4h")
CODECS += (b"jpeg", b"mjpa", b"png ", b"rle ", b"raw ", b"v210", b"SVQ3", b"cvid", b"h263")
VISUAL = 78  # bytes of a visual sample entry before the boxes inside
KINDS = frozenset({*CONTAINERS, b"ftyp", b"mdat", b"free", b"wide", b"skip"})  # that a file may begin with
TABLES = (b"stts", b"ctts", b"stsc", b"stco", b"stss", b"elst", b"stsd", b"dref")
COUNTS = dict.fromkeys(TABLES, 4) | {b"stsz": 8}  # where in the body the number of entries stands
HEADERS = frozenset({b"tkhd", b"mvhd", b"mdhd", b"hdlr"})


def wrap_box(data: bytes, rng: Rng) -> bytes:
    """Puts a box into itself: a head of its own kind around it, many times over."""
    box = _pick(walk(data), rng)
    times, size = int(rng.choice([1, 2, 9, 200, 3000])), box.end - box.start
    heads = (_be32(size + 8 * left) + box.kind for left in range(times, 0, -1))
    return _replaced(data, box, b"".join(heads) + data[box.start : box.end], told=True)


def edit_count(data: bytes, rng: Rng) -> bytes:
    box = _of_kind(data, COUNTS, rng)
    return _put(data, box.body + COUNTS[box.kind], _interesting(rng, 4)) if box else data


def edit_table(data: bytes, rng: Rng) -> bytes:
    box = _of_kind(data, COUNTS, rng)
    return _with_words(data, box.body + COUNTS[box.kind] + 4, box.end, rng) if box else data


def edit_header(data: bytes, rng: Rng) -> bytes:
    """The matrix, the sizes, the time scales and the durations, and which kind of track it is."""
    box = _of_kind(data, HEADERS, rng)
    return _with_words(data, box.body, box.end, rng) if box else data


def change_codec(data: bytes, rng: Rng) -> bytes:
    """Has the packets go to another decoder."""
    box = _of_kind(data, CODECS, rng)
    return _put(data, box.kind_at, _pick(CODECS, rng)) if box else data


def claim_samples(data: bytes, rng: Rng) -> bytes:
    """Small tables that agree with each other on a great many samples."""
    count = 1 << int(rng.integers(10, 32))
    size = int(rng.choice([0, 1, 1, 100]))
    for box in walk(data):
        if box.kind == b"stsz":
            data = _put(data, box.body + 4, _be32(size) + _be32(count))
        if box.kind == b"stts":
            data = _put(data, box.body + 8, _be32(count))
        if box.kind == b"stsc":
            data = _put(data, box.body + 12, _be32(count))
    return data


def _of_kind(data: bytes, kinds: Collection[bytes], rng: Rng) -> Span | None:
    found = [box for box in walk(data) if box.kind in kinds]
    return _pick(found, rng) if found else None


def _boxes(data: bytes, start: int, end: int, parents: tuple[Span, ...]) -> Iterator[Span]:
    while start + 8 <= end and len(parents) < DEEPEST:
        size, body = int.from_bytes(data[start : start + 4], "big"), start + 8
        if size == 1:
            size, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        stop = end if size == 0 else start + size
        if not body <= stop <= end:
            return
        box = Span(data[start + 4 : start + 8], start + 4, start, start, 4, body, stop, parents)
        yield box
        inner = VISUAL if box.kind in CODECS else CONTAINERS.get(box.kind)
        if inner is not None:
            yield from _boxes(data, body + inner, stop, (*parents, box))
        start = stop


# --- Codecs ---------------------------------------------------------------------------------------------------------

CONFIGURATION = re.compile(
    rb"avcC|hvcC|esds|vpcC|strf|icpf|\x63\xa2|\x49\x83\x42|\xe1..\x67|\x00{2}\x01[\x01-\x20\x42\x67\x68\xb0-\xb8]",
    re.DOTALL,
)


def edit_configuration(data: bytes, rng: Rng) -> bytes:
    """Bytes of what sets a decoder up: SPS and PPS, VPS, VOL, sequence and frame headers."""
    places = [match.end() for match in CONFIGURATION.finditer(data)]
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if places else 0):
        at = _pick(places, rng) + int(rng.integers(64))
        if at < len(made):
            made[at] = int(rng.integers(256)) if rng.random() < 0.5 else made[at] ^ 1 << int(rng.integers(8))
    return bytes(made)


def bomb_picture(data: bytes, rng: Rng) -> bytes:
    """Has a header claim a picture of another size, mostly a huge one."""
    places = [(bomb, match.end()) for pattern, bomb in BOMBS for match in re.finditer(pattern, data, re.DOTALL)]
    if not places:
        return data
    bomb, at = _pick(places, rng)
    return bomb(data, at, _side(rng), _side(rng))


def _side(rng: Rng) -> int:
    return int(rng.choice([0, 1, 16, 4096, 8192, 16384, 32768, 65535, int(rng.integers(1, 65536))]))


def _bomb_entry(data: bytes, at: int, width: int, height: int) -> bytes:
    return _put(data, at + 24, _be16(width) + _be16(height))


def _bomb_gif(data: bytes, at: int, width: int, height: int) -> bytes:
    return _put(data, at, width.to_bytes(2, "little") + height.to_bytes(2, "little"))


def _bomb_avi(data: bytes, at: int, width: int, height: int) -> bytes:
    return _put(data, at + 8, width.to_bytes(4, "little") + height.to_bytes(4, "little"))


def _bomb_prores(data: bytes, at: int, width: int, height: int) -> bytes:
    return _put(data, at + 8, _be16(width) + _be16(height))


def _bomb_mpeg2(data: bytes, at: int, width: int, height: int) -> bytes:
    return _put(data, at, (width % 4096 << 12 | height % 4096).to_bytes(3, "big"))


def _bomb_vp9(data: bytes, at: int, width: int, height: int) -> bytes:
    """Profile 0: four bits of colour, then both sides less one."""
    keep, rest = data[at] >> 4, data[at + 4 : at + 5]
    sides = (keep << 32 | (width or 1) - 1 << 16 | (height or 1) - 1) << 4
    return _put(data, at, sides.to_bytes(5, "big")) if rest else data


def _bomb_pixels(data: bytes, at: int, width: int, height: int) -> bytes:
    """Matroska's PixelWidth and PixelHeight, which stand beside each other."""
    for kind, value in ((b"\xb0", width), (b"\xba", height)):
        place = data.find(kind, at, at + 64)
        if place >= 0 and place + 2 < len(data):
            count = max(1, data[place + 1] & 7)
            data = _put(data, place + 2, (value % 256**count).to_bytes(count, "big"))
    return data


def _bomb_h264(data: bytes, at: int, width: int, height: int) -> bytes:
    """Rewrites the SPS that starts at `at`, behind its NAL header (ITU-T H.264, 7.3.2.1.1), in its own length."""
    bits = _Bits(data[at : _end_of_nal(data, at)])
    profile = int(bits.take(8), 2)
    bits.take(16)
    bits.number()
    if profile in {100, 110, 122, 244, 44, 83, 86, 118, 128}:
        bits.take(1 if bits.number() == 3 else 0)
        bits.number(), bits.number()
        if bits.take(2)[-1:] == "1":  # scaling matrices
            return data
    bits.number()
    if bits.number():  # a picture order count of another type than x264 writes
        return data
    bits.number(), bits.number(), bits.take(1)
    return _put(data, at, bits.with_numbers(max(0, width // 16 - 1), max(0, height // 16 - 1)))


def _bomb_hevc(data: bytes, at: int, width: int, height: int) -> bytes:
    """Rewrites the SPS that starts at `at`, behind its NAL header (ITU-T H.265, 7.3.2.2), in its own length."""
    bits = _Bits(data[at : _end_of_nal(data, at)])
    bits.take(8 + 96)
    bits.number()
    bits.take(1 if bits.number() == 3 else 0)
    return _put(data, at, bits.with_numbers(width, height))


class _Bits:
    """A NAL unit's payload as bits, read from the front. What is not there reads as nothing."""

    def __init__(self, payload: bytes) -> None:
        self._length, self._at = len(payload), 0
        self._bits = "".join(f"{byte:08b}" for byte in payload.replace(b"\0\0\3", b"\0\0"))

    def take(self, count: int) -> str:
        self._at += count
        return self._bits[self._at - count : self._at] or "0"

    def number(self) -> int:
        """An Exp-Golomb code."""
        zeros = len(self._bits[self._at :]) - len(self._bits[self._at :].lstrip("0"))
        self._at += zeros
        return int(self.take(zeros + 1), 2) - 1

    def with_numbers(self, *values: int) -> bytes:
        """The payload with other codes where the next ones stand, cut or filled to the length that it had."""
        before = self._bits[: self._at]
        for _ in values:
            self.number()
        codes = (f"{value + 1:b}" for value in values)
        bits = before + "".join("0" * (len(code) - 1) + code for code in codes) + self._bits[self._at :]
        made = bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
        return re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", made)[: self._length].ljust(self._length, b"\x80")


def _end_of_nal(data: bytes, at: int) -> int:
    """The next start code, or where a length of 16 bits before the NAL unit says that it ends."""
    stated = int.from_bytes(data[at - 3 : at - 1], "big")
    following = data.find(b"\0\0\1", at)
    return at + stated - 1 if 8 < stated < 200 else (following if 0 < following - at < 200 else at + 24)


BOMBS: tuple[tuple[bytes, Callable[[bytes, int, int, int], bytes]], ...] = (
    (rb"(?:avc1|hvc1|hev1|apc[nh]|mp4v|vp09)(?=\x00{6})", _bomb_entry),
    (rb"\AGIF8[79]a", _bomb_gif),
    (rb"\x2c(?=\0\0\0\0)", lambda data, at, width, height: _bomb_gif(data, at + 4, width, height)),
    (rb"strf", _bomb_avi),
    (rb"icpf", _bomb_prores),
    (rb"\x00\x00\x01\xb3", _bomb_mpeg2),
    (rb"\x49\x83\x42", _bomb_vp9),
    (rb"\xe0[\x80-\xff](?=\xb0)", _bomb_pixels),
    (rb"(\x00\x00\x01|\xe1..)\x67", _bomb_h264),
    (rb"\x42\x01(?=[\x01-\x07]\x01)", _bomb_hevc),
)

# --- Numbers --------------------------------------------------------------------------------------------------------


def _interesting(rng: Rng, width: int) -> bytes:
    """Numbers that overflow, underflow, or ask for much."""
    top = 256**width
    edges = [0, 1, top - 1, top // 2 - 1, top // 2, 1 << int(rng.integers(8 * width)), int(rng.integers(256))]
    value = _pick(edges, rng) % top
    return value.to_bytes(width, "big" if rng.random() < 0.8 else "little")


def _put(data: bytes, at: int, content: bytes) -> bytes:
    """Overwrites; the length of the file stays."""
    content = content[: max(0, len(data) - at)]
    return data[:at] + content + data[at + len(content) :]


def _be16(value: int) -> bytes:
    return (value % 2**16).to_bytes(2, "big")


def _be32(value: int) -> bytes:
    return (value % 2**32).to_bytes(4, "big")


def _pick(items: Sequence[Item], rng: Rng) -> Item:
    return items[int(rng.integers(len(items)))]
