"""The GPU's decoder: NVDEC through DALI's dynamic mode, handing on pictures that stay where they were decoded.

DALI gives RGB alone, and makes it of NVDEC's planes otherwise than dfx does, which moves scores
(`benchmarks/simulated.py`). So planes are made of it again (`dfx.ops.unmix`), and what follows sees what it sees on a
CPU.

What of DALI 2.4 belongs to whom (read in its source): the stack of evaluation contexts, the current device and the
evaluation mode are a thread's own. A context has its own CUDA stream, pool of threads and operator, and refuses to be
entered by two threads. The process shares the pool of device memory, whose blocks return in the order of the stream
that they were made on, and a cache of NVDEC sessions behind a lock (see `_Sizes`). The interpreter's lock is free
while DALI decodes.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx.decode import seal
from dfx.decode.bitstream import Shape
from dfx.decode.cut import Cut, Span, cut, spans
from dfx.decode.nvdec import suits
from dfx.errors import (
    CorruptVideoError,
    DependencyError,
    DeviceError,
    DeviceMemoryError,
    DfxError,
    TooLargeVideoError,
    UnsupportedVideoError,
)
from dfx.info import VideoInfo
from dfx.ops import unmix
from dfx.ops.cuda import DeviceArray, Lane
from dfx.origin import install
from dfx.settings import HOST
from dfx.values import Frames, Pixels, Plan, Surface, Window

Piece = tuple[Window, Span]  # and the packets that it needs
CHUNK = 64 * 1920 * 1080 * 3  # bytes of pictures that one call of DALI may bring, beside a seal: 64 of 1080p, 398 MB
HIDDEN = "it has packets with pictures that are not shown, and NVDEC was seen to show them"
KNOWN = "2.4."  # versions whose colours `dfx.ops.unmix` takes back
NEWEST = (99, 0)  # compute capability: the pipeline asks `suits` with the real one, and NVDEC knows its own limits
INSTALL = f"{install('gpu-cu12')} (P100 to H100) or {install('gpu-cu13')} (T4 and newer)"

# What DALI's messages mean, in this order; whatever else it says, the file is at fault.
MEANINGS: tuple[tuple[type[DfxError], str, str], ...] = (
    (TooLargeVideoError, r"out of memory|bad_alloc|OUT_OF_MEMORY|MemoryAllocation", "use smaller windows"),
    (
        DeviceError,
        r"illegal (memory|address|instr)|launch fail|cuInit|nvcuvid|insufficient|CUDA_ERROR_(NO_DEVICE|DEINIT)|CONTEXT",
        "start the process anew, then check nvidia-smi",
    ),
    (
        UnsupportedVideoError,
        r"not supported|Unsupported codec|too (small|large)|bit stream filter|no valid timestamps",
        "the CPU's decoder reads it",
    ),
    (CorruptVideoError, r"", "check that it plays"),
)


def missing(device: int = 0) -> str | None:
    """What keeps DALI from decoding on `device` (a GPU's ordinal or HOST), and how to mend it; None if nothing does.

    It imports DALI, which takes a second.
    """
    try:
        version = _version()
    except DependencyError as error:
        return str(error)
    if device == HOST:
        return None
    if not version.startswith(KNOWN):
        return f"DALI {version} is there, and what is undone here is how DALI {KNOWN}x makes RGB: {INSTALL}"
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return (
            "libnvcuvid.so.1, the video decoder in NVIDIA's driver, is not there: install the whole driver, or start "
            "the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
        )
    return None


def _version() -> str:
    _dynamic()
    return str(sys.modules["nvidia.dali"].__version__)


def _dynamic() -> Any:
    """DALI's dynamic mode; raises DependencyError where it cannot be imported."""
    try:
        with _no_torch():
            from nvidia.dali.experimental import dynamic
    except (ImportError, OSError) as error:
        raise DependencyError(f"DALI cannot be imported ({error}): {INSTALL}") from error
    return dynamic


@contextmanager
def _no_torch() -> Iterator[None]:
    """Keeps torch out of the process: DALI imports it wherever it is installed, for seconds and gigabytes."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # the import system's own word for "not to be had"
    try:
        yield
    finally:
        del sys.modules["torch"]


class DALIDecoder:
    """Decodes the planned windows with DALI. A decoder is for one thread; several threads have one each.

    lane: of the GPU, whose stream DALI works on; None for DALI's CPU variant (VP8, VP9, MJPEG). Work that is put on
    that stream afterwards may read the pictures at once, other streams must wait for it first; their memory returns in
    the order of that stream when the last `Surface` has gone, and the lane must outlive them all.
    pixels: of one picture at most.

    Raises:
        DependencyError: DALI is not installed.
    """

    knows_range = False  # whether NVDEC was seen to tell DALI of full range in streams of VP8 and VP9

    def __init__(self, lane: Lane | None = None, pixels: int | None = None) -> None:
        self._lane, self._pixels, self._capability = lane, pixels, None if lane is None else NEWEST
        self._dynamic = _dynamic()
        self._session: _Session | None = None

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """Yields one `Frames` a window, in order of time, with surfaces for pictures, not yet upright: planes on a GPU,
        and RGB, which FFmpeg makes, from DALI's CPU variant.

        One call of DALI brings as many windows as CHUNK bytes hold (64 frames of 1080p), or one window where that alone
        is larger; a call's memory goes when all of its `Frames` have. DALI is given the packets of those windows alone
        (see `dfx.decode.cut`). Frames past the end of a file that is cut are left out; where a part cannot be decoded,
        the rest stands.

        Raises:
            CorruptVideoError: not one picture of the plan could be decoded. UnsupportedVideoError: the CPU's decoder
            must have it (see `suits`). TooLargeVideoError: beyond `pixels`, or the GPU's memory. MissingInputError:
            there is no such file. DeviceError: the GPU no longer serves this process.
        """
        self._check(info, info.width, info.height)
        said, count = f"{info.path.name!r}: not one of its pictures could be decoded", _Count()
        for pieces in _chunks(plan.windows, info.width * info.height * 3):
            try:  # no loop of our own over the frames, whose variable would keep a window while the next is decoded
                yield from map(count.see, self._read(info, pieces))
            except CorruptVideoError as error:
                said = str(error)  # the error itself would keep all that its traceback sees
        if not count.seen:
            raise CorruptVideoError(said)

    def _check(self, info: VideoInfo, width: int, height: int) -> None:
        """width, height: pixels, of the pictures as they are shown, or as they are coded."""
        name = repr(info.path.name)
        if self._pixels is not None and width * height > self._pixels:
            raise TooLargeVideoError(f"{name}: {width}x{height} pixels; {self._pixels} is the limit")
        reason = suits(replace(info, width=width, height=height), self._capability)
        if reason is not None:
            raise UnsupportedVideoError(f"{name}: {reason}; the CPU's decoder reads it")

    def _read(self, info: VideoInfo, pieces: Sequence[Piece]) -> Iterator[Frames]:
        """The windows of one call; one call each where together they cannot be decoded, or are coded too large."""
        try:
            part = self._cut(info, pieces)
            shape, count = part.shape, sum(window.count for window, _ in pieces)
            if len(pieces) > 1 and shape.coded_width * shape.coded_height * 3 * count > CHUNK:
                raise CorruptVideoError(f"{info.path.name!r}: its windows are larger together than {CHUNK} bytes")
            pictures = self._pictures(info, part, self._decode(info, part, pieces))
        except CorruptVideoError:
            if len(pieces) == 1:
                raise
        else:
            yield from _split(info, part, pieces, pictures)
            return
        for piece in pieces:
            with suppress(CorruptVideoError):
                yield from self._read(info, [piece])

    def _cut(self, info: VideoInfo, pieces: Sequence[Piece]) -> Cut:
        """The windows' packets, where DALI can be trusted with pictures of the size that they are coded as."""
        part = cut(info, [span for _, span in pieces], self._pixels)
        self._check(info, part.shape.coded_width, part.shape.coded_height)
        if self._capability is None:
            return part
        unseen = None if self.knows_range else _unknown_range(info.codec, part)
        reason = HIDDEN if part.hides else unseen or SIZES.clash(info.codec, part.shape)
        if reason:
            raise UnsupportedVideoError(f"{info.path.name!r}: {reason}; the CPU's decoder reads it")
        return part

    def _decode(self, info: VideoInfo, part: Cut, pieces: Sequence[Piece]) -> Any:
        """All frames of the windows that are there, in one tensor, and behind them what seals the file."""
        wanted = [part.places[index] for window, _ in pieces for index in window.frames if index in part.places]
        if not wanted:
            raise CorruptVideoError(f"{info.path.name!r}: not one of its pictures could be decoded")
        if self._lane is None or part.seal is None:
            return self._tensor(info, part, wanted)
        wanted += [number for number in part.seal if number not in wanted]  # in any order: DALI sorts them
        decoded = self._tensor(info, part, wanted)
        if not seal.holds(_rgb(decoded, self._lane), *map(wanted.index, part.seal)):
            raise UnsupportedVideoError(
                f"{info.path.name!r}: NVDEC gives another number of pictures than it has packets, so it is damaged; "
                "the CPU's decoder reads what is sound"
            )
        return decoded

    def _tensor(self, info: VideoInfo, part: Cut, wanted: Sequence[int]) -> Any:
        """One DALI tensor uint8 [wanted, height, width, 3]. wanted: numbers of frames in the file that was cut."""
        session = self._open()
        try:
            decoded = session.decode(part.data, wanted)
        except Exception as error:
            self._session = None  # what an operator holds after an error is unknown
            raise _mapped(info, error) from error
        _check_size(info, decoded, len(wanted), part.shape)
        return decoded

    def _pictures(self, info: VideoInfo, part: Cut, decoded: Any) -> Iterator[Surface]:
        """What is shown of each picture of a tensor of DALI, which on a GPU may go at once: planes take half of it."""
        if self._lane is None:
            places = range(decoded.shape()[0])
            return (rgb_surface(info, part.shape, int(decoded.data_ptr()), place, decoded) for place in places)
        try:
            planes = unmix(_rgb(decoded, self._lane), part.full_range)
        except DeviceMemoryError as error:
            raise TooLargeVideoError(f"{info.path.name!r}: {error}; the CPU's decoder reads it") from error
        self._lane.synchronize()  # so that another stream may have the RGB's memory
        return planar(info, part, planes.pointer, len(planes), self._lane.device, planes)

    def _open(self) -> _Session:
        try:
            self._session = self._session or _Session(self._dynamic, self._lane)
        except Exception as error:
            device = "the CPU" if self._lane is None else f"GPU {self._lane.device}"
            raise DeviceError(f"DALI cannot use {device} ({error}): check nvidia-smi") from error
        return self._session


class _Session:
    """One evaluation context and one operator of DALI."""

    def __init__(self, dynamic: Any, lane: Lane | None) -> None:
        place = dynamic.Device("cpu") if lane is None else dynamic.Device("gpu", lane.device)
        settings = {} if lane is None else {"device_id": lane.device, "cuda_stream": _Stream(lane.stream, lane.device)}
        with place:
            self._context = dynamic.EvalContext(num_threads=1, **settings)
        # The function `decoders.video` reads its caller's source to find constant arguments; the class behind it does
        # not, and keeps one operator. Pinned threads of several decoders would all sit on the first core.
        operator = dynamic.decoders.video._op_class
        with self._context:
            self._operator = operator(max_batch_size=1, device=str(place), pad_mode="none", affine=False)
        self._mode = dynamic.EvalMode.sync_cpu  # on the calling thread; the GPU's work is on the stream on return

    def decode(self, data: Pixels, wanted: Sequence[int]) -> Any:
        """data: uint8 [bytes], a file; gives the storage of a tensor uint8 [wanted, height, width, 3]."""
        with self._context, self._mode:
            return self._operator(data, frames=np.array(wanted, np.int32)).evaluate()._storage


def _rgb(decoded: Any, lane: Lane) -> DeviceArray:
    """A tensor of DALI, which lives as long."""
    return DeviceArray.over(decoded.data_ptr(), decoded.shape(), np.uint8, lane, decoded)


@dataclass(frozen=True, slots=True)
class _Stream:
    """A CUDA stream by the protocol that DALI takes; with its device, else DALI would guess that of the current one."""

    handle: int
    device_id: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle


class _Count:
    """How many pictures went by."""

    def __init__(self) -> None:
        self.seen = 0

    def see(self, frames: Frames) -> Frames:
        """Hands on what it counts."""
        self.seen += len(frames)
        return frames


class _Sizes:
    """The sizes that NVDEC sessions of this process were made for, but those of H.264.

    DALI looks a session up by the size as it is coded, and files it by the size as it is shown, which the session crops
    to (GetDecoder in frames_decoder_gpu.cc). So a video whose coded size is the shown size of an earlier one, 1920x1080
    coded as 1920x1088 after a true 1920x1088, would get a session that crops otherwise, and wrong pictures. What
    `dfx.decode.cut` writes is shown as its stream codes it; NVDEC may still code VP8, VP9 and HEVC in larger blocks.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int]] = set()
        self._lock = Lock()

    def clash(self, codec: str, shape: Shape) -> str | None:
        """Notes the size of a video; says why it must not be decoded by this process, if it must not."""
        if codec == "h264":  # whole macroblocks: shown as it is coded
            return None
        size = (shape.coded_width, shape.coded_height)
        with self._lock:
            for width, height in _coded_sizes(*size) - {size}:
                if (codec, width, height) in self._seen:
                    return f"{size[0]}x{size[1]} after a video of {width}x{height}, which DALI would confuse"
            self._seen.add((codec, *size))
        return None


SIZES = _Sizes()


def _coded_sizes(width: int, height: int) -> set[tuple[int, int]]:
    """The sizes, in pixels, that NVDEC may code pictures of HEVC, VP8 or VP9 as: whole blocks of some size."""
    return {(-(-width // a) * a, -(-height // b) * b) for a in (8, 16, 32, 64) for b in (8, 16, 32, 64)}


def _chunks(windows: Sequence[Window], size: int) -> Iterator[list[Piece]]:
    """Runs of windows whose pictures, of `size` bytes each, fit in CHUNK together."""
    chunk: list[Piece] = []
    for piece in zip(windows, spans(windows), strict=True):
        if chunk and size * sum(window.count for window, _ in [*chunk, piece]) > CHUNK:
            yield chunk
            chunk = []
        chunk.append(piece)
    if chunk:
        yield chunk


def _split(info: VideoInfo, part: Cut, pieces: Sequence[Piece], pictures: Iterator[Surface]) -> Iterator[Frames]:
    """The windows' frames out of the pictures of all; windows of which nothing is there are left out."""
    pts = np.sort(info.packets.pts)
    for window, _ in pieces:
        index: NDArray[np.int64] = np.array([index for index in window.frames if index in part.places], np.int64)
        if not len(index):
            continue
        seconds = (pts[index].astype(np.float64) - float(pts[0])) * float(info.time_base)
        yield Frames(window, index, seconds, tuple(islice(pictures, len(index))))


def rgb_surface(info: VideoInfo, shape: Shape, first: int, place: int, owner: object) -> Surface:
    """Picture `place` of RGB at the address `first` on the host; of it, the rectangle that is shown."""
    row = shape.coded_width * 3
    pointer = first + (place * shape.coded_height + shape.top) * row + shape.left * 3
    return Surface(pointer, shape.width, shape.height, info.rotation, HOST, owner, row)


def planar(info: VideoInfo, part: Cut, first: int, count: int, device: int, owner: object) -> Iterator[Surface]:
    """Pictures whose planes lie one after the other, as of `unmix`; of each, the rectangle that is shown.

    first: address of the first one.
    """
    shape, row = part.shape, part.shape.coded_width
    area, corner = row * shape.coded_height, (shape.top // 2) * (row // 2) + shape.left // 2
    for pointer in range(first, first + count * area * 3 // 2, area * 3 // 2):
        luma, chroma = pointer + shape.top * row + shape.left, pointer + area + corner
        size = shape.width, shape.height, info.rotation, device, owner, row
        yield Surface(luma, *size, (chroma, chroma + area // 4), part.full_range)


def _unknown_range(codec: str, part: Cut) -> str | None:
    if codec not in {"h264", "hevc"} and part.full_range:
        return f"its samples have the full range, and whether NVDEC tells DALI so of {codec} was not seen yet"
    return None


def _mapped(info: VideoInfo, error: Exception) -> Exception:
    """The error of ours that an error of DALI's means."""
    said = f"{error} {error.__cause__ or ''}"
    kind, _, advice = next(entry for entry in MEANINGS if re.search(entry[1], said))
    line = next((line for line in said.splitlines() if line.strip()), type(error).__name__)
    return kind(f"{info.path.name!r}: DALI cannot decode it ({line.strip()}); {advice}")


def _check_size(info: VideoInfo, decoded: Any, count: int, shape: Shape) -> None:
    found, wanted = tuple(decoded.shape()), (count, shape.coded_height, shape.coded_width, 3)
    if found != wanted:
        raise UnsupportedVideoError(f"{info.path.name!r}: DALI gives pictures {found} where {wanted} were asked for")
