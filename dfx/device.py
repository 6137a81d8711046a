"""Where the work is done: the cores of the CPU, or GPUs. The choice is never silent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dfx.arguments import check_kind
from dfx.errors import DeviceError, InputError
from dfx.ops import cuda
from dfx.settings import HOST

GIB_A_LANE = 2  # of a card's memory: a 4K video's window, its decoder and two sessions take about one
MOST_LANES = 16  # a GPU: an H200, with seven decoding engines, is kept busy by four processes of four
LANES_A_PROCESS = 4  # one process, whatever its lanes, does a third of what an H200 decodes, and four nine tenths


@dataclass(frozen=True, slots=True)
class Crew:
    """What one worker process is given: a GPU's ordinal or HOST, and how many videos it has in hand at a time.

    engines: the folder of TensorRT engines that run its networks; ONNX Runtime's CUDA or CPU provider without one.
    """

    device: int = HOST
    lanes: int = 1
    engines: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The GPUs that do the work, none for the CPU, and why, in one line.

    tensorrt: those of them that run the networks by TensorRT engines, of the folder `engines` once it is known.
    """

    gpus: tuple[int, ...]
    why: str
    tensorrt: tuple[int, ...] = ()
    engines: Path | None = None

    def crews(self, workers: int | None, cores: int) -> list[Crew]:
        """The processes: one for a few lanes of a GPU, else one a core. workers: videos in hand at a time, a GPU or in
        all."""
        if not self.gpus:
            return [Crew()] * (workers or cores)
        return [crew for gpu in self.gpus for crew in self._sharing(gpu, workers or lanes_of(cuda.memory(gpu), cores))]

    def _sharing(self, gpu: int, lanes: int) -> Iterator[Crew]:
        """The processes that share a GPU, with like numbers of lanes."""
        count = -(-lanes // LANES_A_PROCESS)
        for number in range(count):
            yield Crew(gpu, (lanes + number) // count, self._engines(gpu))

    def _engines(self, gpu: int) -> str | None:
        return str(self.engines) if self.engines is not None and gpu in self.tensorrt else None


def lanes_of(memory: int, cores: int) -> int:
    """Videos in hand at a time on a GPU with so many bytes of memory, beside so many cores that read the containers."""
    return max(1, min(MOST_LANES, memory // (GIB_A_LANE * 2**30), 2 * cores))


def choose(wanted: str) -> Choice:
    """Chooses among "auto" (GPUs where all is there for them, else the CPU), "cpu", "cuda" (all GPUs), "cuda:N" and,
    for networks that run as TensorRT engines, "tensorrt" or "tensorrt:N".

    `auto` takes ONNX Runtime's CUDA provider, since TensorRT has not run on a GPU yet.

    Raises:
        InputError: another word. DeviceError: a GPU was asked for and cannot serve.
    """
    check_kind("device", wanted, str, "a text, as 'auto', 'cpu' or 'cuda:0',")
    if wanted == "cpu":
        return Choice((), "the CPU, as asked for")
    if wanted == "auto":
        lacking = missing()
        why = f"the CPU, since no GPU can serve: {lacking}"
        return Choice((), why) if lacking else _gpus("cuda", range(cuda.device_count()))
    words = re.fullmatch(r"(cuda|tensorrt)(?::(\d+))?", wanted)
    if words is None:
        raise InputError(
            f"device is {wanted!r}; auto, cpu, cuda (all GPUs), cuda:N (one of them), tensorrt or tensorrt:N is needed"
        )
    if lacking := missing() or (_tensorrt_missing() if words[1] == "tensorrt" else None):
        raise DeviceError(f"{wanted} cannot serve: {lacking}")
    return _gpus(words[1], _indices(wanted, words[2]))


def missing() -> str | None:
    """What a GPU run lacks here, and how to mend it, in one line; None where nothing is lacking."""
    return cuda.missing() or _libraries_missing()


def _libraries_missing() -> str | None:
    """What a GPU that is there lacks. Their code is loaded beside a driver only: starting without a GPU is quicker."""
    from dfx.decode import dali
    from dfx.infer.gpu import cuda_missing

    return cuda_missing() or dali.missing()


def _tensorrt_missing() -> str | None:
    from dfx.infer import nvinfer

    return nvinfer.missing()


def named(kind: str, gpus: tuple[int, ...]) -> str:
    """The GPUs as a person reads them: "cuda:0 (Tesla T4), cuda:1 (Tesla T4)"."""
    return ", ".join(f"{kind}:{gpu} ({cuda.device_name(gpu)})" for gpu in gpus)


def _indices(wanted: str, index: str | None) -> range:
    count = cuda.device_count()
    if index is None:
        return range(count)
    if int(index) >= count:
        raise DeviceError(f"{wanted} is not there: this machine has {count} GPUs, counted from 0")
    return range(int(index), int(index) + 1)


def _gpus(kind: str, indices: range) -> Choice:
    gpus = tuple(indices)
    if kind == "cuda":
        return Choice(gpus, named(kind, gpus))
    from dfx.infer import nvinfer

    for gpu in gpus:
        if refused := nvinfer.refuses(cuda.device_name(gpu), cuda.compute_capability(gpu)):
            raise DeviceError(f"tensorrt:{gpu} cannot serve: {refused}")
    return Choice(gpus, named(kind, gpus), tensorrt=gpus)
