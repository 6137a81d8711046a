"""Where the work is done: the cores of the CPU, or GPUs. The choice is never silent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dfx.decode import dali
from dfx.errors import DeviceError, InputError
from dfx.infer.session import cuda_missing
from dfx.ops import cuda
from dfx.values import HOST

GIB_A_LANE = 2  # of a card's memory: a 4K video's window, its decoder and two sessions take about one
MOST_LANES = 8  # a GPU; no card before Blackwell has more decoding engines


@dataclass(frozen=True, slots=True)
class Crew:
    """What one worker process is given: a GPU's ordinal or HOST, and how many videos it has in hand at a time."""

    device: int = HOST
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The GPUs that do the work, none for the CPU, and why, in one line."""

    gpus: tuple[int, ...]
    why: str

    def crews(self, workers: int | None, cores: int) -> list[Crew]:
        """The processes: one a GPU, else one a core. workers: videos in hand at a time, a GPU or in all."""
        if not self.gpus:
            return [Crew()] * (workers or cores)
        return [Crew(gpu, workers or lanes_of(cuda.memory(gpu), cores)) for gpu in self.gpus]


def lanes_of(memory: int, cores: int) -> int:
    """Videos in hand at a time on a GPU with so many bytes of memory, beside so many cores that read the containers."""
    return max(1, min(MOST_LANES, memory // (GIB_A_LANE * 2**30), 2 * cores))


def choose(wanted: str) -> Choice:
    """Chooses among "auto" (GPUs where all is there for them, else the CPU), "cpu", "cuda" (all GPUs) and "cuda:N".

    Raises:
        InputError: another word. DeviceError: a GPU was asked for and cannot serve.
    """
    if wanted == "cpu":
        return Choice((), "the CPU, as asked for")
    if wanted == "auto":
        lacking = missing()
        return (
            Choice((), f"the CPU, since no GPU can serve: {lacking}") if lacking else _gpus(range(cuda.device_count()))
        )
    named = re.fullmatch(r"cuda(?::(\d+))?", wanted)
    if named is None:
        raise InputError(f"device is {wanted!r}; auto, cpu, cuda (all GPUs) or cuda:N (one of them) is needed")
    if lacking := missing():
        raise DeviceError(f"{wanted} cannot serve: {lacking}")
    count = cuda.device_count()
    if named[1] is None:
        return _gpus(range(count))
    if int(named[1]) >= count:
        raise DeviceError(f"{wanted} is not there: this machine has {count} GPUs, counted from 0")
    return _gpus(range(int(named[1]), int(named[1]) + 1))


def missing() -> str | None:
    """What a GPU run lacks here, and how to mend it, in one line; None where nothing is lacking."""
    return cuda.missing() or cuda_missing() or dali.missing()


def _gpus(indices: range) -> Choice:
    names = ", ".join(f"cuda:{index} ({cuda.device_name(index)})" for index in indices)
    return Choice(tuple(indices), names)
