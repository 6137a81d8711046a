"""What a model file says of itself: the `dfx.*` keys of an ONNX file's `metadata_props`, read and checked once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfx.arguments import finite, whole
from dfx.errors import ModelError
from dfx.ops.checks import LARGEST_SIDE
from dfx.ops.geometry import CANVAS_STEP, letterbox_geometry
from dfx.values import Float

VERSION = "1"
COLOUR = "RGB BT.601"
PICTURES = 4  # a run of the detector on a GPU, made up by the last one: a window of the default plan has three
TEMPLATE = "a list of five finite points [x, y] that are not all in one place"
UNDECIDED = 0.05  # log-odds below 0 that keep apart in their order what is in doubt: probabilities from 0.4875
STEEPEST = 1e6  # of a calibration: what is beyond it could overflow where several classifiers are averaged
Number = TypeVar("Number", float, NDArray[np.float64])
Shapes = Mapping[str, tuple[int, ...]]
"""Inputs by name: what a session on a GPU is fed, always the same, so that TensorRT's optimisation profile and CUDA
graphs hold for all of it. CUDA's provider takes any, each by a session of its own; the CPU takes any."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling (Platt, 1999), log-odds = scale * logit + bias, of which little evidence of a fake counts for none.

    doubt: log-odds from -UNDECIDED to this become -UNDECIDED to 0, those from this to twice this become 0 to twice
    this, each along a line, and all others stay: firm shrinkage (Gao and Bruce, Statistica Sinica 1997), of one side
    alone. The order stays. 0 for none.
    """

    scale: float = 1.0
    bias: float = 0.0
    doubt: float = 0.0

    def odds(self, logit: Number) -> Number:
        """Platt's log-odds, before doubt, of one logit or of many."""
        return self.scale * logit + self.bias

    def of(self, logit: float) -> float:
        """The calibrated logit."""
        return float(self.of_all(np.array(logit)))

    def of_all(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The calibrated logits of many, in their shape."""
        odds = np.asarray(self.odds(logits))
        if not self.doubt:
            return odds
        shrunk = np.interp(odds, (-UNDECIDED, self.doubt, 2 * self.doubt), (-UNDECIDED, 0.0, 2 * self.doubt))
        return np.where((odds > -UNDECIDED) & (odds < 2 * self.doubt), shrunk, odds)


@dataclass(frozen=True, slots=True)
class DetectorContract:
    """A face detector: input `images` uint8 [N, 3, H, W], RGB as BT.601; H and W are multiples of the largest stride.

    Outputs: `scores` [N, A], `boxes` [N, A, 4] and `landmarks` [N, A, 10] as deltas of SSD anchors (Liu et al.,
    2016), one anchor a cell and `min_size`, levels in order of `strides`. `long_side`: pixels of the canvas it was
    tuned for. `score_votes`: anchors whose mean is a face's score, 1 where the file does not say.
    """

    name: str
    version: str
    strides: tuple[int, ...]
    min_sizes: tuple[tuple[int, ...], ...]
    variances: tuple[float, float]
    long_side: int
    score_threshold: float
    score_votes: int = 1

    task = "face-detector"
    inputs = ("images",)
    outputs = ("scores", "boxes", "landmarks")

    @property
    def shapes(self) -> Shapes:
        """What an engine or a CUDA graph is made for: PICTURES canvases, square, for upright and wide videos."""
        box = letterbox_geometry(self.long_side, self.long_side, self.long_side)  # whole cells
        return {"images": (PICTURES, 3, box.height, box.width)}

    @classmethod
    def read(cls, metadata: Mapping[str, str], source: str) -> Self:
        """Reads it from `metadata_props`; raises ModelError, naming `source`, for a key that is absent or odd."""
        reader = _Reader(metadata, source, cls.task)
        return cls(
            name=reader.text("name"),
            version=reader.text("version"),
            strides=(strides := reader.value("strides", _STRIDES)),
            min_sizes=reader.value("min_sizes", _sizes_of(len(strides))),
            variances=reader.value("variances", _VARIANCES),
            long_side=reader.value("long_side", _COUNT),
            score_threshold=reader.value("score_threshold", _SHARE),
            score_votes=reader.value("score_votes", _COUNT, "1"),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierContract:
    """A deepfake classifier: input `clips` uint8 [N, T, 3, S, S], RGB as BT.601; output `logits` [N], positive for
    fake.

    clip_length T: frames a clip; clip_stride: frames from one to the next; crop_size S: pixels;
    crop_template: float32 [5, 2], where the five landmarks lie in the crop, in units of its side.
    """

    name: str
    version: str
    clip_length: int
    clip_stride: int
    crop_size: int
    crop_template: Float
    calibration: Calibration

    task = "deepfake-clip"
    inputs = ("clips",)
    outputs = ("logits",)

    @property
    def span(self) -> int:
        """Frames of the video from a clip's first to its last, both counted."""
        return (self.clip_length - 1) * self.clip_stride + 1

    @property
    def cut(self) -> tuple[int, int, int, bytes]:
        """Equal for two classifiers that take the very same clips."""
        return self.clip_length, self.clip_stride, self.crop_size, self.crop_template.tobytes()

    @property
    def shapes(self) -> Shapes:
        """What a GPU is fed: one clip a run."""
        return {"clips": (1, self.clip_length, 3, self.crop_size, self.crop_size)}

    @classmethod
    def read(cls, metadata: Mapping[str, str], source: str) -> Self:
        """Reads it from `metadata_props`; raises ModelError, naming `source`, for a key that is absent or odd."""
        reader = _Reader(metadata, source, cls.task)
        return cls(
            name=reader.text("name"),
            version=reader.text("version"),
            clip_length=reader.value("clip_length", _COUNT),
            clip_stride=reader.value("clip_stride", _COUNT),
            crop_size=reader.value("crop_size", _COUNT),
            crop_template=reader.value("crop_template", _TEMPLATE),
            calibration=reader.value("calibration", _CALIBRATION),
        )


def contract_to_cut(
    clip_length: int, clip_stride: int, crop_size: int, crop_template: Sequence[Sequence[float]]
) -> ClassifierContract:
    """The contract of a classifier that is not there (yet), for clips as it would take them."""
    template = np.asarray(crop_template, np.float32)
    return ClassifierContract("", "", clip_length, clip_stride, crop_size, template, Calibration())


Contract = DetectorContract | ClassifierContract


def contract_of(metadata: Mapping[str, str], source: str) -> Contract:
    """The contract of the task that the metadata names; raises ModelError where it names none of dfx's."""
    kinds: dict[str, type[Contract]] = {kind.task: kind for kind in (DetectorContract, ClassifierContract)}
    task = metadata.get("dfx.task", "")
    if task not in kinds:
        raise ModelError(f"{source}: its task is {task!r}; dfx runs models for {' or '.join(map(repr, kinds))}")
    return kinds[task].read(metadata, source)


class _Reader:
    """Reads keys of one file's metadata and says, where one is wrong, which, in which file, and what was wanted."""

    def __init__(self, metadata: Mapping[str, str], source: str, task: str) -> None:
        self.metadata, self.source = metadata, source
        if self.text("contract") != VERSION:
            raise ModelError(f"{source}: contract {self.text('contract')!r}; this version of dfx reads {VERSION!r}")
        if self.text("task") != task:
            raise ModelError(f"{source}: its task is {self.text('task')!r}; a model for {task!r} is needed here")
        if self.text("colour") != COLOUR:
            raise ModelError(f"{source}: its colour is {self.text('colour')!r}; dfx gives {COLOUR!r}")

    def text(self, key: str, otherwise: str | None = None) -> str:
        try:
            return self.metadata[f"dfx.{key}"] if otherwise is None else self.metadata.get(f"dfx.{key}", otherwise)
        except KeyError:
            raise ModelError(
                f"{self.source}: no key 'dfx.{key}' in its metadata_props, so it is not a model that dfx can run; "
                "README, 'Your own model', lists the keys"
            ) from None

    def value(self, key: str, kind: _Kind, otherwise: str | None = None) -> Any:
        text = self.text(key, otherwise)
        try:
            return kind.read(json.loads(text))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ModelError(
                f"{self.source}: its key 'dfx.{key}' holds {text[:80]!r}; {kind.needed} is needed: export the model "
                "again with that, or name another one"
            ) from error


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a key may hold, in words, and how it is read of its JSON; that raises where it is something else."""

    needed: str
    read: Callable[[Any], Any]


def _count(value: Any) -> int:
    return whole("it", value, 1, LARGEST_SIDE)


def _stride(value: Any) -> int:
    """Of another one, cells would be cut at the edge of a canvas, and a part of it would have other anchors."""
    if CANVAS_STEP % _count(value):
        raise ValueError(value)
    return int(value)


def _several(read: Callable[[Any], Any], values: Any, count: int | None = None) -> tuple[Any, ...]:
    """A list of so many values, or of one at least."""
    found = tuple(map(read, values))
    if not found or len(found) != (count or len(found)):
        raise ValueError(values)
    return found


def _sizes_of(strides: int) -> _Kind:
    return _Kind(
        f"a list of {strides} lists, one a stride, of whole numbers from 1 to {LARGEST_SIDE} (pixels)",
        lambda value: _several(lambda sides: _several(_count, sides), value, strides),
    )


def _number(allowed: Callable[[float], bool]) -> Callable[[Any], float]:
    """Finite, and allowed."""
    return lambda value: finite("it", value, "another number", allowed)


def _template(value: Any) -> Float:
    """The points float32 [5, 2]; what puts all of them in one place would shrink a face to nothing."""
    with np.errstate(over="ignore"):  # what is beyond float32 is not finite
        points = np.asarray(value, np.float32)
    if points.shape != (5, 2) or not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        raise ValueError(value)
    return points


def _calibration(value: Any) -> Calibration:
    """Its scale may be 0: training writes that where it found nothing to go by. Without a doubt there is none."""
    read, positive = _number(lambda number: abs(number) <= STEEPEST), _number(lambda number: 0 <= number <= STEEPEST)
    return Calibration(read(value["scale"]), read(value["bias"]), positive(value.get("doubt", 0.0)))


_COUNT = _Kind(f"a whole number from 1 to {LARGEST_SIDE}", _count)
_SHARE = _Kind("a number between 0 and 1, neither of them itself,", _number(lambda number: 0 < number < 1))
_STRIDES = _Kind(f"a list of whole numbers that divide {CANVAS_STEP}", lambda value: _several(_stride, value))
_VARIANCES = _Kind(
    "a list of two finite numbers above 0", lambda value: _several(_number(lambda number: number > 0), value, 2)
)
_TEMPLATE = _Kind(TEMPLATE, _template)
_CALIBRATION = _Kind(
    f"a finite scale and bias, by these names, each from -{STEEPEST:g} to {STEEPEST:g} (a doubt, if any, from 0),",
    _calibration,
)
