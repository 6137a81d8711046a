"""The one place that opens a video file. FFmpeg may open that file and nothing else, and its errors are mapped here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import av
from av.container import InputContainer
from av.packet import Packet, PacketSideData
from av.stream import Disposition
from av.video.stream import VideoStream

from dfx.errors import CorruptVideoError, MissingInputError, TooLargeVideoError, UnsupportedVideoError
from dfx.info import PacketTable

HEADERS: Final = "new_extradata"  # side data of the first packet that the codec's settings have changed for
STILLS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # how PNG and JPEG begin; FFmpeg takes them for broken videos
SKIM = 2000  # packets that are read past rather than sought past: reading one costs a thousandth of decoding it
BEFORE = 10**6  # units of time from which a seek finds the first packet: to the very first pts it finds a later one
HOP = 100  # the same, of an indexed container, which finds a packet for the price of reading as many
# Demuxers that read one file and follow no reference in it: no concat, hls, dash, sdp, image2, lavfi.
FORMATS = (
    "3g2,3gp,asf,avi,flv,gif,h264,hevc,ivf,m4a,matroska,mj2,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,swf,webm,wtv,"
    "yuv4mpegpipe"
)
OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "file",
    "enable_drefs": "0",
    "ignore_editlist": "1",  # every packet then has its picture, in one order
    "skip_loop_filter": "all",  # of the pictures that FFmpeg decodes to open a file, which nobody sees
}

# For a file that was probed: FFmpeg then decodes no picture to learn of streams that the header describes. It took as
# long as two pictures of a window, for each opening.
UNANALYSED = {"skip_frame": "all", "analyzeduration": "1", "fpsprobesize": "0"}
# Containers whose headers do, and whose every packet has a pts of its own.
INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")

# As players and ffprobe see a file: an mp4 trimmed and shifted by its edit list, a transport stream read past its first
# table of programs.
AS_PLAYED = {"ignore_editlist": "0", "scan_all_pmts": "1"}


@contextmanager
def open_video(
    path: str | Path, pixels: int | None = None, options: dict[str, str] | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and chooses its video stream: the best that is no cover picture.

    pixels: of one picture at most; the decoder refuses larger ones, whatever the header says. options: as `open_file`
    has them.

    Raises:
        MissingInputError: there is no such file. CorruptVideoError: it is empty, cut, no video at all, or of a kind
        that dfx does not open. UnsupportedVideoError: it holds no video stream, or one that FFmpeg has no decoder
        for. TooLargeVideoError: FFmpeg was refused the memory that it asked for.
    """
    bound = {} if pixels is None else {"max_pixels": str(pixels)}  # FFmpeg decodes pictures even to open a file
    with open_file(path, bound | (options or {})) as container:
        stream = _video_stream(container, Path(path))
        stream.codec_context.options = bound
        yield container, stream


@contextmanager
def open_file(path: str | Path, options: dict[str, str]) -> Iterator[InputContainer]:
    """Opens a file for whatever it holds; options: FFmpeg's, beside those that keep it to this file.

    Raises MissingInputError, CorruptVideoError or TooLargeVideoError, as `open_video` does.
    """
    url = f"file:{os.fspath(path)}"
    with mapped(path):
        _check_file(Path(path))
        with av.open(url, options=OPTIONS | options, metadata_errors="replace") as container:
            yield container


@contextmanager
def mapped(path: str | Path) -> Iterator[None]:
    """Maps FFmpeg's errors to dfx's."""
    name = Path(path).name
    try:
        yield
    except av.error.MemoryError as error:
        raise TooLargeVideoError(f"{name!r}: decoding it needs more memory than the limit allows") from error
    except av.error.DecoderNotFoundError as error:
        raise UnsupportedVideoError(f"{name!r}: FFmpeg has no decoder for its codec; convert it to H.264") from error
    except PermissionError as error:
        raise MissingInputError(f"{name!r}: it may not be read ({error.strerror}); change its permissions") from error
    except (av.error.FFmpegError, UnicodeError, OverflowError) as error:
        if _is_still(Path(path)):
            raise UnsupportedVideoError(f"{name!r}: a still picture, whatever its name; videos are scored") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise CorruptVideoError(f"{name!r}: FFmpeg cannot read it ({reason}); check that it plays") from error


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets of the stream from here on, those that hold something.

    A stream that appears only after the file was opened, as a transport stream's may, is none that PyAV knows: it fails
    on the first of its packets, and goes on behind it when asked again.
    """
    while True:
        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
            return
        except IndexError:
            continue


class Reader:
    """The packets of a stream that was just opened, forwards.

    at: index in decode order of the packet that is read next; reorders: whether pictures come in another order than
    their packets, as far as is known before any is decoded.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, table: PacketTable) -> None:
        self._container, self.stream, self._table = container, stream, table
        self._packets, self.at = packets_of(container, stream), 0
        self._skim = HOP if container.format.name in INDEXED else SKIM
        self._seeks = container.format.name != "flv" and not table.made_up  # FLV has new settings between its packets
        self._headers: PacketSideData | None = None  # of packets that were passed over
        self.reorders = bool(stream.codec_context.has_b_frames)

    def between(self, first: int, stop: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """The packets [first, stop) with their index, where `first` is not behind `at`.

        Where the file breaks off, they end; what came before stands.
        """
        stop = min(stop, len(self._table))
        with suppress(av.error.FFmpegError):
            if first - self.at > self._skim and self._seeks:
                self._go_near(first)
            while self.at < stop and (packet := next(self._packets, None)) is not None:
                self.at += 1
                self._note_headers(packet)
                if self.at > first:
                    yield self.at - 1, self._with_headers(packet)

    def _note_headers(self, packet: Packet[VideoStream]) -> None:
        if packet.has_sidedata(HEADERS):
            self._headers = packet.get_sidedata(HEADERS)

    def _with_headers(self, packet: Packet[VideoStream]) -> Packet[VideoStream]:
        """The packet, with the settings that came with one before it which nobody was given."""
        if self._headers is not None and not packet.has_sidedata(HEADERS):
            packet.set_sidedata(self._headers)
        self._headers = None
        return packet

    def _go_near(self, seek: int) -> None:
        """Seeks to a packet that is far away, where its pts tells it from all others; else to the beginning."""
        pts = int(self._table.pts[seek])
        self._container.seek(pts, stream=self.stream)
        first = next(packets_of(self._container, self.stream), None)
        if first is not None:
            self._note_headers(first)
        arrived = first is not None and first.pts == pts
        beginning = min(0, int(self._table.pts.min()) - BEFORE)
        self._container.seek(pts if arrived else beginning, stream=self.stream)
        self._packets, self.at = packets_of(self._container, self.stream), seek if arrived else 0


def _is_still(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(8).startswith(STILLS)
    return False


def _check_file(path: Path) -> None:
    if not path.is_file():
        folder = f"{path} is a folder: name a video in it"
        raise MissingInputError(folder if path.is_dir() else f"no video at {path}: name a file that exists")
    if path.stat().st_size == 0:
        raise CorruptVideoError(f"{path.name!r}: it is empty (0 bytes)")


def moving(container: InputContainer) -> list[VideoStream]:
    """The streams of moving pictures: a cover is none."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    streams = moving(container)
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        raise UnsupportedVideoError(f"{path.name!r}: it holds no video stream, only {kinds or 'nothing'}")
    best = container.streams.best("video")
    chosen = best if isinstance(best, VideoStream) and best in streams else streams[0]
    if chosen.codec_context is None:
        raise UnsupportedVideoError(f"{path.name!r}: FFmpeg has no decoder for its codec; convert it to H.264")
    return chosen
