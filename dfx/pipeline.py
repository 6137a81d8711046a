"""The one place that knows all the stages: probe, plan, decode, detect, track, crop, classify, aggregate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from dfx import ops
from dfx.aggregate import aggregate
from dfx.classify import Classifier
from dfx.crop import crop_track
from dfx.decode import Decoder
from dfx.decode.pyav import PyAVDecoder
from dfx.detect import Detector
from dfx.errors import VideoError
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import Limits, Settings
from dfx.track import follow, join
from dfx.values import ClipScore, Frames, Pixels, Plan, Prediction, Reason, Track, VideoInfo

DETECT_EVERY = 8  # frames of the video between two looks for faces; tracks are interpolated between them


class Pipeline:
    """The networks, loaded once, and the way of a video through the stages. Serves one video at a time, on one core."""

    def __init__(self, settings: Settings | None = None, limits: Limits | None = None) -> None:
        ops.require()
        self.settings, self.limits = settings or Settings(), limits or Limits()
        self.decoder: Decoder = PyAVDecoder(self.limits.pixels)
        self.detector = Detector(self.settings.detector)
        self.classifier = Classifier(self.settings.model)

    def predict(self, path: str | Path, filename: str | None = None, windows: int | None = None) -> Prediction:
        """Scores one video. Whatever is wrong with it becomes a reason on its row; nothing is raised.

        windows: clips of frames to look at, at most; those of the settings unless told.
        """
        started = time.monotonic()
        row = Prediction(filename or Path(path).name, self.settings.prior, Reason.CRASHED)
        try:
            row = self._score(row, Path(path), windows or self.settings.windows)
        except VideoError as error:
            row = replace(row, reason=Reason(error.reason), detail=str(error))
        except FileNotFoundError as error:
            row = replace(row, reason=Reason.MISSING, detail=str(error))
        except MemoryError as error:
            row = replace(
                row, reason=Reason.TOO_LARGE, detail=str(error) or "it needs more memory than the limit allows"
            )
        except Exception as error:  # one bad video must not cost the next one its score
            row = replace(row, detail=f"{type(error).__name__}: {error}")
        return replace(row, seconds=time.monotonic() - started)

    def clips(self, path: str | Path) -> Iterator[tuple[Track, Pixels]]:
        """The aligned face clips of a video, window by window: uint8 [T, 3, S, S], as the classifier sees them."""
        return chain.from_iterable(map(self._cut, self._windows(path)))

    def tracks(self, path: str | Path) -> list[Track]:
        """The people in a video: a track for each person and window, in order of time."""
        return list(chain.from_iterable(map(self._follow, self._windows(path))))

    def _score(self, row: Prediction, path: Path, windows: int) -> Prediction:
        info = probe(path, limits=self.limits)
        chosen = self._plan(info, windows)
        row = replace(row, windows=len(chosen.windows))
        pairs = list(chain.from_iterable(map(self._cut, self.decoder.read(info, chosen))))
        if not pairs:
            return replace(row, reason=Reason.NO_FACE, detail="no face was found in the pictures that were looked at")
        tracks = [track for track, _ in pairs]
        logits = self.classifier.score(np.stack([clip for _, clip in pairs]))
        people = join(tracks)
        clips = tuple(_evidence(*item) for item in zip(people, tracks, logits.tolist(), strict=True))
        settings, calibration = self.settings, self.classifier.contract.calibration
        probability = aggregate(clips, calibration, settings.clip_range, settings.prevalence)
        return replace(row, probability=probability, reason=Reason.OK, faces=len(set(people)), clips=clips)

    def _windows(self, path: str | Path) -> Iterator[Frames]:
        """The decoded windows. Map over them: a loop's variable would keep one while the next is decoded."""
        info = probe(path, limits=self.limits)
        return self.decoder.read(info, self._plan(info, self.settings.windows))

    def _plan(self, info: VideoInfo, windows: int) -> Plan:
        contract = self.classifier.contract
        return plan(info, windows=windows, count=contract.clip_length, stride=contract.clip_stride)

    def _cut(self, frames: Frames) -> list[tuple[Track, Pixels]]:
        return [(track, crop_track(frames, track, self.classifier.contract)) for track in self._follow(frames)]

    def _follow(self, frames: Frames) -> list[Track]:
        step = max(1, DETECT_EVERY // frames.window.stride)
        looked = sorted({*range(0, len(frames), step), len(frames) - 1})
        faces = self.detector.detect([frames.pictures[i] for i in looked])
        return follow(frames, dict(zip(looked, faces, strict=True)))


def _evidence(person: int, track: Track, logit: float) -> ClipScore:
    left, top, right, bottom = track.boxes.mean(axis=0, dtype=np.float64).tolist()
    return ClipScore(
        track=person,
        start=float(track.seconds[0]),
        end=float(track.seconds[-1]),
        box=(left, top, right, bottom),
        confidence=float(track.scores.mean(dtype=np.float64)),
        logit=logit,
    )
