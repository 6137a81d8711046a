"""The pixel work on a GPU: letterbox, crop and the decoding of faces, on pictures that are there already.

Needs NVIDIA's driver (libcuda.so.1), and NVRTC unless machine code is embedded; neither is looked for before a GPU is
asked for. Everything runs on the stream of a `Lane`, in order, and nothing but `numpy()` and `decode_faces` waits.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dfx.errors import DependencyError, DeviceError, InputError
from dfx.ops import compiler, host
from dfx.ops.checks import (
    check_counts,
    check_matrices,
    check_outputs,
    check_rgb,
    check_surfaces,
    count_anchors,
    kernels,
)
from dfx.values import Faces, Surface

CAPACITY = 1024
"""Candidates a picture that the GPU sorts out; pictures with more are decoded on the host."""

KEPT_TABLES = 64

_loading = threading.Lock()
_local = threading.local()


def device_count() -> int:
    """How many GPUs there are; raises DeviceError where there is no driver, or it sees none."""
    count = int(kernels().gpu_count())
    if not count:
        raise DeviceError("NVIDIA's driver is here, but sees no GPU: see `nvidia-smi`, and CUDA_VISIBLE_DEVICES")
    return count


def device_name(device: int) -> str:
    """The GPU's name, as its driver has it."""
    return str(kernels().gpu_name(device))


def compute_capability(device: int) -> tuple[int, int]:
    """The GPU's architecture: (6, 0) is a P100's, (9, 0) an H100's."""
    major, minor = kernels().gpu_compute_capability(device)
    return int(major), int(minor)


def memory(device: int) -> int:
    """Bytes of memory that the GPU has, used or not."""
    return int(kernels().gpu_memory(device))


def missing() -> str | None:
    """Why the kernels cannot serve here, with the mend; None where there is a GPU, and machine code for each."""
    try:
        for device in range(device_count()):
            compiler.image(compute_capability(device))
    except (DeviceError, DependencyError) as error:
        return str(error)
    return None


class Lane:
    """One stream of one GPU, with the kernels loaded. As a context manager, the one that this thread works on.

    device: ordinal of the GPU; stream: its CUstream, as a number.

    Raises:
        DeviceError: no driver, no such GPU, or no machine code for it.
    """

    def __init__(self, device: int) -> None:
        _load(device)
        self.device = device
        self.queue = kernels().Stream(device)
        self.stream = int(self.queue.handle)
        self._tables: dict[tuple[object, ...], tuple[Any, _Memory]] = {}
        self._guard = threading.Lock()

    def synchronize(self) -> None:
        """Waits until all that was queued has ended; raises DeviceError where some of it failed."""
        self.queue.synchronize()

    def wait_for(self, stream: int) -> None:
        """Has what is queued from now on wait for what stands on another CUstream of the GPU; 0 is the default one."""
        self.queue.wait_for(stream)

    def __enter__(self) -> Lane:
        _lanes().append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        lanes = _lanes()
        del lanes[len(lanes) - 1 - lanes[::-1].index(self)]

    def table(self, key: tuple[object, ...], make: Callable[[], tuple[Any, ArrayLike]]) -> tuple[Any, _Memory]:
        """What `make` gives, with its array copied to the GPU, kept for the next time."""
        with self._guard:
            if key not in self._tables:
                value, array = make()
                if len(self._tables) == KEPT_TABLES:
                    del self._tables[next(iter(self._tables))]
                self._tables[key] = value, _uploaded(np.ascontiguousarray(array), self)
            return self._tables[key]


