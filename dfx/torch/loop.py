"""What every training shares: AdamW under one learning-rate cycle, a running average of weights, checkpoints."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)
DECAY = 0.998  # of the running average of weights, a step
PARTS = ("net", "average", "optimiser")


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
        for ours, theirs in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)

    def save(self) -> None:
        """Writes the checkpoint, atomically."""
        partial = self._checkpoint.with_suffix(".partial")
        torch.save({name: getattr(self, name).state_dict() for name in PARTS} | self._place(), partial)
        partial.replace(self._checkpoint)

    def _place(self) -> dict[str, int]:
        return {"step": self.step, "tick": self.tick}

    def _restore(self, state: dict[str, Any]) -> None:
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.schedule.last_epoch = state["step"], state["tick"]  # of this run's cycle: it may be longer
