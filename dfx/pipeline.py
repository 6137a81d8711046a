"""The one place that knows all the stages: probe, plan, decode, detect, track, crop, classify, aggregate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from dfx import ops
from dfx.aggregate import aggregate
from dfx.classify import Classifier
from dfx.crop import crop_track
from dfx.decode import Decoder
from dfx.decode.dali import DALIDecoder
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.detect import Detector
from dfx.errors import DeviceError, VideoError
from dfx.ops.cuda import DeviceArray, Lane, compute_capability
from dfx.picture import scene
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import Limits, Settings
from dfx.sift import pictures
from dfx.track import join, sift
from dfx.values import (
    HOST,
    ClipScore,
    Followed,
    Frames,
    Pixels,
    Plan,
    Prediction,
    Reason,
    Track,
    Verdict,
    VideoInfo,
    View,
)

Found = TypeVar("Found")
DETECT_EVERY = 8  # frames of the video between two looks for faces; tracks are interpolated between them


class Pipeline:
    """The networks, loaded once, and the way of a video through the stages.

    Serves one video at a time, on one core; with a `device`, the ordinal of a GPU, on one stream of it, which leaves
    the core to the videos of other threads. On a GPU, pictures stay there: boxes, matrices and logits come and go.
    """

    def __init__(self, settings: Settings | None = None, limits: Limits | None = None, device: int = HOST) -> None:
        ops.require()
        self.settings, self.limits, self.device = settings or Settings(), limits or Limits(), device
        self._lane = Lane(device) if device != HOST else None
        self._capability = compute_capability(device) if self._lane else None
        self.decoder: Decoder = PyAVDecoder(self.limits.pixels)
        self.gpu_decoder = DALIDecoder(device, self._lane.stream, self.limits.pixels) if self._lane else None
        self.detector = Detector(self.settings.detector, self._lane)
        self.classifier = Classifier(self.settings.model, self._lane)

    def predict(self, path: str | Path, filename: str | None = None, windows: int | None = None) -> Prediction:
        """Scores one video. Whatever is wrong with it becomes a reason on its row; only DeviceError is raised.

        windows: clips of frames to look at, at most; those of the settings unless told.
        """
        started = time.monotonic()
        row = Prediction(filename or Path(path).name, self.settings.prior, Reason.CRASHED)
        try:
            with self._on_device():
                row = self._score(row, Path(path), windows or self.settings.windows)
        except DeviceError:  # the GPU is lost to this process, and to every video after this one
            raise
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

    def plan(self, info: VideoInfo) -> Plan:
        """The windows that a prediction looks at."""
        return self._plan(info, self.settings.windows)

    def clips(self, path: str | Path, chosen: Plan | None = None) -> list[tuple[Track, Pixels]]:
        """The aligned face clips of a video, window by window: uint8 [T, 3, S, S], as the classifier sees them.

        chosen: other windows than those of a prediction.
        """
        with self._on_device():
            info = probe(path, limits=self.limits)
            pairs = _living(self._through(self._cut, info, chosen or self.plan(info)))
            return [(track, np.asarray(clip)) for track, clip in pairs]

    def tracks(self, path: str | Path) -> list[Track]:
        """The people in a video: a track for each person and window, in order of time."""
        return [each.track for each in self.followed(path) if each.verdict is None]

    def followed(self, path: str | Path) -> list[Followed]:
        """What `tracks` says, with the tracks that were dropped and why, window by window."""
        with self._on_device():
            info = probe(path, limits=self.limits)
            seen = self._through(self._cut_all, info, self._plan(info, self.settings.windows))
        kept = [(each.track, clip) for each, clip in seen if each.verdict is None]
        verdicts = iter(_pictures(kept))
        return [replace(each, verdict=each.verdict or next(verdicts)) for each, _ in seen]

    def views(self, info: VideoInfo, windows: int) -> list[View]:
        """What a person is shown of a video, window by window: those that a prediction of so many windows looks at.

        Decoded on the CPU, whatever the device.
        """
        return _all(self._view, self.decoder.read(info, self._plan(info, windows)))

    def _score(self, row: Prediction, path: Path, windows: int) -> Prediction:
        info = probe(path, limits=self.limits)
        chosen = self._plan(info, windows)
        row = replace(row, windows=len(chosen.windows))
        pairs = _living(self._through(self._cut, info, chosen))
        if not pairs:
            return replace(row, reason=Reason.NO_FACE, detail="no face was found in the pictures that were looked at")
        tracks = [track for track, _ in pairs]
        logits = self.classifier.score([clip for _, clip in pairs])
        people = join(tracks)
        clips = tuple(_evidence(*item) for item in zip(people, tracks, logits.tolist(), strict=True))
        settings, calibration = self.settings, self.classifier.contract.calibration
        probability = aggregate(clips, calibration, settings.clip_range, settings.prevalence)
        return replace(row, probability=probability, reason=Reason.OK, faces=len(set(people)), clips=clips)

    def _plan(self, info: VideoInfo, windows: int) -> Plan:
        contract = self.classifier.contract
        return plan(info, windows=windows, count=contract.clip_length, stride=contract.clip_stride)

    def _through(self, stage: Callable[[Frames], list[Found]], info: VideoInfo, chosen: Plan) -> list[Found]:
        """What a stage finds in the decoded windows. What the GPU's decoder cannot read, the CPU's reads."""
        if self.gpu_decoder and suits(info, self._capability) is None:
            try:
                return _all(stage, self.gpu_decoder.read(info, chosen))
            except VideoError:  # the CPU's decoder takes more, and salvages what a broken file still holds
                pass
        return _all(stage, self.decoder.read(info, chosen))

    def _on_device(self) -> AbstractContextManager[object]:
        return self._lane or nullcontext()

    def _cut(self, frames: Frames) -> list[tuple[Track, Pixels | DeviceArray]]:
        return [(track, crop_track(frames, track, self.classifier.contract)) for track in self._follow(frames)]

    def _cut_all(self, frames: Frames) -> list[tuple[Followed, Pixels | DeviceArray]]:
        contract = self.classifier.contract
        return [(each, crop_track(frames, each.track, contract)) for each in self._sift(frames)]

    def _view(self, frames: Frames) -> list[View]:
        faces = tuple((track, np.asarray(clip)) for track, clip in self._cut(frames))
        middle = scene(frames.pictures[len(frames) // 2])  # type: ignore[arg-type]
        return [View(float(frames.seconds[0]), float(frames.seconds[-1]), middle, faces)]

    def _follow(self, frames: Frames) -> list[Track]:
        return [each.track for each in self._sift(frames) if each.verdict is None]

    def _sift(self, frames: Frames) -> list[Followed]:
        step = max(1, DETECT_EVERY // frames.window.stride)
        looked = sorted({*range(0, len(frames), step), len(frames) - 1})
        faces = self.detector.watch([frames.pictures[i] for i in looked])
        return sift(frames, dict(zip(looked, faces, strict=True)))


def _pictures(pairs: Sequence[tuple[Track, Pixels | DeviceArray]]) -> list[Verdict | None]:
    """The verdict that all windows together give on each track."""
    tracks = [track for track, _ in pairs]
    return pictures(tracks, [clip for _, clip in pairs], join(tracks))


def _living(pairs: list[tuple[Track, Pixels | DeviceArray]]) -> list[tuple[Track, Pixels | DeviceArray]]:
    """Without posters and prints."""
    return [pair for pair, verdict in zip(pairs, _pictures(pairs), strict=True) if verdict is None]


def _all(stage: Callable[[Frames], list[Found]], windows: Iterator[Frames]) -> list[Found]:
    """Maps over the windows: a loop's variable would keep one while the next is decoded."""
    return list(chain.from_iterable(map(stage, windows)))


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
