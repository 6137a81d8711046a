"""What a run is told: settings shape the scores and are noted in the journal; limits only contain what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dfx.arguments import check_kind, finite, whole
from dfx.errors import InputError

MODELS = Path(__file__).parent / "models"
HOST = -1  # in place of a GPU's ordinal
FURTHER = 8  # windows that a video is given where fewer show nobody, or a budget leaves time: titles show nobody
MOST_WINDOWS = 2_000_000  # a video that dfx opens has no more frames: `dfx.probe.MOST_PACKETS`
MOST_PIXELS = 2**31 - 1  # where the range of FFmpeg's own option max_pixels ends
SMALLEST_MEMORY = 2**28  # bytes that a worker needs
LARGEST_MEMORY = 2**47  # bytes that a process has addresses for, on x86-64; setrlimit(2) takes no more than 2**63


def _set(frozen: Settings | Limits, **values: Any) -> None:
    """In place of what the caller gave: the same as plain values."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


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
        models = tuple(map(Path, self.models))
        if not models:
            raise InputError("models is empty; at least one classifier is needed")
        probability = "a probability from 0 to 1"
        share = "a share between 0 and 1, neither of them itself,"
        _set(
            self,
            detector=Path(self.detector),  # a text will do
            models=models,
            windows=whole("windows", self.windows, 1, MOST_WINDOWS, " (the most frames of a video)"),
            prior=finite("prior", self.prior, probability, lambda p: 0 <= p <= 1),
            prevalence=finite("prevalence", self.prevalence, share, lambda p: 0 < p < 1),
            clip_range=_bounds(self.clip_range),
        )

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
        time = "a finite number of seconds above 0"
        _set(
            self,
            seconds=finite("the time limit (seconds)", self.seconds, time, lambda seconds: seconds > 0),
            memory=whole("the memory limit (bytes)", self.memory, SMALLEST_MEMORY, LARGEST_MEMORY, " (128 TiB)"),
            pixels=whole("the pixel limit", self.pixels, 1, MOST_PIXELS, " (the most that FFmpeg takes)"),
            duration=finite("the duration limit", self.duration, time, lambda seconds: seconds > 0),
        )


LIMITS = Limits()  # of a prediction
EXTRACTING = Limits(seconds=600.0)  # all pictures or all sound of a video, not a prediction's few
COMPARING = Limits(seconds=600.0, memory=8 * 2**30)  # torch and MediaPipe reserve more memory than they use


def settings_given(settings: Settings | None) -> Settings:
    """What a caller gave, the usual settings for None. Raises InputError on anything else."""
    check_kind("settings", settings, Settings | None, "a dfx.Settings, as dfx.Settings(windows=2),")
    return settings or Settings()


def limits_given(limits: Limits | None, usual: Limits = LIMITS) -> Limits:
    """What a caller gave, the usual limits for None. Raises InputError on anything else."""
    check_kind("limits", limits, Limits | None, "a dfx.Limits, as dfx.Limits(seconds=60),")
    return limits or usual


def _bounds(pair: Any) -> tuple[float, float]:
    """The clip range."""
    try:
        low, high = (finite("a bound", bound, "a probability", lambda p: 0 <= p <= 1) for bound in pair)
    except (TypeError, ValueError):  # no pair, or not of probabilities
        low = high = 0.0
    if low >= high:
        raise InputError(f"clip_range is {pair!r}; two probabilities low < high from 0 to 1 are needed")
    return low, high