class DeviceArray:
    """A contiguous array in a GPU's memory, freed in the order of its lane's stream when nothing refers to it.

    pointer: its address; owner: what keeps the memory alive.
    """

    def __init__(self, pointer: int, shape: tuple[int, ...], dtype: DTypeLike, lane: Lane, owner: object) -> None:
        self.pointer, self.shape, self.dtype = pointer, shape, np.dtype(dtype)
        self.lane, self.owner = lane, owner

    @classmethod
    def over(
        cls, pointer: int, shape: tuple[int, ...], dtype: DTypeLike, lane: Lane, owner: object = None
    ) -> DeviceArray:
        """Memory of another library, which `owner` keeps alive."""
        return cls(pointer, tuple(map(int, shape)), dtype, lane, owner)

    @property
    def device(self) -> int:
        return self.lane.device

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype} {list(self.shape)} on GPU {self.device})"

    def numpy(self) -> NDArray[Any]:
        """Waits for the lane's stream, and copies the array to the host; raises DeviceError where its work failed."""
        out = np.empty(self.shape, self.dtype)
        self.lane.queue.download(out, self.pointer)
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array on a GPU comes to the host as a copy only")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def reshape(self, shape: tuple[int, ...]) -> DeviceArray:
        """The same memory in another shape; raises InputError where it has not as many numbers."""
        if math.prod(shape) != math.prod(self.shape):
            raise InputError(f"{self} cannot be {list(shape)}: as many numbers are needed")
        return DeviceArray(self.pointer, shape, self.dtype, self.lane, self.owner)

    def fill(self, source: DeviceArray | NDArray[Any]) -> None:
        """Copies an array into this one's memory, on the lane's stream; waits only where it comes from the host.

        Raises:
            InputError: it has another shape or other numbers, or is on another GPU.
        """
        elsewhere = isinstance(source, DeviceArray) and source.device != self.device
        if elsewhere or (source.shape, source.dtype) != (self.shape, self.dtype):
            raise InputError(f"{self} cannot be filled from {source!r:.80}: the same shape and numbers are needed")
        if isinstance(source, DeviceArray):
            self.lane.queue.copy(self.pointer, source.pointer, self.nbytes)
        else:
            self.lane.queue.upload(self.pointer, np.ascontiguousarray(source))

    def copy(self) -> DeviceArray:
        """The same numbers in memory of their own, copied on the lane's stream."""
        twin = empty(self.shape, self.dtype, self.lane)
        twin.fill(self)
        return twin

    def row(self, index: int) -> DeviceArray:
        """Row `index` of the first axis, as an array with that axis of length 1, in the same memory."""
        step = self.nbytes // self.shape[0]
        return DeviceArray(self.pointer + index * step, (1, *self.shape[1:]), self.dtype, self.lane, self.owner)


class _Memory:
    """A piece of a GPU's memory, freed with this object: by the stream, after all that it was given before."""

    __slots__ = ("pointer", "queue")

    def __init__(self, queue: Any, nbytes: int) -> None:
        self.queue = queue
        self.pointer = int(queue.allocate(nbytes))

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self.queue.release(self.pointer)


def current() -> Lane:
    """The lane that this thread works on; raises DeviceError outside of every `with lane:`."""
    lanes = _lanes()
    if not lanes:
        raise DeviceError("no lane of a GPU is current in this thread: work on a GPU goes inside `with Lane(device):`")
    return lanes[-1]


def empty(shape: tuple[int, ...], dtype: DTypeLike, lane: Lane | None = None) -> DeviceArray:
    """An array on the lane's GPU (the current one's where none is given), with whatever the memory holds."""
    lane = lane or current()
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    piece = _Memory(lane.queue, nbytes)
    return DeviceArray(piece.pointer, tuple(shape), dtype, lane, piece)


def upload(array: ArrayLike, lane: Lane | None = None) -> DeviceArray:
    """A copy on the lane's GPU (the current one's where none is given) of an array of numbers; waits for it."""
    lane, values = lane or current(), np.ascontiguousarray(array)
    piece = _uploaded(values, lane)
    return DeviceArray(piece.pointer, values.shape, values.dtype, lane, piece)


def letterbox(pictures: Sequence[Surface], height: int, width: int, *, dtype: DTypeLike = np.uint8) -> DeviceArray:
    """As `dfx.ops.letterbox`, on the current lane: uint8 or float16 [N, 3, height, width], 0 to 255.

    It is queued and not waited for: the pictures must stay until the stream has come so far.

    Raises:
        InputError: no pictures, pictures elsewhere than on the lane's GPU, a size out of range.
        DeviceError: no lane is current, or the GPU cannot serve.
    """
    lane = current()
    check_counts(pictures, 1, height=height, width=width)
    code, surfaces = host.pixel_code(dtype), check_surfaces(pictures, lane.device)
    tables = [_letterbox_table(lane, picture.width, picture.height, width, height) for picture in pictures]
    plans, places = [plan for plan, _ in tables], [piece.pointer for _, piece in tables]
    out = empty((len(pictures), 3, height, width), dtype, lane)
    kernels().letterbox_surfaces(surfaces, plans, places, out.pointer, height, width, code, lane.queue, 1)
    return out


def crop(pictures: Sequence[Surface], matrices: ArrayLike, size: int, *, dtype: DTypeLike = np.uint8) -> DeviceArray:
    """As `dfx.ops.crop`, on the current lane: uint8 or float16 [N, 3, size, size], 0 to 255.

    It is queued and not waited for: the pictures must stay until the stream has come so far.

    Raises:
        InputError: no pictures, pictures elsewhere than on the lane's GPU, matrices of another shape or not finite, a
            size out of range.
        DeviceError: no lane is current, or the GPU cannot serve.
    """
    lane = current()
    check_counts(pictures, 1, size=size)
    code, surfaces = host.pixel_code(dtype), check_surfaces(pictures, lane.device)
    maps = check_matrices(matrices, len(pictures))
    out = empty((len(pictures), 3, size, size), dtype, lane)
    kernels().crop_surfaces(surfaces, maps, out.pointer, size, code, lane.queue, 1)
    return out


