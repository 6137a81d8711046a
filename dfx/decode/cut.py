"""The planned windows of a video as a small file of its own, for a decoder that would read the whole.

Its packets are copied as they are and numbered anew, one tick a frame, so that no quirk of a container is left: no
edit list, no time before 0, no second stream, no header that states another size than the stream. DALI was seen not to
seek to the keyframe at frame 250 (on an H200 a window there took as long as 266 frames), so only the packets of the
windows are handed on. Should it seek, it finds exactly those packets marked as keyframes where decoding can begin. One
of them comes once more at the end (`Cut.seal`).

A crop that a stream of H.264 or HEVC states is struck out, and left to whoever reads the pictures. DALI keeps NVDEC
sessions to be used again, files them by the size that is shown and looks them up by the size that is coded; where the
two differ it makes one anew for every video, which took 70 ms on an H200, one thread at a time. A full range is written
into a stream of H.264 that says nothing of its range, where the container does: FFmpeg goes by that, and DALI does not.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from dfx.decode.bitstream import Shape, begins_anew, delimited, has_picture, hides_pictures, shapes
from dfx.decode.container import HEADERS, INDEXED, SKIM, Reader, open_video
from dfx.errors import CorruptVideoError, UnsupportedVideoError
from dfx.info import VideoInfo
from dfx.values import Pixels, Window

REPLAY = 500  # packets at most that are decoded for a window that does not begin anew: beyond, the CPU is as fast
LARGEST = 2**31 - 1  # bytes; DALI counts what is left of a file in memory with an int
NO_TAG = "\0\0\0\0"  # the container's own name for a codec, which another container may not know
TICK = Fraction(1, 1000)  # seconds; what Matroska can say
UNCROPPED = "crop_left=0:crop_right=0:crop_top=0:crop_bottom=0"
FULL_RANGE = "video_full_range_flag=1"
Span = tuple[int, int]  # of packets: the first, and one past the last


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Some windows of a video as a file in memory.

    data: uint8 [bytes], an mp4 or Matroska file; shape: of its pictures, whose shown rectangle the file no longer
    states; places: the number in this file, in order of presentation, of each frame of the video that it holds; hides:
    whether packets hold pictures that are not shown; full_range: as of `dfx.values.Planes`; seal: two numbers in this
    file of the very same picture, a keyframe's, the second of them the last of all. A decoder that counts pictures, and
    met another number of them than of packets, shows another one there. None where no keyframe can come in the middle.
    """

    data: Pixels
    shape: Shape
    places: dict[int, int]
    hides: bool
    full_range: bool
    seal: tuple[int, int] | None


def spans(windows: Sequence[Window]) -> list[Span]:
    """The packets that each window of a plan needs: one that goes on where another stopped needs that one's too."""
    found: list[Span] = []
    for window in windows:
        joined = bool(found) and window.seek == found[-1][1]
        found.append((found[-1][0] if joined else window.seek, window.stop))
    return found


