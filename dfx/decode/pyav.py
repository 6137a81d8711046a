"""The CPU decoder: FFmpeg through PyAV, on one thread, handing on the decoder's own planes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dfx.decode.container import mapped, open_video
from dfx.decode.planes import planes_of
from dfx.errors import CorruptVideoError
from dfx.values import Frames, Plan, Planes, VideoInfo, Window

SKIM = 2000  # packets that are read past rather than sought past: reading one costs a thousandth of decoding it


class PyAVDecoder:
    """Decodes the planned windows on one thread. Stateless: it opens the file anew for every read.

    pixels: of one picture at most; a larger one counts as damage.
    """

    def __init__(self, pixels: int | None = None) -> None:
        self._pixels = pixels

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """Yields one `Frames` a window, in order of time.

        Pictures are views on FFmpeg's own buffers; a window's are freed with its `Frames`. Where the stream breaks off,
        what was decoded before is handed on.

        Raises:
            CorruptVideoError: not one picture of the plan could be decoded.
        """
        found = 0
        for windows in _passes(plan.windows):
            with open_video(info.path, self._pixels) as (container, stream), mapped(info.path):
                run = _Pass(info, windows, container, stream)
                yield from run  # no loop of our own, whose variable would keep a window while the next is decoded
                found += run.found
        if not found:
            raise CorruptVideoError(f"{info.path.name!r}: not one of its pictures could be decoded")


def _passes(windows: Sequence[Window]) -> list[list[Window]]:
    """Windows that one run of the decoder serves: each begins where the one before it stopped."""
    passes = [[windows[0]]] if windows else []
    for before, window in pairwise(windows):
        if window.seek == before.stop:
            passes[-1].append(window)
        else:
            passes.append([window])
    return passes


class _Pass:
    """One run of the decoder, from a keyframe to the end of the last window that it serves."""

    def __init__(
        self, info: VideoInfo, windows: Sequence[Window], container: InputContainer, stream: VideoStream
    ) -> None:
        self._info, self._windows = info, windows
        self._container, self._stream = container, stream
        self._rank = info.packets.rank
        self._frame_of = dict(zip(info.packets.pts.tolist(), self._rank.tolist(), strict=True))
        self._wanted = {index for window in windows for index in window.frames}
        self.found = 0

    def __iter__(self) -> Iterator[Frames]:
        """Yields the windows, each as soon as its last picture has come."""
        waiting = list(self._windows)
        have: dict[int, tuple[float, Planes]] = {}
        for frame in self._decode():
            index = self._frame_of.get(frame.pts if frame.pts is not None else -1)
            if index in self._wanted:
                have[index] = (self._seconds(frame.pts), planes_of(frame))
                self.found += 1
            while waiting and waiting[0].frames[-1] in have:
                yield _taken(waiting.pop(0), have)
        for window in waiting:
            if have.keys() & set(window.frames):
                yield _taken(window, have)

    def _decode(self) -> Iterator[VideoFrame]:
        context = self._stream.codec_context
        context.thread_count = 1
        for index, packet in self._packets(self._windows[0].seek, self._windows[-1].stop):
            wanted = int(self._rank[index]) in self._wanted
            context.skip_frame = "DEFAULT" if wanted else "NONREF"
            packet.pts = int(self._info.packets.pts[index])
            yield from _decoded(context, packet)
        yield from _decoded(context, None)

    def _packets(self, seek: int, stop: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """The packets [seek, stop) of the stream, with their index in decode order."""
        index = self._go_near(seek)
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:
                    continue
                if index >= seek:
                    yield index, packet
                index += 1
                if index >= stop:
                    return
        except av.error.FFmpegError:  # the file breaks off here; what came before stands
            return

    def _go_near(self, seek: int) -> int:
        """Seeks to a packet that is far away, where its pts tells it from all others; returns where reading begins."""
        if seek <= SKIM:
            return 0
        pts = int(self._info.packets.pts[seek])
        self._container.seek(pts, stream=self._stream)
        first = next((packet for packet in self._container.demux(self._stream) if packet.size), None)
        arrived = first is not None and first.pts == pts
        self._container.seek(pts if arrived else 0, stream=self._stream)
        return seek if arrived else 0

    def _seconds(self, pts: int | None) -> float:
        start = int(self._info.packets.pts.min())
        return float(((pts or 0) - start) * self._info.time_base)


def _decoded(context: VideoCodecContext, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
    """The pictures that a packet (None: the end) brings out; none where it is damaged."""
    try:
        return [frame for frame in context.decode(packet) if isinstance(frame, VideoFrame)]
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        return []


def _taken(window: Window, have: dict[int, tuple[float, Planes]]) -> Frames:
    """The window's pictures, taken out of what has been decoded."""
    there = [index for index in window.frames if index in have]
    items = [have.pop(index) for index in there]
    indices: NDArray[np.int64] = np.array(there, np.int64)
    return Frames(window, indices, np.array([item[0] for item in items]), tuple(item[1] for item in items))
