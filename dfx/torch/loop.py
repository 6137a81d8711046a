"""What every training shares: AdamW under one learning-rate cycle, its clock, a running average, checkpoints."""

from __future__ import annotations

import copy
import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import compress
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dfx.files import replacement

Net = TypeVar("Net", bound=nn.Module)
DECAY = 0.998  # of the running average of weights, a step
PARTS = ("net", "average", "optimiser")
TICKS = 100_000  # of a learning rate's cycle that goes by the clock
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
TRIALS = 8  # steps that a layout of memory is timed over


class Training(Generic[Net]):
    """A network, its running average, and its optimiser at some step; on an old checkpoint, it goes on there."""

    def __init__(self, net: Net, steps: int, rate: float, checkpoint: Path, *, decay: float = DECAY) -> None:
        self.net = net
        self.average = copy.deepcopy(net).eval()
        self.optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.02)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, rate, total_steps=steps + 1, pct_start=0.15)
        self.step, self._checkpoint, self._decay = 0, checkpoint, decay
        if checkpoint.exists():
            self._restore(torch.load(checkpoint, weights_only=True, map_location="cpu"))

    @property
    def tick(self) -> int:
        """How far the learning rate's cycle is, of the number of steps that it was made for."""
        return self.schedule.last_epoch

    def advance(self, loss: Tensor, tick: int | None = None) -> None:
        """One step down the gradient of a loss.

        tick: where the cycle goes on from here, where minutes are what is limited; a step is a tick when left out.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.last_epoch = self.tick if tick is None else tick - 1
        self.schedule.step()
        self.step += 1
        self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self._decay, (1 + self.step) / (10 + self.step))
        ours, theirs = ([*net.parameters(), *net.buffers()] for net in (self.average, self.net))
        floating = [value.is_floating_point() for value in ours]
        get_ema_multi_avg_fn(decay)(list(compress(ours, floating)), list(compress(theirs, floating)), None)
        for mine, other, averaged in zip(ours, theirs, floating, strict=True):
            if not averaged:
                mine.copy_(other)

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all. Raises OutputError."""
        place = {"step": self.step, "tick": self.tick}
        with replacement(self._checkpoint) as file:
            torch.save({name: getattr(self, name).state_dict() for name in PARTS} | place, file.buffer)

    def _restore(self, state: dict[str, Any]) -> None:
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.schedule.last_epoch = state["step"], state["tick"]  # of this run's cycle: it may be longer

    def write(self, path: Path) -> None:
        """Writes the running average of the weights, whole or not at all, unless they have become no numbers.

        Raises, and what was written before stays:
            FloatingPointError: the training has come apart. OutputError: the file cannot be written.
        """
        if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
            raise FloatingPointError(f"weights are not finite at step {self.step}: try a lower rate")
        with replacement(path) as file:
            torch.save(self.average.state_dict(), file.buffer)


def keep_freed_memory() -> None:
    """Lets this process keep the memory of the tensors that it frees, where glibc has the say (mallopt(3)).

    It gives blocks beyond 32 MiB back to the system at once otherwise, which fills each anew with zeros, page by page:
    a quarter of the time of a training on a CPU.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Clock:
    """Tells a cycle's place from the time that has gone by; a cycle that was interrupted goes on at `tick`."""

    def __init__(self, seconds: float, tick: int) -> None:
        self._seconds, self._started = seconds, time.monotonic() - seconds * tick / TICKS

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self._started

    @property
    def tick(self) -> int:
        """0 to TICKS."""
        return min(int(self.elapsed / self._seconds * TICKS), TICKS) if self._seconds else TICKS


def quickest_layout(net: Net, loss: Callable[[Net], Tensor]) -> Net:
    """The network with its memory laid out as its device likes best, which nobody knows beforehand on a GPU.

    loss: of a step's forward pass on a batch as large as those of the training.
    """
    likes = [torch.channels_last]
    if next(net.parameters()).is_cuda:
        likes = sorted((torch.channels_last, torch.contiguous_format), key=lambda layout: _seconds(net, layout, loss))
        click.echo(f"layout: {likes[0]}")
    return _laid_out(net, likes[0])


def _laid_out(net: Net, layout: torch.memory_format) -> Net:
    return net.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _seconds(net: Net, layout: torch.memory_format, loss: Callable[[Net], Tensor]) -> float:
    """How long the passes of a step take, the first few left out; on a copy, for the normalisation takes note."""
    tried = _laid_out(copy.deepcopy(net), layout).train()
    started = 0.0
    for trial in range(2 * TRIALS):
        if trial == TRIALS:
            torch.cuda.synchronize()
            started = time.monotonic()
        loss(tried).backward()
    torch.cuda.synchronize()
    return time.monotonic() - started
