"""The pipeline with a clock on every stage: for rehearsals and benchmarks. The pipeline itself knows nothing of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfx.cards import Work
from dfx.decode import Decoder
from dfx.infer import ClassifierContract
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline, Seen
from dfx.settings import Settings
from dfx.streams import bar
from dfx.values import Followed, Frames, Plan, Prediction

STAGES = ("probe", "decode", "detect", "track", "crop", "classify", "rest")


class Clock:
    """Seconds of this thread's core by stage, so that other work on the machine does not count, nor waiting for a disk.

    Stages may nest: a second counts for the innermost one that is under way.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._stage: str | None = None
        self._since = 0.0

    def to(self, stage: str | None) -> str | None:
        """From now on seconds count for `stage`, for none if None; returns the one before."""
        now, before = time.thread_time(), self._stage
        if before is not None:
            self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Seconds inside count for `stage`."""
        before = self.to(stage)
        try:
            yield
        finally:
            self.to(before)

    def timed(self, part: object, method: str, stage: str) -> None:
        """From now on the seconds of an object's method count for `stage`."""
        work = getattr(part, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.on(stage):
                return work(*args, **kwargs)

        setattr(part, method, call)

    def reset(self) -> None:
        """Forgets all seconds."""
        self.seconds = dict.fromkeys(STAGES, 0.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over videos: seconds of one core by stage, pixels sent to the decoder, pixels handed on."""

    stages: dict[str, float]
    packets_pixels: float
    frames_pixels: float

    def work(self, flops: float) -> Work:
        """For a projection. flops: of one core."""
        return Work(
            packets_pixels=self.packets_pixels,
            frames_pixels=self.frames_pixels,
            probing=self.stages["probe"],
            linking=self.stages["track"] + self.stages["rest"],
            networks=self.stages["detect"] + self.stages["classify"],
            flops=flops,
        )


class ClockedPipeline(Pipeline):
    """The pipeline on one core of the CPU, with a clock on every stage: what is between two stages is timed as well."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.clock, self._packets_pixels, self._frames_pixels = Clock(), 0, 0
        self.decoder = _ClockedDecoder(self.clock, self.decoder)
        for method in ("watch", "by_turn", "detect"):
            self.clock.timed(self.detector, method, "detect")
        self.clock.timed(self.classifier, "score", "classify")

    def measure(self, paths: Sequence[Path], windows: int, progress: bool = False) -> Measured:
        """Scores the videos, one after the other; the first one beforehand too, to warm up."""
        self.predict(paths[0], windows=windows)
        self.clock.reset()
        self._packets_pixels = self._frames_pixels = 0
        for path in bar(paths, f"timing stages, windows: {windows}", shown=progress, leave=False):
            self.predict(path, windows=windows)
        count = len(paths)
        stages = {name: seconds / count for name, seconds in self.clock.seconds.items()}
        return Measured(stages, self._packets_pixels / count, self._frames_pixels / count)

    def predict(
        self, path: str | Path, filename: str | None = None, windows: int | None = None, further: bool = True
    ) -> Prediction:
        """Seconds before the plan count as probing."""
        with self.clock.on("probe"):
            return super().predict(path, filename, windows, further)

    def _plan(self, info: VideoInfo, windows: int) -> Plan:
        self.clock.to("rest")  # the plan, and what comes after the last window and is no stage
        chosen = super()._plan(info, windows)
        pixels = info.width * info.height
        self._packets_pixels += pixels * chosen.price
        self._frames_pixels += pixels * sum(window.count for window in chosen.windows)
        return chosen

    def _follow(self, frames: Frames) -> list[Followed]:
        with self.clock.on("track"):
            return super()._follow(frames)

    def _cut(self, frames: Frames, contract: ClassifierContract | None = None) -> list[Seen]:
        with self.clock.on("crop"):
            return super()._cut(frames, contract)


class _ClockedDecoder:
    """A decoder whose seconds count, those of its caller between two windows left out."""

    def __init__(self, clock: Clock, decoder: Decoder) -> None:
        self._clock, self._decoder = clock, decoder

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """As the decoder's own."""
        windows = self._decoder.read(info, plan)
        while (frames := self._next(windows)) is not None:
            yield frames
            del frames  # one window at a time

    def _next(self, windows: Iterator[Frames]) -> Frames | None:
        with self._clock.on("decode"):
            return next(windows, None)
