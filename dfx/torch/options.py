"""What a run of `dfx train` is asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dfx.arguments import finite, whole
from dfx.errors import InputError
from dfx.settings import MOST_WINDOWS
from dfx.torch.clipnet import DESIGNS

MOST_SEED = 2**32 - 1  # that Lightning takes
MOST_MINUTES = 1e9  # nineteen centuries; a timedelta holds a thousand times as many


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for.

    start: weights to begin with, None for random ones; loaders: processes that read; pseudo: the share of fakes that
    are made of real clips on the spot; h264: the share of clips that are encoded anew; cut: "auto", on the GPU that
    trains, or "cpu", which gives the same bits on every machine.
    """

    start: Path | None = None
    design: str = "lite0"
    epochs: int = 20
    minutes: float = 140.0
    patience: int = 5
    batch: int = 16
    windows: int = 2
    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
    loaders: int = 0
    pseudo: float = 0.0
    h264: float = 0.3
    cut: str = "auto"

    def __post_init__(self) -> None:
        share, time = "a share from 0 to 1", f"a finite number of minutes above 0 and to {MOST_MINUTES:g}"
        values = {
            "epochs": whole("epochs", self.epochs, 1),
            "minutes": finite("minutes", self.minutes, time, lambda minutes: 0 < minutes <= MOST_MINUTES),
            "patience": whole("patience", self.patience, 1),
            "batch": whole("batch", self.batch, 1),
            "windows": whole("windows", self.windows, 1, MOST_WINDOWS, " (the most frames of a video)"),
            "seed": whole("seed", self.seed, 0, MOST_SEED),
            "workers": None if self.workers is None else whole("workers", self.workers, 1),
            "loaders": whole("loaders", self.loaders, 0),
            "pseudo": finite("pseudo", self.pseudo, share, lambda part: 0 <= part <= 1),
            "h264": finite("h264", self.h264, share, lambda part: 0 <= part <= 1),
            "design": _word("design", self.design, DESIGNS),
            "cut": _word("cut", self.cut, ("auto", "cpu")),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _word(name: str, value: str, allowed: Collection[str]) -> str:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; {' or '.join(allowed)} is needed")
    return value
