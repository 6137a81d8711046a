"""The GPU's decoder: NVDEC through DALI's dynamic mode, handing on pictures that stay where they were decoded.

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
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx.decode.memory import contents
from dfx.decode.nvdec import suits
from dfx.errors import (
    CorruptVideoError,
    DependencyError,
    DeviceError,
    DfxError,
    InputError,
    TooLargeVideoError,
    UnsupportedVideoError,
)
from dfx.values import HOST, Frames, Pixels, Plan, Surface, VideoInfo, Window

CHUNK = 64 * 1920 * 1080 * 3  # bytes of pictures that one call of DALI may bring: 64 frames of 1080p, 398 MB
NEWEST = (99, 0)  # compute capability: the pipeline asks `suits` with the real one, and NVDEC knows its own limits
INSTALL = 'pip install "dfx[gpu-cu12]" (P100 to H100) or pip install "dfx[gpu-cu13]" (T4 and newer)'

# What DALI's messages mean, in this order; whatever else it says, the file is at fault.
BOUNDS = re.compile(r"out-of-bounds frame index.*\[0, (\d+)\)", re.DOTALL)
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
        _dynamic()
    except DependencyError as error:
        return str(error)
    try:
        if device != HOST:
            ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return (
            "libnvcuvid.so.1, the video decoder in NVIDIA's driver, is not there: install the whole driver, or start "
            "the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
        )
    return None


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

    device: ordinal of a GPU, or HOST for DALI's CPU variant (VP8, VP9, MJPEG).
    stream: the caller's CUDA stream, a CUstream as an int (0: the legacy default stream), which DALI works on. Work
    that is put on that stream afterwards may read the pictures at once, other streams must wait for it first; their
    memory returns in the order of that stream when the last `Surface` has gone, and the stream must outlive them all.
    pixels: of one picture at most.

    Raises:
        DependencyError: DALI is not installed.
    """

    def __init__(self, device: int = HOST, stream: int = 0, pixels: int | None = None) -> None:
        if device < HOST:
            raise InputError(f"device {device}: give a GPU's ordinal, or {HOST} for the CPU")
        self._device, self._stream, self._pixels = device, stream, pixels
        self._dynamic = _dynamic()
        self._session: _Session | None = None

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """Yields one `Frames` a window, in order of time, with surfaces for pictures, not yet upright.

        One call of DALI brings as many windows as CHUNK bytes hold (64 frames of 1080p), or one window where that alone
        is larger; a call's memory goes when all of its `Frames` have. The file is read whole, and no other one is
        opened. Frames past the end of a file that is cut are left out; where a part cannot be decoded, the rest stands.

        Raises:
            CorruptVideoError: not one picture of the plan could be decoded. UnsupportedVideoError: the CPU's decoder
            must have it (see `suits`). TooLargeVideoError: beyond `pixels`, or the GPU's memory. MissingInputError:
            there is no such file. DeviceError: the GPU no longer serves this process.
        """
        self._check(info)
        work, said = _Work(info, contents(info)), f"{info.path.name!r}: not one of its pictures could be decoded"
        for windows in _chunks(plan.windows, info.width * info.height * 3):
            try:
                yield from self._read(work, windows)
            except CorruptVideoError as error:
                said = str(error)  # the error itself would keep all that its traceback sees
        if not work.found:
            raise CorruptVideoError(said)

    def _check(self, info: VideoInfo) -> None:
        name = repr(info.path.name)
        if self._pixels is not None and info.width * info.height > self._pixels:
            raise TooLargeVideoError(f"{name}: {info.width}x{info.height} pixels; {self._pixels} is the limit")
        reason = suits(info, None if self._device == HOST else NEWEST)
        if reason is None and self._device != HOST:
            reason = SIZES.clash(info)
        if reason is not None:
            raise UnsupportedVideoError(f"{name}: {reason}; the CPU's decoder reads it")

    def _read(self, work: _Work, windows: Sequence[Window]) -> Iterator[Frames]:
        """The windows of one call; one call each where together they cannot be decoded."""
        try:
            decoded = self._decode(work, windows)
        except CorruptVideoError:
            if len(windows) == 1:
                raise
        else:
            yield from _split(work, windows, decoded, self._device)
            return
        for window in windows:
            with suppress(CorruptVideoError):
                yield from self._read(work, [window])

    def _decode(self, work: _Work, windows: Sequence[Window]) -> Any:
        """One DALI tensor uint8 [frames, height, width, 3] of all frames of the windows that are there."""
        try:
            return self._call(work, windows)
        except _PastEndError as error:
            work.frames = min(work.frames, error.frames)
            return self._call(work, windows)

    def _call(self, work: _Work, windows: Sequence[Window]) -> Any:
        wanted = [index for window in windows for index in work.there(window)]
        if not wanted:
            return None
        session = self._open()
        try:
            decoded = session.decode(work.data, wanted)
        except Exception as error:
            self._session = None  # what an operator holds after an error is unknown
            raise _mapped(work.info, error) from error
        _check_shape(work.info, decoded, len(wanted))
        return decoded

    def _open(self) -> _Session:
        try:
            self._session = self._session or _Session(self._dynamic, self._device, self._stream)
        except Exception as error:
            raise DeviceError(f"DALI cannot use device {self._device} ({error}): check nvidia-smi") from error
        return self._session


