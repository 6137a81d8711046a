"""The values that flow from stage to stage. All are frozen and check their own shapes.

Frame of reference: unless a name says otherwise, coordinates are pixels of the *upright* picture (rotation applied),
x to the right and y down, with the centre of the top-left pixel at (0.5, 0.5). Boxes are `xyxy`. Landmarks are five
points: the person's right eye, left eye, nose, right mouth corner, left mouth corner. Times are seconds.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dfx.table import Row, Tabular

Float = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Samples = NDArray[np.uint8] | NDArray[np.uint16]


class Reason(StrEnum):
    """Why a row holds the probability that it holds."""

    OK = "ok"
    NO_FACE = "no_face"
    CORRUPT = "corrupt"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too_large"
    MISSING = "missing"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    OUT_OF_BUDGET = "out_of_budget"


class Transfer(StrEnum):
    """How a signal stands for light: as in ordinary video, or with high dynamic range (HDR; ITU-R BT.2100)."""

    SDR = "SDR"
    PQ = "PQ"
    HLG = "HLG"


class Verdict(StrEnum):
    """Why a track is not scored: what was followed is no real face, or one too many."""

    BLIP = "blip"
    NESTED = "nested"
    POSTER = "poster"
    PRINT = "print"
    CROWD = "crowd"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Window:
    """`count` frames of a clip, every `stride`-th from frame `start`, and the packets that must be sent to decode them.

    start: index of the first frame in presentation order.
    seek: index in decode order of the first packet to send: a keyframe, or where the window before it stopped.
    stop: index in decode order one past the last packet to send; `seek` itself where the window before sent all
    already.
    """

    start: int
    count: int
    stride: int
    seek: int
    stop: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.count < 1 or self.stride < 1 or not 0 <= self.seek <= self.stop:
            raise ValueError(f"{self} is no window: start >= 0, count >= 1, stride >= 1 and seek <= stop are needed")

    @property
    def frames(self) -> range:
        """Indices of the wanted frames, in presentation order."""
        return range(self.start, self.start + self.count * self.stride, self.stride)

    @property
    def price(self) -> int:
        """Packets sent to the decoder."""
        return self.stop - self.seek


@dataclass(frozen=True, slots=True)
class Plan:
    """Which frames of a video to decode: windows in order of time."""

    windows: tuple[Window, ...]

    @property
    def price(self) -> int:
        """Packets sent to the decoder, over all windows."""
        return sum(window.price for window in self.windows)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """One picture as the decoder left it, upright: planar YUV, not converted.

    y: [H, W]; u and v: [ceil(H/sy), ceil(W/sx)] with subsampling sx, sy in {1, 2, 4}; uint8 when `depth` is 8, else
    uint16 with the value in the low bits. Rows may be padded (strided arrays); the last axis is contiguous. matrix:
    the stream's colour matrix tag ("bt601", "bt709", "bt2020" or "unknown"); for pictures shown to people, and for HDR.
    full_range: True when luma spans 0..2**depth-1, False when it spans 16..235 (times 2**(depth-8)). transfer: what
    `dfx.ops` makes of HDR is SDR.
    """

    y: Samples
    u: Samples
    v: Samples
    depth: int = 8
    matrix: str = "unknown"
    full_range: bool = False
    transfer: Transfer = Transfer.SDR

    def __post_init__(self) -> None:
        if self.y.ndim != 2 or self.u.ndim != 2 or self.u.shape != self.v.shape:
            raise ValueError(
                f"planes must be y [H, W], u and v alike; got {self.y.shape} {self.u.shape} {self.v.shape}"
            )
        want = np.dtype(np.uint8 if self.depth == 8 else np.uint16)
        if not self.y.dtype == self.u.dtype == self.v.dtype == want:
            raise ValueError(
                f"depth {self.depth} needs {want} planes; got {self.y.dtype} {self.u.dtype} {self.v.dtype}"
            )

    def turned(self, degrees: int) -> Planes:
        """Turned clockwise by a multiple of 90 degrees: copies, or itself."""
        quarters = degrees // 90 % 4
        if not quarters:
            return self
        y, u, v = (cast(Samples, np.ascontiguousarray(np.rot90(each, -quarters))) for each in (self.y, self.u, self.v))
        return replace(self, y=y, u=u, v=v)

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One picture where it was decoded, not yet upright: planes of 8 bits, or RGB as BT.601, uint8 either way.

    pointer: address of its first sample, in the memory of `device`, the ordinal of a GPU or `dfx.settings.HOST`: of
    luma [stored_height, stored_width] where there is chroma, else of RGB [stored_height, stored_width, 3];
    rotation: degrees clockwise that make it upright (0, 90, 180, 270); owner: whatever keeps the memory alive;
    row_bytes: from row to row, where the picture is a part of a wider one (None: its rows follow each other);
    chroma: addresses of U and V, [ceil(stored_height / 2), ceil(stored_width / 2)], whose rows are half as far apart;
    full_range: as of `Planes`.
    """

    pointer: int
    stored_width: int
    stored_height: int
    rotation: int
    device: int
    owner: object
    row_bytes: int | None = None
    chroma: tuple[int, int] | None = None
    full_range: bool = False

    def __post_init__(self) -> None:
        if self.rotation not in {0, 90, 180, 270} or min(self.stored_width, self.stored_height) < 1:
            raise ValueError(f"{self.stored_width}x{self.stored_height} turned by {self.rotation} is no picture")
        if self.stride < self._row or (self.chroma and self.stride % 2):
            raise ValueError(f"rows of {self.stored_width} pixels are not {self.stride} bytes apart")

    @property
    def stride(self) -> int:
        """Bytes from row to row, of luma where there is chroma."""
        return self._row if self.row_bytes is None else self.row_bytes

    def turned(self, degrees: int) -> Surface:
        """Turned clockwise by a multiple of 90 degrees; the memory is the same."""
        return replace(self, rotation=(self.rotation + degrees) % 360)

    @property
    def _row(self) -> int:
        """Bytes of a row."""
        return self.stored_width * (1 if self.chroma else 3)

    @property
    def width(self) -> int:
        return self.stored_height if self.rotation in {90, 270} else self.stored_width

    @property
    def height(self) -> int:
        return self.stored_width if self.rotation in {90, 270} else self.stored_height


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """The decoded pictures of one window (fewer than planned where the stream ends or is broken).

    index: int64 [N], presentation order; seconds: float64 [N], from the start of the stream; pictures: planes from a
    CPU's decoder, surfaces from a GPU's, never both.
    """

    window: Window
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    pictures: tuple[Planes, ...] | tuple[Surface, ...]

    def __post_init__(self) -> None:
        if not len(self.index) == len(self.seconds) == len(self.pictures):
            raise ValueError(f"{len(self.index)} indices, {len(self.seconds)} times and {len(self.pictures)} pictures")

    def __len__(self) -> int:
        return len(self.pictures)

    def turned(self, degrees: int) -> Frames:
        """All pictures turned clockwise by a multiple of 90 degrees."""
        turned = cast(tuple[Planes, ...], tuple(each.turned(degrees) for each in self.pictures))
        return replace(self, pictures=turned) if degrees else self


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The faces found in one picture: boxes float32 [K, 4] xyxy, scores float32 [K], landmarks float32 [K, 5, 2]."""

    boxes: Float
    scores: Float
    landmarks: Float

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.landmarks.shape != (count, 5, 2):
            raise ValueError(f"{count} scores need boxes [{count}, 4] and landmarks [{count}, 5, 2]")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Faces:
        return Faces(self.boxes[chosen], self.scores[chosen], self.landmarks[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person through the frames of one window, a row a frame.

    index: int64 [F] frame indices; seconds: float64 [F]; boxes: float32 [F, 4]; landmarks: float32 [F, 5, 2];
    scores: float32 [F], the detector's confidence, interpolated between detections; detected: bool [F], False where
    the row was interpolated.
    """

    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    boxes: Float
    landmarks: Float
    scores: Float
    detected: NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.index)
        shapes = (self.seconds.shape, self.boxes.shape, self.landmarks.shape, self.scores.shape, self.detected.shape)
        if shapes != ((count,), (count, 4), (count, 5, 2), (count,), (count,)):
            raise ValueError(f"a track of {count} frames has arrays of shapes {shapes}")

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A track as it was linked; verdict: why it was dropped, None where it is a real face."""

    track: Track
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class ClipScore:
    """The evidence: what the classifier said of one face clip.

    track: number of the person in the video; seconds: the clip's first and last picture; box: xyxy, the track's mean
    box; confidence: the mean detector score; logit: positive means fake; opinions: where several classifiers scored,
    the log-odds of each, calibrated, before doubt, in the order of the settings.
    """

    track: int
    start: float
    end: float
    box: tuple[float, float, float, float]
    confidence: float
    logit: float
    opinions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A track that was not scored. verdict: why; the rest as a `ClipScore` has it."""

    verdict: Verdict
    start: float
    end: float
    box: tuple[float, float, float, float]
    confidence: float


