"""What a decoder must know of packets before it decodes them: where it can begin, and which rectangle is shown.

From the headers of H.264 (ITU-T H.264, 7.3), HEVC (ITU-T H.265, 7.3), VP8 (RFC 6386, 9.1) and VP9 (the VP9 bitstream
specification, 6.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

H264_SLICES, H264_IDR, H264_SPS = (1, 5), 5, 7  # of data partitions, the Extended profile's, there are none
HEVC_RESTARTS, HEVC_CRA, HEVC_SPS = range(16, 21), 21, 33  # restarts: BLA and IDR pictures
HEVC_SLICES, HEVC_RANDOM_ACCESS = range(32), range(16, 24)
DELIMITER = b"\x09\xf0"  # of H.264, before a picture of any kind
SLICE_HEAD = 12  # bytes of a slice that hold what is read of its header
H264_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # profile_idc
ANY_ASPECT, SRGB = 255, 7  # aspect_ratio_idc of H.264 and HEVC, color_space of VP9
VP9_FRAME = 0b10  # frame_marker
SUPERFRAME = 0b110  # the head of its marker
SAMPLES_A_CHROMA = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}  # luma samples across and down, by chroma_format_idc


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of pictures as they are coded, and the rectangle of them that is shown, in pixels.

    full_range: of their samples, see `dfx.values.Planes`; None where the stream does not say.
    """

    coded_width: int
    coded_height: int
    left: int
    top: int
    width: int
    height: int
    full_range: bool | None = None

    @property
    def is_cropped(self) -> bool:
        return (self.coded_width, self.coded_height) != (self.width, self.height)


class Bits:
    """Reads bits, the highest first; raises EOFError beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        self._left -= count
        if self._left < 0:
            raise EOFError("a header ends too soon")
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb code, ue(v); the signed ones, se(v), are as long."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)


def begins_anew(codec: str, data: bytes, extradata: bytes, *, first: bool) -> bool:
    """Whether a packet's picture, and all that follow it, need nothing that came before.

    first: no packet stands before it in the file. A container's flag is no proof: it also marks pictures after which
    a decoder merely recovers, and some files lie.
    """
    if codec == "h264":
        return any(unit[0] & 0x1F == H264_IDR for unit in units(data, _length_size(codec, extradata)))
    if codec == "hevc":
        kinds = {unit[0] >> 1 & 0x3F for unit in units(data, _length_size(codec, extradata))}
        return any(kind in HEVC_RESTARTS or (first and kind == HEVC_CRA) for kind in kinds)
    if codec == "vp8":
        return not data[0] & 1
    if codec == "vp9":
        return not data[0] & 0x0C  # neither a frame shown again nor one that refers to others; profiles 0 to 2
    return codec == "mjpeg"


def has_picture(codec: str, data: bytes, extradata: bytes) -> bool:
    """Whether a packet is of one picture that is shown: False where it decodes to nothing, only shows again what was
    decoded before, has several, or is visibly damaged."""
    if codec in {"h264", "hevc"}:
        return _has_one(codec, data, _length_size(codec, extradata))
    if codec == "vp8":
        return bool(data and data[0] & 0x10)
    return codec != "vp9" or bool(data and _shows_one(data))


def _shows_one(data: bytes) -> bool:
    """Whether a packet of VP9 has a frame, not one that is shown again, nor one alone that is not shown."""
    sound, again, shown = data[0] >> 6 == VP9_FRAME, data[0] & 0x08, data[0] & 0x02
    return sound and not again and bool(shown or hides_pictures("vp9", data))


def _has_one(codec: str, data: bytes, length_size: int) -> bool:
    """Whether NAL units fill a packet, and the slices among them are those of one picture."""
    try:
        begun = [_begins_picture(codec, unit) for unit in units(data, length_size) if _is_slice(codec, unit)]
    except EOFError:
        return False
    return sum(begun) == 1 and (not length_size or _is_filled(data, length_size))


def _is_filled(data: bytes, length_size: int) -> bool:
    """Whether NAL units behind their lengths end where the packet does."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + length_size], "big")
        place += length_size + size if size else len(data) + 1
    return place == len(data)


def _is_slice(codec: str, unit: bytes) -> bool:
    """Of a picture that is shown: those of a second view, as of spatial videos, lie in HEVC's further layers."""
    if codec == "h264":
        return unit[0] & 0x1F in H264_SLICES
    return unit[0] >> 1 & 0x3F in HEVC_SLICES and not int.from_bytes(unit[:2], "big") & 0x1F8


def _begins_picture(codec: str, unit: bytes) -> bool:
    """Whether a slice is the first of its picture; raises EOFError where its header is damaged."""
    bits = Bits(unit[:SLICE_HEAD].replace(b"\0\0\3", b"\0\0"))
    first, sound = _h264_slice(bits) if codec == "h264" else _hevc_slice(bits)
    if not sound:
        raise EOFError("a slice's header is damaged")
    return first