class _Session:
    """One evaluation context and one operator of DALI."""

    def __init__(self, dynamic: Any, device: int, stream: int) -> None:
        place = dynamic.Device("cpu") if device == HOST else dynamic.Device("gpu", device)
        settings = {} if device == HOST else {"device_id": device, "cuda_stream": _Stream(stream, device)}
        with place:
            self._context = dynamic.EvalContext(num_threads=1, **settings)
        # The function `decoders.video` reads its caller's source to find constant arguments; the class behind it does
        # not, and keeps one operator. Pinned threads of several decoders would all sit on the first core.
        operator = dynamic.decoders.video._op_class
        with self._context:
            self._operator = operator(max_batch_size=1, device=str(place), pad_mode="none", affine=False)
        self._mode = dynamic.EvalMode.sync_cpu  # on the calling thread; the GPU's work is on the stream on return

    def decode(self, data: Pixels, wanted: Sequence[int]) -> Any:
        """data: uint8 [bytes], a whole file; gives the storage of a tensor uint8 [wanted, height, width, 3]."""
        with self._context, self._mode:
            return self._operator(data, frames=np.array(wanted, np.int32)).evaluate()._storage


@dataclass(frozen=True, slots=True)
class _Stream:
    """A CUDA stream by the protocol that DALI takes; with its device, else DALI would guess that of the current one."""

    handle: int
    device_id: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle


@dataclass(slots=True)
class _Work:
    """One video: its file's bytes, how many frames it has as far as is known, how many pictures came."""

    info: VideoInfo
    data: Pixels
    frames: int = field(init=False)
    found: int = 0

    def __post_init__(self) -> None:
        self.frames = self.info.frames

    def there(self, window: Window) -> list[int]:
        """The window's frames that the file has."""
        return [index for index in window.frames if index < self.frames]


class _Sizes:
    """The sizes that NVDEC sessions of this process were made for.

    DALI looks a session up by the size as it is coded, and files it by the size as it is shown, which the session crops
    to (GetDecoder in frames_decoder_gpu.cc). So a video whose coded size is the shown size of an earlier one, 1920x1080
    coded as 1920x1088 after a true 1920x1088, would get a session that crops otherwise, and wrong pictures.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int]] = set()
        self._lock = Lock()

    def clash(self, info: VideoInfo) -> str | None:
        """Notes the size of a video; says why it must not be decoded by this process, if it must not."""
        size = (info.width, info.height)
        with self._lock:
            for width, height in _coded_sizes(info) - {size}:
                if (info.codec, width, height) in self._seen:
                    return f"{size[0]}x{size[1]} after a video of {width}x{height}, which DALI would confuse"
            self._seen.add((info.codec, *size))
        return None


SIZES = _Sizes()


def _coded_sizes(info: VideoInfo) -> set[tuple[int, int]]:
    """The sizes, in pixels, that a video's pictures may be coded as: whole macroblocks (or pairs), or larger blocks."""
    across, down = ((16,), (16, 32)) if info.codec == "h264" else ((8, 16, 32, 64),) * 2
    return {(-(-info.width // a) * a, -(-info.height // b) * b) for a in across for b in down}


def _chunks(windows: Sequence[Window], size: int) -> Iterator[list[Window]]:
    """Runs of windows whose pictures, of `size` bytes each, fit in CHUNK together."""
    chunk: list[Window] = []
    for window in windows:
        if chunk and size * sum(one.count for one in [*chunk, window]) > CHUNK:
            yield chunk
            chunk = []
        chunk.append(window)
    if chunk:
        yield chunk


def _split(work: _Work, windows: Sequence[Window], decoded: Any, device: int) -> Iterator[Frames]:
    """The windows' frames out of the tensor of all; windows of which nothing is there are left out."""
    pts, place = np.sort(work.info.packets.pts), 0
    for window in windows:
        index: NDArray[np.int64] = np.array(work.there(window), np.int64)
        if not len(index):
            continue
        seconds = (pts[index].astype(np.float64) - float(pts[0])) * float(work.info.time_base)
        places = range(place, place + len(index))
        work.found, place = work.found + len(index), place + len(index)
        yield Frames(window, index, seconds, tuple(_surface(work.info, decoded, at, device) for at in places))


def _surface(info: VideoInfo, decoded: Any, place: int, device: int) -> Surface:
    pointer = int(decoded.data_ptr()) + place * info.width * info.height * 3
    return Surface(pointer, info.width, info.height, info.rotation, device, decoded)


class _PastEndError(CorruptVideoError):
    """DALI finds fewer frames in a file than were asked for."""

    def __init__(self, name: str, frames: int) -> None:
        super().__init__(f"{name!r}: it ends after {frames} frames")
        self.frames = frames


def _mapped(info: VideoInfo, error: Exception) -> Exception:
    """The error of ours that an error of DALI's means."""
    said = f"{error} {error.__cause__ or ''}"
    if bounds := BOUNDS.search(said):
        return _PastEndError(info.path.name, int(bounds[1]))
    kind, _, advice = next(entry for entry in MEANINGS if re.search(entry[1], said))
    line = next((line for line in said.splitlines() if line.strip()), type(error).__name__)
    return kind(f"{info.path.name!r}: DALI cannot decode it ({line.strip()}); {advice}")


def _check_shape(info: VideoInfo, decoded: Any, count: int) -> None:
    shape, wanted = tuple(decoded.shape()), (count, info.height, info.width, 3)
    if shape != wanted:
        raise UnsupportedVideoError(f"{info.path.name!r}: DALI gives pictures {shape} where {wanted} were asked for")