@dataclass(frozen=True, slots=True, repr=False)
class Prediction(Tabular):
    """One row of the result: a video, its calibrated probability of being fake, and why. As a table: the evidence.

    filename: as it stands in the CSV; probability: in [0, 1], the prior where the video could not be scored; detail:
    one sentence for people, empty when all is well; faces: people followed; clips: the evidence; windows: of frames
    that were planned; seconds: time it took; dropped: tracks that are no real face, or one too many; turned: degrees
    clockwise by which dfx turned the pictures beside what the file says, since people did not stand upright in them
    (boxes are in pixels of pictures turned so).
    """

    filename: str
    probability: float
    reason: Reason
    detail: str = ""
    faces: int = 0
    clips: tuple[ClipScore, ...] = ()
    windows: int = 0
    seconds: float = field(default=0.0, compare=False)
    dropped: tuple[Dropped, ...] = ()
    turned: int = 0

    def __repr__(self) -> str:
        said = f", {self.detail!r}" if self.detail else ""
        counts = f"{self.faces} faces, {len(self.clips)} clips"
        return f"Prediction({self.filename!r}, P(fake) {self.probability:.4f}, {self.reason}, {counts}{said})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>" + (super(Prediction, self)._repr_html_() if self.clips else "")

    def columns(self) -> tuple[str, ...]:
        """Times in seconds, boxes in pixels of the upright picture."""
        return ("track", "start", "end", "left", "top", "right", "bottom", "confidence", "logit")

    def rows(self) -> Iterator[Row]:
        """A row a clip."""
        for clip in self.clips:
            yield clip.track, clip.start, clip.end, *clip.box, clip.confidence, clip.logit