def cut(info: VideoInfo, needed: Iterable[Span], pixels: int | None = None) -> Cut:
    """Cuts the packets `needed` (see `spans`) out of a video, and those before them that they cannot do without.

    pixels: of one picture at most, see `dfx.decode.container.open_video`.

    Raises:
        MissingInputError, TooLargeVideoError: see `dfx.decode.container.open_video`. CorruptVideoError: that too, or
        not one of the packets is there. UnsupportedVideoError: packets and pictures cannot be paired for certain, or
        the stream's size is not what the container says.
    """
    with open_video(info.path, pixels) as (container, stream):
        first, *rest = _passes(needed)
        parts = list(_runs(info, container, stream, first))
        for further in rest:
            with open_video(info.path, pixels) as again:
                parts += _runs(info, *again, further)
        runs = [run for part in parts for run in _split(part)]
        if not runs:
            raise CorruptVideoError(f"{info.path.name!r}: not one of its pictures could be decoded")
        packets = list(chain.from_iterable(runs))
        extradata = bytes(stream.codec_context.extradata or b"")
        reordered = bool(stream.codec_context.has_b_frames)
        reason = _unpaired(info, runs, extradata, reordered)
        shape = _shape(info, extradata, packets)
        if reason is not None or shape is None:
            reason = reason or f"its stream does not state pictures of {info.width}x{info.height} alone"
            raise UnsupportedVideoError(f"{info.path.name!r}: {reason}")
        twin = _largest_keyframe(info.codec, packets, extradata)
        sealed = runs if twin is None else [*runs, [_repeated(info.codec, packets[twin], extradata)]]
        numbers, full_range = _numbers(info, sealed), _is_full_range(info.codec, shape, stream)
        change = _change(info.codec, shape, full_range)
        data = _file(info.codec, stream, shape, list(chain.from_iterable(sealed)), _times(sealed, numbers), change)
    frames = info.packets.rank[[packet.index for packet in packets]]
    hides = any(hides_pictures(info.codec, packet.data) for packet in packets)
    places = dict(zip(frames.tolist(), numbers, strict=False))
    return Cut(data, shape, places, hides, full_range, None if twin is None else (numbers[twin], numbers[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class _Packet:
    """A packet's index in the video, in decode order, its own pts, its bytes, and whether decoding can begin there."""

    index: int
    pts: int | None
    data: bytes
    restarts: bool


def _passes(needed: Iterable[Span]) -> list[list[Span]]:
    """Spans in order, those that overlap joined, grouped by which are near enough to be read in one go."""
    passes: list[list[Span]] = []
    for first, stop in sorted(needed):
        if passes and first <= passes[-1][-1][1]:
            before, end = passes[-1].pop()
            passes[-1].append((before, max(stop, end)))
        elif passes and first <= passes[-1][-1][1] + SKIM:
            passes[-1].append((first, stop))
        else:
            passes.append([(first, stop)])
    return passes


def _runs(
    info: VideoInfo, container: InputContainer, stream: VideoStream, needed: Sequence[Span]
) -> Iterator[list[_Packet]]:
    """The packets of the spans that are there, in runs that each begin anew: where a span does not, further back."""
    extradata = bytes(stream.codec_context.extradata or b"")
    run: list[tuple[int, Packet[VideoStream]]] = []
    first, length, ahead = needed[0][0] if needed[0][0] > SKIM else 0, 0, list(needed)
    for index, packet in Reader(container, stream, info.packets).between(first, needed[-1][1]):
        if packet.has_sidedata(HEADERS) and bytes(packet.get_sidedata(HEADERS)) != extradata:
            raise UnsupportedVideoError(f"{info.path.name!r}: its codec's settings change at packet {index}")
        if index >= ahead[0][1]:
            ahead.pop(0)
        start = ahead[0][0]
        candidate = index == start or (index < start and bool(info.packets.keyframe[index]))
        if candidate and begins_anew(info.codec, bytes(packet), extradata, first=index == 0):
            if length:
                yield _copied(info.codec, run[:length], extradata)
            run, length = [], 0
        elif not run and index < start:
            continue
        elif not run or (index == start and start - run[max(0, length - 1)][0] > REPLAY):
            raise UnsupportedVideoError(f"{info.path.name!r}: packet {start} follows no picture that begins anew")
        run.append((index, packet))
        if index >= start:
            length = len(run)
    if length:
        yield _copied(info.codec, run[:length], extradata)


def _copied(codec: str, run: Sequence[tuple[int, Packet[VideoStream]]], extradata: bytes) -> list[_Packet]:
    datas = [bytes(packet) for _, packet in run]
    return [
        _Packet(index, packet.pts, data, begins_anew(codec, data, extradata, first=True))
        for (index, packet), data in zip(run, datas, strict=True)
    ]


def _split(packets: Sequence[_Packet]) -> list[list[_Packet]]:
    """The packets from each to the next where decoding can begin."""
    places = [place for place, packet in enumerate(packets) if packet.restarts or not place]
    return [list(packets[first:stop]) for first, stop in zip(places, [*places[1:], len(packets)], strict=True)]


def _largest_keyframe(codec: str, packets: Sequence[_Packet], extradata: bytes) -> int | None:
    """The place of the keyframe that shows most, since black may be what is in a memory anyway. Not one that begins a
    file alone (HEVC's CRA): elsewhere it goes on counting from the pictures before."""
    starts = [place for place, each in enumerate(packets) if each.restarts]
    keys = [place for place in starts if begins_anew(codec, packets[place].data, extradata, first=False)]
    return max(keys, key=lambda place: len(packets[place].data), default=None)


def _repeated(codec: str, packet: _Packet, extradata: bytes) -> _Packet:
    return replace(packet, data=delimited(codec, packet.data, extradata))


def _unpaired(info: VideoInfo, runs: Sequence[Sequence[_Packet]], extradata: bytes, reordered: bool) -> str | None:
    """Why pictures could not be told by the packets that they came in. reordered: whether the codec has B-frames."""
    packets, pts = list(chain.from_iterable(runs)), info.packets.pts
    made_up = any(packet.pts != pts[packet.index] for packet in packets)
    if reordered and (made_up or (info.container not in INDEXED and bool((np.diff(pts) > 0).all()))):
        return f"{info.container} does not say in which order its frames are shown"
    if not all(has_picture(info.codec, packet.data, extradata) for packet in packets):
        return "it has packets without a sound picture of their own, and DALI pairs a picture with every packet"
    if info.codec == "hevc" and any(_has_leading(info, run) for run in runs):
        return "it has keyframes with leading pictures (an open GOP), which NVDEC may drop and DALI counts"
    return None


def _has_leading(info: VideoInfo, run: Sequence[_Packet]) -> bool:
    """Whether pictures that follow a keyframe in the file are shown before it."""
    pts = info.packets.pts[[packet.index for packet in run]]
    return bool(pts.min() < pts[0])


def _shape(info: VideoInfo, extradata: bytes, packets: Sequence[_Packet]) -> Shape | None:
    """The one shape of all pictures; None where there are several, or where they do not fit the video's size."""
    if info.codec == "mjpeg":
        return Shape(info.width, info.height, 0, 0, info.width, info.height)
    try:
        found = shapes(info.codec, extradata, extradata)
        for packet in packets:
            found |= shapes(info.codec, packet.data, extradata)
    except (EOFError, IndexError):
        return None
    if len(found) != 1:
        return None
    (shape,) = found
    if not shape.left and not shape.top and not shape.is_cropped and info.codec == "h264":
        shape = _by_container(shape, info.width, info.height)
    return shape if (shape.width, shape.height) == (info.width, info.height) else None


def _by_container(shape: Shape, width: int, height: int) -> Shape:
    """Where a stream states no crop, its container may, within the last macroblock: FFmpeg goes by that."""
    if 0 <= shape.coded_width - width < 16 and 0 <= shape.coded_height - height < 16:
        return replace(shape, width=width, height=height)
    return shape


def _numbers(info: VideoInfo, runs: Sequence[Sequence[_Packet]]) -> list[int]:
    """The place of each packet's picture in the order of presentation, run after run."""
    numbers: list[int] = []
    for run in runs:
        pts = info.packets.pts[[packet.index for packet in run]]
        rank = np.argsort(np.argsort(pts, kind="stable"), kind="stable")
        numbers += (rank + len(numbers)).tolist()
    return numbers


def _times(runs: Sequence[Sequence[_Packet]], numbers: Sequence[int]) -> list[tuple[int, int]]:
    """dts and pts of every packet, in ticks: none before 0, no pts before its dts.

    A keyframe's dts comes after the pts of the one before it, so that DALI, which seeks by pts where FFmpeg looks for
    dts, arrives at the keyframe that it means.
    """
    delay = max(place - number for place, number in enumerate(numbers))
    gaps = [gap for gap, run in enumerate(runs) for _ in run]
    return [
        (place + gap * delay, number + (gap + 1) * delay)
        for place, (number, gap) in enumerate(zip(numbers, gaps, strict=True))
    ]


def _is_full_range(codec: str, shape: Shape, stream: VideoStream) -> bool:
    """Of the samples, as FFmpeg takes it: what the stream says, and where H.264 is silent, what the container does."""
    if codec == "h264" and shape.full_range is None:
        return int(stream.codec_context.color_range) == ColorRange.JPEG
    return bool(shape.full_range)


def _change(codec: str, shape: Shape, full_range: bool) -> str | None:
    """The bitstream filter of FFmpeg for what a stream is to say otherwise."""
    words = [UNCROPPED] if shape.is_cropped else []
    words += [FULL_RANGE] if full_range and shape.full_range is None else []
    return f"{codec}_metadata={':'.join(words)}" if words else None


def _file(
    codec: str,
    stream: VideoStream,
    shape: Shape,
    packets: Sequence[_Packet],
    times: Sequence[tuple[int, int]],
    change: str | None,
) -> Pixels:
    """Muxes packets with their dts and pts, through a bitstream filter where there is one."""
    memory, kind = io.BytesIO(), "matroska" if codec == "vp8" else "mp4"
    with av.open(memory, "w", format=kind, options={} if kind == "matroska" else {"use_editlist": "0"}) as target:
        track = target.add_stream_from_template(stream)
        altered = BitStreamFilterContext(change, stream, track) if change else None
        context = track.codec_context
        context.width, context.height, context.codec_tag = shape.coded_width, shape.coded_height, NO_TAG
        track.time_base = TICK
        for packet, (dts, pts) in zip(packets, times, strict=True):
            copy = Packet(packet.data)
            copy.dts, copy.pts, copy.time_base, copy.is_keyframe = dts, pts, TICK, packet.restarts
            for one in altered.filter(copy) if altered else [copy]:
                one.stream = track
                target.mux(one)
    if memory.getbuffer().nbytes > LARGEST:
        raise UnsupportedVideoError(f"{memory.getbuffer().nbytes} bytes of packets; DALI takes up to {LARGEST}")
    return np.frombuffer(memory.getbuffer(), np.uint8)
