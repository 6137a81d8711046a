"""What a run is told: settings shape the scores and are noted in the journal; limits only contain what goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dfx.errors import InputError

MODELS = Path(__file__).parent / "models"
HOST = -1  # in place of a GPU's ordinal


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the score of a video depends on, besides the video.

    detector, models: ONNX files with their contracts, of several classifiers the calibrated logits are averaged;
    windows: clips of frames that are decoded a video, at most; prior: the probability on the row of a video that cannot
    be scored; prevalence: the share of fakes that is expected among the videos; clip_range: bounds on every
    score (the prior stands as it is), since one confident mistake costs a log loss of -log(bound).
    """

    detector: Path = field(default=MODELS / "detector.onnx")
    models: tuple[Path, ...] = (MODELS / "classifier.onnx",)
    windows: int = 2
    prior: float = 0.5
    prevalence: float = 0.5
    clip_range: tuple[float, float] = (0.01, 0.99)

    def __post_init__(self) -> None:
        if isinstance(self.models, str | Path):
            raise InputError(f"models is {str(self.models)!r}; a tuple of files is needed, with one file as (file,)")
        object.__setattr__(self, "detector", Path(self.detector))  # a text will do
        object.__setattr__(self, "models", tuple(map(Path, self.models)))
        if not self.models:
            raise InputError("models is empty; at least one classifier is needed")
        if self.windows < 1:
            raise InputError(f"windows is {self.windows}; a whole number of at least 1 is needed")
        if not 0 <= self.prior <= 1:
            raise InputError(f"prior is {self.prior}; a probability from 0 to 1 is needed")
        if not 0 < self.prevalence < 1:
            raise InputError(
                f"prevalence is {self.prevalence}; a share between 0 and 1 is needed, neither of them itself"
            )
        low, high = self.clip_range
        if not 0 <= low < high <= 1:
            raise InputError(f"clip_range is {self.clip_range}; two probabilities low < high from 0 to 1 are needed")

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a worker's first message."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        models = [str(path) for path in self.models]
        return plain | {"detector": str(self.detector), "models": models, "clip_range": list(self.clip_range)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Settings:
        """The inverse of `to_json`."""
        low, high = plain["clip_range"]
        paths = {"detector": Path(plain["detector"]), "models": tuple(map(Path, plain["models"]))}
        return cls(**{**plain, **paths, "clip_range": (low, high)})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one video may cost before it is given up.

    seconds: wall time; memory: bytes of private memory a worker (enforced on Linux); pixels: of one picture, 8K with
    room for padding; duration: seconds that the container states.
    """

    seconds: float = 120.0
    memory: int = 2 * 2**30
    pixels: int = 8192 * 4352
    duration: float = 6 * 3600.0

    def __post_init__(self) -> None:
        for name, value in (("time", self.seconds), ("duration", self.duration)):
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"the {name} limit is {value} s; a finite number above 0 is needed")
        if self.memory < 2**28:
            raise InputError(f"the memory limit is {self.memory} bytes; at least 256 MiB ({2**28}) are needed")
        if self.pixels < 1:
            raise InputError(f"the pixel limit is {self.pixels}; at least 1 is needed")