def unmix(pictures: DeviceArray, full_range: bool) -> DeviceArray:
    """As `dfx.ops.unmix`, on the lane of the pictures: queued and not waited for.

    Raises:
        InputError: pictures of another shape. DeviceError: the GPU cannot serve.
    """
    count, height, width = check_rgb(pictures.shape, pictures.dtype)
    lane = pictures.lane
    planes = empty((count, 3 * height * width // 2), np.uint8, lane)
    means = empty((min(count, kernels().UNMIX_BATCH), 2, height // 2, width // 2), np.int16, lane)
    places = (array.pointer for array in (pictures, planes, means))
    kernels().unmix(*places, width, height, count, full_range, lane.queue, 1)
    return planes


def decode_faces(
    scores: DeviceArray,
    boxes: DeviceArray,
    landmarks: DeviceArray,
    height: int,
    width: int,
    *,
    strides: Sequence[int],
    min_sizes: Sequence[Sequence[float]],
    variances: tuple[float, float],
    threshold: float,
    iou: float = 0.4,
    limit: int = 100,
    votes: int = 1,
) -> list[Faces]:
    """As `dfx.ops.decode_faces`, of float32 arrays on the lane of `scores`: the result is the host's to the bit.

    Only anchors that score enough are decoded, on the GPU, and copied. Waits for the stream.

    Raises:
        InputError: shapes that do not fit, arrays of other numbers or on other GPUs, a limit or votes below 1.
        DeviceError: the GPU cannot serve.
    """
    arrays, anchors = (scores, boxes, landmarks), count_anchors(height, width, strides, min_sizes)
    check_outputs([array.shape for array in arrays], anchors, (width, height), limit, votes)
    if any(array.dtype != np.float32 or array.device != scores.device for array in arrays):
        raise InputError(f"float32 arrays on one GPU are needed; got {scores}, {boxes}, {landmarks}")
    levels = list(map(int, strides)), [list(map(float, sides)) for sides in min_sizes]
    wanted: tuple[Any, ...] = threshold, iou, limit, votes
    if not len(scores):
        return []
    floor = kernels().score_floor(threshold, votes)
    kept = host.suppress(*_candidates(arrays, height, width, levels, variances, floor), *wanted)
    return [
        Faces(*_on_host(arrays, index, height, width, levels, variances, *wanted)) if faces is None else faces
        for index, faces in enumerate(kept)
    ]


def _candidates(
    arrays: tuple[DeviceArray, ...],
    height: int,
    width: int,
    levels: tuple[list[int], list[list[float]]],
    variances: tuple[float, float],
    floor: float,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """What scores above the floor: [most of any picture, N, 64] bytes, and how many there are, [N]."""
    lane, pictures, anchors = arrays[0].lane, *arrays[0].shape
    table = _anchor_table(lane, height, width, levels)
    counts = empty((pictures,), np.int32, lane)
    found = empty((CAPACITY, pictures, host.CANDIDATE_BYTES), np.uint8, lane)
    lane.queue.clear(counts.pointer, pictures)
    places = [*(array.pointer for array in arrays), table.pointer, counts.pointer, found.pointer]
    kernels().select_faces(*places, pictures, anchors, CAPACITY, variances, floor, lane.queue)
    seen = counts.numpy()
    most = min(int(seen.max()), CAPACITY)
    filled = DeviceArray(found.pointer, (most, *found.shape[1:]), np.uint8, lane, found.owner)
    return filled.numpy(), seen


def _on_host(arrays: tuple[DeviceArray, ...], index: int, height: int, width: int, *rest: Any) -> Any:
    """A picture with too many candidates, decoded by the CPU."""
    (strides, sides), *settings = rest
    rows = (array.row(index).numpy() for array in arrays)
    return kernels().decode_faces(*rows, height, width, strides, sides, *settings)[0]


def _letterbox_table(lane: Lane, *sizes: int) -> tuple[Any, _Memory]:
    def make() -> tuple[Any, ArrayLike]:
        plan = kernels().SurfacePlan(*sizes)
        return plan, np.frombuffer(plan.memory, np.uint8)

    return lane.table(("letterbox", *sizes), make)


def _anchor_table(lane: Lane, height: int, width: int, levels: tuple[list[int], list[list[float]]]) -> _Memory:
    key = ("anchors", height, width, *levels[0], *map(tuple, levels[1]))
    return lane.table(key, lambda: (None, kernels().anchors(height, width, *levels)))[1]


def _uploaded(array: NDArray[Any], lane: Lane) -> _Memory:
    piece = _Memory(lane.queue, array.nbytes)
    if array.nbytes:
        lane.queue.upload(piece.pointer, array)
    return piece


def _load(device: int) -> None:
    with _loading:
        if not kernels().gpu_loaded(device):
            kernels().gpu_load(device, compiler.image(compute_capability(device)))


def _lanes() -> list[Lane]:
    if not hasattr(_local, "lanes"):
        _local.lanes = []
    lanes: list[Lane] = _local.lanes
    return lanes
