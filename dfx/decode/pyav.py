"""The CPU decoder: FFmpeg through PyAV, on one thread, handing on the decoder's own planes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import av
import numpy as np
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfx.decode.container import INDEXED, UNANALYSED, Reader, mapped, open_video
from dfx.decode.planes import planes_of
from dfx.errors import CorruptVideoError, TooLargeVideoError
from dfx.info import VideoInfo
from dfx.ops import LARGEST_SIDE
from dfx.values import Frames, Plan, Planes, Window

REPLAY = 1000  # packets at most that are decoded again from the beginning, for a keyframe that turned out to be none
REORDER = 16  # pictures at most that a codec's order of decoding is away from that of presentation: H.264's largest
INTER = (PictureType.P, PictureType.B, PictureType.S)


class PyAVDecoder:
    """Decodes the planned windows on one thread. Stateless: it opens the file anew for every read, and once.

    pixels: of one picture at most; a larger one counts as damage.
    """

    def __init__(self, pixels: int | None = None) -> None:
        self._pixels = pixels

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """Yields one `Frames` a window, in order of time.

        Pictures are views on FFmpeg's own buffers; a window's are freed with its `Frames`. Where the stream breaks off,
        what was decoded before is handed on. Pictures whose pixels are not square are brought to their width; where the
        size changes on the way, they are brought to the first one, as a player does. Where a window begins at a
        keyframe that turns out to be none, the stream is decoded from its beginning, if that is near.

        Raises:
            CorruptVideoError: not one picture of the plan could be decoded.
        """
        found, size, reader = 0, None, None
        with ExitStack() as opened:
            for windows in _passes(plan.windows):
                for begin in _beginnings(windows[0].seek):
                    if reader is None or begin < reader.at:
                        opened.close()
                        reader = opened.enter_context(self._open(info))
                    run = _Pass(info, windows, begin, size, reader)
                    yield from run  # no loop of our own, whose variable would keep a window while the next is decoded
                    found, size = found + run.found, run.size
                    if run.sound:
                        break
        if not found:
            raise CorruptVideoError(f"{info.path.name!r}: not one of its pictures could be decoded")

    @contextmanager
    def _open(self, info: VideoInfo) -> Iterator[Reader]:
        options = UNANALYSED if info.container in INDEXED else {}
        with open_video(info.path, self._pixels, options) as (container, stream), mapped(info.path):
            context = stream.codec_context
            context.thread_count = 1
            context.options |= {"strict": "strict"}  # else H.264's order is guessed from the pictures that come first
            context.flags |= Flags.unaligned  # else FFmpeg leaves columns that the stream crops, for its own speed
            yield Reader(container, stream, info.packets)


def _passes(windows: Sequence[Window]) -> list[list[Window]]:
    """Windows that one run of the decoder serves: each begins where the one before it stopped."""
    passes = [[windows[0]]] if windows else []
    for before, window in pairwise(windows):
        if window.seek == before.stop:
            passes[-1].append(window)
        else:
            passes.append([window])
    return passes


def _beginnings(seek: int) -> list[int]:
    """The packets to begin at, each where the one before it does not serve."""
    return [seek, 0] if 0 < seek <= REPLAY else [seek]


class _Pass:
    """One run of the decoder, from packet `begin` to the end of the last window that it serves.

    size: width and height of the file's pictures; None until one has come. sound: False where packet `begin` turned
    out to be no keyframe; then no window came. found: the pictures that came.
    """

    def __init__(
        self,
        info: VideoInfo,
        windows: Sequence[Window],
        begin: int,
        size: tuple[int, int] | None,
        reader: Reader,
    ) -> None:
        self._info, self._windows, self._begin, self._reader = info, windows, begin, reader
        self._context = reader.stream.codec_context
        self._rank = info.packets.rank
        self._pts = np.sort(info.packets.pts)
        self._frame_of = dict(zip(info.packets.pts.tolist(), self._rank.tolist(), strict=True))
        self._wanted = {index for window in windows for index in window.frames}
        # pts that ascend although the codec reorders only number the packets, as in AVI or a bare stream.
        self._counted = reader.reorders and bool((info.packets.pts == self._pts).all())
        # dav1d hears what to skip at its first packet alone, and would leave out pictures that are wanted later.
        self._skips = not self._counted and self._context.codec.name != "libdav1d"
        self.found, self.size, self.sound = 0, size, True

    def __iter__(self) -> Iterator[Frames]:
        """Yields the windows, each as soon as its last picture has come."""
        waiting = list(self._windows)
        have: dict[int, Planes] = {}
        for index, frame in self._numbered():
            if index in self._wanted:
                have[index] = planes_of(self._sized(frame), self._info.mirrored, self._info.transfer)
                self.found += 1
            while waiting and waiting[0].frames[-1] in have:
                yield self._taken(waiting.pop(0), have)
            if not waiting:
                return
        for window in waiting:
            if have.keys() & set(window.frames):
                yield self._taken(window, have)

    def _taken(self, window: Window, have: dict[int, Planes]) -> Frames:
        """The window's pictures, taken out of what has been decoded."""
        there: NDArray[np.int64] = np.array([index for index in window.frames if index in have], np.int64)
        seconds = (self._pts[there].astype(np.float64) - float(self._pts[0])) * float(self._info.time_base)
        return Frames(window, there, seconds, tuple(have.pop(index) for index in there.tolist()))

    def _numbered(self) -> Iterator[tuple[int, VideoFrame]]:
        """The pictures with their place in the presentation, by their pts or by counting; -1: none is known."""
        for index, frame in enumerate(self._pictures(), self._begin):
            known = -1 if frame.pts is None else self._frame_of.get(frame.pts, -1)
            yield (index if self._counted else known), frame

    def _pictures(self) -> Iterator[VideoFrame]:
        """The pictures from that of packet `begin` on; none where it turns out to be no keyframe."""
        pictures = self._decode()
        if self._begin:
            key = int(self._info.packets.pts[self._begin])
            first = next((frame for frame in pictures if frame.pts == key), None)
            self.sound = first is not None and (bool(first.key_frame) or first.pict_type not in INTER)
            if first is None or not self.sound:
                return
            yield first
        yield from pictures

    def _sized(self, frame: VideoFrame) -> VideoFrame:
        self.size = self.size or (max(1, round(frame.width * self._info.stretch)), frame.height)
        if max(self.size) > LARGEST_SIDE:  # the header had said another size
            width, height = self.size
            raise TooLargeVideoError(
                f"{self._info.path.name!r}: {width}x{height} pixels; {LARGEST_SIDE} a side is the limit"
            )
        if self.size == (frame.width, frame.height):
            return frame
        return frame.reformat(*self.size, interpolation=Interpolation.BICUBIC)

    def _decode(self) -> Iterator[VideoFrame]:
        context = self._context
        context.flush_buffers()  # of the pass before; the pictures that it gave back are written anew
        stop = self._windows[-1].stop + REORDER * self._counted
        for index, packet in self._reader.between(self._begin, stop):
            skipped = self._skips and int(self._rank[index]) not in self._wanted
            context.skip_frame = "NONREF" if skipped else "DEFAULT"
            packet.pts = int(self._info.packets.pts[index])
            yield from _decoded(context, packet)
        yield from _decoded(context, None)


def _decoded(context: VideoCodecContext, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
    """The pictures that a packet (None: the end) brings out; none where it is damaged."""
    try:
        return [frame for frame in context.decode(packet) if isinstance(frame, VideoFrame)]
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        return []