def _h264_slice(bits: Bits) -> tuple[bool, bool]:
    """The beginning of slice_header, 7.3.3: whether the picture's first macroblock is in it, and whether it may be
    true: slice_type and pic_parameter_set_id have a largest value."""
    forbidden, first = bits.read(8) >> 7, not bits.golomb()
    return first, not forbidden and bits.golomb() <= 9 and bits.golomb() <= 255


def _hevc_slice(bits: Bits) -> tuple[bool, bool]:
    """The beginning of slice_segment_header, 7.3.6.1, likewise."""
    head, first = bits.read(16), bool(bits.read(1))
    if head >> 9 & 0x3F in HEVC_RANDOM_ACCESS:
        bits.read(1)
    return first, not head >> 15 and bool(head & 7) and bits.golomb() <= 63


def delimited(codec: str, data: bytes, extradata: bytes) -> bytes:
    """A packet that is not taken for a part of the one before: H.264's keyframes may look like the one before them, and
    so get an access unit delimiter (7.4.1.2.3) where they have none."""
    if codec != "h264":
        return data
    size = _length_size(codec, extradata)
    if next(units(data, size), b"")[:1] == DELIMITER[:1]:
        return data
    return (len(DELIMITER).to_bytes(size, "big") if size else b"\0\0\0\1") + DELIMITER + data


def hides_pictures(codec: str, data: bytes) -> bool:
    """Whether a packet holds pictures besides the one that is shown: a superframe of VP9 (its annex B)."""
    marker = data[-1] if codec == "vp9" else 0
    index = 2 + ((marker & 7) + 1) * ((marker >> 3 & 3) + 1)  # bytes, with a marker at both ends
    return marker >> 5 == SUPERFRAME and marker & 7 > 0 and len(data) > index and data[-index] == marker


def shapes(codec: str, data: bytes, extradata: bytes) -> set[Shape]:
    """The shapes that the headers in a packet of H.264, HEVC, VP8 or VP9 state: none, one, or several.

    data: a packet, or the extradata itself. Raises EOFError for a header that is cut.
    """
    if codec in {"h264", "hevc"}:
        kind, shape = (H264_SPS, _h264_shape) if codec == "h264" else (HEVC_SPS, _hevc_shape)
        sets = _sets(codec, extradata) if data is extradata else units(data, _length_size(codec, extradata))
        found = (unit for unit in sets if (unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F) == kind)
        return {shape(unit.replace(b"\0\0\3", b"\0\0")) for unit in found}  # without the emulation prevention bytes
    if data is extradata or not begins_anew(codec, data, extradata, first=False):
        return set()
    if codec == "vp8":
        width, height = (int.from_bytes(data[place : place + 2], "little") & 0x3FFF for place in (6, 8))
        return {Shape(width, height, 0, 0, width, height)}
    return {_vp9_shape(data)} if codec == "vp9" else set()


def units(data: bytes, length_size: int) -> Iterator[bytes]:
    """The NAL units in a packet: behind their lengths, or (length_size 0) behind start codes."""
    if not length_size:
        yield from (unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:] if unit.rstrip(b"\0"))
        return
    place = 0
    while place + length_size < len(data):
        size = int.from_bytes(data[place : place + length_size], "big")
        place += length_size
        if size:
            yield data[place : place + size]
        place += size


def _length_size(codec: str, extradata: bytes) -> int:
    """Bytes of a NAL unit's length, from avcC or hvcC (ISO/IEC 14496-15); 0 where units have start codes."""
    if not _has_record(codec, extradata):
        return 0
    return (extradata[4 if codec == "h264" else 21] & 3) + 1


def _has_record(codec: str, extradata: bytes) -> bool:
    return len(extradata) > (6 if codec == "h264" else 22) and extradata[:3] not in {b"\0\0\0", b"\0\0\1"}


def _sets(codec: str, extradata: bytes) -> Iterator[bytes]:
    """The parameter sets in extradata."""
    if not _has_record(codec, extradata):
        yield from units(extradata, 0)
        return
    lists, place = (1, 5) if codec == "h264" else (extradata[22], 23)
    for _ in range(lists):  # avcC: the sequence parameter sets come first, and suffice
        count = extradata[place] & 0x1F if codec == "h264" else int.from_bytes(extradata[place + 1 : place + 3], "big")
        place += 1 if codec == "h264" else 3
        for _ in range(count):
            size = int.from_bytes(extradata[place : place + 2], "big")
            if unit := extradata[place + 2 : place + 2 + size]:
                yield unit
            place += 2 + size


def _h264_shape(unit: bytes) -> Shape:
    """seq_parameter_set_data, 7.3.2.1.1."""
    bits, chroma = Bits(unit[1:]), 1
    profile = bits.read(24) >> 16
    bits.golomb()
    if profile in H264_WITH_CHROMA:
        chroma = bits.golomb()
        _skip_h264_formats(bits, chroma)
    bits.golomb()
    _skip_order(bits)
    bits.golomb()
    bits.read(1)
    across, down = bits.golomb() + 1, bits.golomb() + 1
    fields = 1 if bits.read(1) else 2
    bits.read(1 if fields == 1 else 2)
    x, y = SAMPLES_A_CHROMA[chroma & 3]
    shape = _cropped(bits, 16 * across, 16 * down * fields, x, y * fields)
    return replace(shape, full_range=_full_range(bits))


def _full_range(bits: Bits) -> bool | None:
    """Whether there is vui_parameters, and what stands there (H.264, E.1.1; the same in H.265, E.2.1)."""
    if not bits.read(1):
        return None
    if bits.read(1) and bits.read(8) == ANY_ASPECT:
        bits.read(32)
    if bits.read(1):  # overscan
        bits.read(1)
    return bool(bits.read(4) & 1) if bits.read(1) else None


def _skip_h264_formats(bits: Bits, chroma: int) -> None:
    bits.read(1 if chroma == 3 else 0)
    bits.golomb(), bits.golomb(), bits.read(1)
    if not bits.read(1):
        return
    for matrix in range(12 if chroma == 3 else 8):
        if bits.read(1):
            _skip_scaling(bits, 16 if matrix < 6 else 64)


def _skip_scaling(bits: Bits, count: int) -> None:
    last = step = 8
    for _ in range(count):
        if step:
            code = bits.golomb()
            step = (last + (-(code // 2) if code % 2 == 0 else code // 2 + 1)) % 256
        last = step or last


def _skip_order(bits: Bits) -> None:
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.read(1), bits.golomb(), bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()


def _hevc_shape(unit: bytes) -> Shape:
    """seq_parameter_set_rbsp, 7.3.2.2.1."""
    bits = Bits(unit[2:])
    layers = bits.read(8) >> 1 & 7
    bits.read(96)  # profile, tier and level
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    bits.read(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.golomb()
    chroma = bits.golomb()
    bits.read(1 if chroma == 3 else 0)
    width, height = bits.golomb(), bits.golomb()
    shape = _cropped(bits, width, height, *SAMPLES_A_CHROMA[chroma & 3])
    _skip_hevc_tools(bits, layers)
    return replace(shape, full_range=_full_range(bits))


def _skip_hevc_tools(bits: Bits, layers: int) -> None:
    """What stands between the size and vui_parameters."""
    bits.golomb(), bits.golomb()
    order = bits.golomb() + 4  # bits of a picture's number
    for _ in range(layers + 1 if bits.read(1) else 1):
        bits.golomb(), bits.golomb(), bits.golomb()
    for _ in range(6):
        bits.golomb()
    if bits.read(1) and bits.read(1):
        _skip_hevc_scaling(bits)
    bits.read(2)
    if bits.read(1):  # PCM
        bits.read(8), bits.golomb(), bits.golomb(), bits.read(1)
    sets: list[list[int]] = []
    for _ in range(bits.golomb()):
        sets.append(_references(bits, sets))
    if bits.read(1):  # long-term references
        bits.read(bits.golomb() * (order + 1))
    bits.read(2)


def _skip_hevc_scaling(bits: Bits) -> None:
    """scaling_list_data, 7.3.4."""
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            codes = min(64, 1 << 4 + 2 * size) + (size > 1) if bits.read(1) else 1
            for _ in range(codes):
                bits.golomb()


def _references(bits: Bits, before: list[list[int]]) -> list[int]:
    """st_ref_pic_set, 7.3.7: distances to the pictures that are referred to, first those shown earlier, near to far."""
    if before and bits.read(1):
        sign = bits.read(1)
        shift = (bits.golomb() + 1) * (1 - 2 * sign)
        found = [place + shift for place in [*before[-1], 0] if bits.read(1) or bits.read(1)]
    else:
        earlier, later = bits.golomb(), bits.golomb()
        found = [-step for step in _steps(bits, earlier)] + _steps(bits, later)
    return sorted((place for place in found if place < 0), reverse=True) + sorted(place for place in found if place > 0)


def _steps(bits: Bits, count: int) -> list[int]:
    """Distances, each by how much further it is than the one before, with a flag."""
    place, found = 0, []
    for _ in range(count):
        place += bits.golomb() + 1
        bits.read(1)
        found.append(place)
    return found


def _cropped(bits: Bits, width: int, height: int, x: int, y: int) -> Shape:
    """The rest of it: whether there is a window, and its distances from the edges in units of x and y pixels."""
    left, right, top, bottom = (bits.golomb() for _ in range(4)) if bits.read(1) else (0, 0, 0, 0)
    return Shape(width, height, left * x, top * y, width - (left + right) * x, height - (top + bottom) * y)


def _vp9_shape(data: bytes) -> Shape:
    """uncompressed_header of a keyframe."""
    bits = Bits(data[:16])
    kind = bits.read(8) >> 4
    profile = (kind >> 1 & 1) | (kind & 1) << 1
    bits.read(24 + (profile >= 2))
    space = bits.read(3)
    full_range = space == SRGB or bool(bits.read(1))
    bits.read((1 if space == SRGB else 3) * (profile & 1))
    width, height = bits.read(16) + 1, bits.read(16) + 1
    return Shape(width, height, 0, 0, width, height, full_range)
