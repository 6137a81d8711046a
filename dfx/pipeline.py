"""The one place that knows all the stages: probe, plan, decode, detect, track, crop, classify, aggregate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from dfx import ops
from dfx.aggregate import aggregate
from dfx.classify import Ensemble
from dfx.crop import CLOSE, CLOSE_TEMPLATE, crop_around, crop_track
from dfx.decode import Decoder
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.detect import Detector
from dfx.errors import DeviceError, DeviceMemoryError, UnsupportedVideoError, VideoError
from dfx.false_faces import pictures, unsure
from dfx.infer import ClassifierContract
from dfx.info import VideoInfo
from dfx.ops.cuda import DeviceArray, Lane, compute_capability
from dfx.plan import plan
from dfx.probe import probe
from dfx.settings import FURTHER, HOST, Limits, Settings
from dfx.streams import note
from dfx.track import join, track_faces
from dfx.upright import Upright
from dfx.values import ClipScore, Dropped, Followed, Frames, Pixels, Plan, Prediction, Reason, Track, Verdict
from dfx.views import View, scene

if TYPE_CHECKING:
    from dfx.decode.dali import DALIDecoder

Found = TypeVar("Found")
Cuts = list[Pixels | DeviceArray]  # a person's clip in one window, once for each way in which the classifiers want it


class Seen(NamedTuple):
    """A track, its clips, none where it was dropped before they were cut, and what is around it, where others are."""

    followed: Followed
    cuts: Cuts
    around: Pixels | DeviceArray | None


class Look(NamedTuple):
    """What there is in so many windows of a video, and the degrees clockwise by which they were turned for it."""

    seen: list[Seen]
    windows: int
    turned: int


DETECT_EVERY = 8  # frames of the video between two looks for faces; tracks are interpolated between them


class Pipeline:
    """The networks, loaded once, and the way of a video through the stages.

    Serves one video at a time, on one core; with a `device`, the ordinal of a GPU, on one stream of it, which leaves
    the core to the videos of other threads. On a GPU, pictures stay there: boxes, matrices and logits come and go.
    engines: a folder of TensorRT engines of both networks for this very GPU; without one the CUDA provider runs them.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        limits: Limits | None = None,
        device: int = HOST,
        engines: Path | None = None,
    ) -> None:
        ops.require()
        self.settings, self.limits, self.device = settings or Settings(), limits or Limits(), device
        self._lane = Lane(device) if device != HOST else None
        self._capability = compute_capability(device) if self._lane else None
        self.decoder: Decoder = PyAVDecoder(self.limits.pixels)
        self.gpu_decoder = self._dali(self._lane) if self._lane else None
        self._said = False
        self.detector = Detector(self.settings.detector, self._lane, engines)
        self.classifier = Ensemble(self.settings.models, self._lane, engines)

    def _dali(self, lane: Lane) -> DALIDecoder:
        from dfx.decode.dali import DALIDecoder  # loaded for a GPU only

        return DALIDecoder(lane, self.limits.pixels)

    def predict(
        self, path: str | Path, filename: str | None = None, windows: int | None = None, further: bool = True
    ) -> Prediction:
        """Scores one video. Whatever is wrong with it becomes a reason on its row; only DeviceError is raised.

        windows: clips of frames to look at, at most; those of the settings unless told. further: look at up to FURTHER
        where these show nobody.
        """
        started = time.monotonic()
        row = Prediction(filename or Path(path).name, self.settings.prior, Reason.CRASHED)
        try:
            with self._on_device():
                row = self._score(row, Path(path), windows or self.settings.windows, further)
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
        """The windows that a prediction looks at first; where they show nobody, it looks further."""
        return self._plan(info, self.settings.windows)

    def looked_at(self, info: VideoInfo) -> list[int]:
        """The frames of these windows in which a prediction looks for faces, in order of presentation."""
        windows = self.plan(info).windows
        return sorted({window.frames[at] for window in windows for at in _looks(window.count, window.stride)})

    def clips(
        self, path: str | Path, chosen: Plan | None = None, contract: ClassifierContract | None = None
    ) -> list[tuple[Track, Pixels]]:
        """The aligned face clips of a video, window by window: uint8 [T, 3, S, S], as the first classifier sees them.

        chosen: other windows than those of a prediction; contract: of another classifier, to see them as that does.
        """
        with self._on_device():
            info = probe(path, limits=self.limits)
            look = self._look(info, chosen, contract) if chosen else self._search(info, contract=contract)
            return [(track, np.asarray(cuts[0])) for track, cuts in _living(look.seen)]

    def tracks(self, path: str | Path) -> tuple[list[Track], int]:
        """The people in a video, a track for each person and window, in order of time; and the degrees by which dfx
        turned it, in whose pixels they are."""
        followed, turned = self.followed(path)
        return [each.track for each in followed if each.verdict is None], turned

    def followed(self, path: str | Path) -> tuple[list[Followed], int]:
        """What `tracks` says, with the tracks that were dropped and why, window by window."""
        with self._on_device():
            seen, _, turned = self._search(probe(path, limits=self.limits))
            return [each.followed for each in seen], turned

    def views(self, info: VideoInfo, windows: int, turned: int = 0) -> list[View]:
        """What a person is shown of a video, window by window: those that a prediction of so many windows looks at.

        Decoded on the CPU, whatever the device. turned: the prediction's.
        """
        read = self.decoder.read(info, self._plan(info, windows))
        return _all(self._view, map(methodcaller("turned", turned), read))

    def _search(
        self,
        info: VideoInfo,
        windows: int | None = None,
        further: bool = True,
        contract: ClassifierContract | None = None,
    ) -> Look:
        """What there is in so many windows; where they show nobody, and there are more, in FURTHER."""
        look = self._look(info, self._plan(info, windows or self.settings.windows), contract)
        if _living(look.seen) or not further:
            return look
        more = self._plan(info, FURTHER)
        return self._look(info, more, contract) if len(more.windows) > look.windows else look

    def _look(self, info: VideoInfo, chosen: Plan, contract: ClassifierContract | None = None) -> Look:
        """What there is in the windows, judged together: people who do not stand upright in any of them cost a second
        pass."""
        cut, upright = partial(self._cut, contract=contract), Upright(self.detector)

        def heard(frames: Frames) -> list[Seen]:
            seen = cut(frames)
            upright.ask(frames, [track for track, _ in _living(seen)])
            return seen

        seen, turn = self._through(heard, info, chosen), upright.turn
        if turn:
            seen = self._through(lambda frames: cut(frames.turned(turn)), info, chosen)
        return Look(_judged(seen, self.detector.sure), len(chosen.windows), turn)

    def _score(self, row: Prediction, path: Path, windows: int, further: bool) -> Prediction:
        seen, count, turned = self._search(probe(path, limits=self.limits), windows, further)
        dropped = tuple(_dropped(each.track, each.verdict) for each, *_ in seen if each.verdict)
        row = replace(row, windows=count, dropped=dropped, turned=turned)
        pairs = _living(seen)
        if not pairs:
            return replace(row, reason=Reason.NO_FACE, detail=_faceless(dropped))
        tracks = [track for track, _ in pairs]
        said = self.classifier.score([cuts for _, cuts in pairs])
        people, settings = join(tracks), self.settings
        clips = tuple(self._evidence(*item) for item in zip(people, tracks, said.tolist(), strict=True))
        probability = aggregate(clips, self.classifier.calibration, settings.clip_range, settings.prevalence)
        return replace(row, probability=probability, reason=Reason.OK, faces=len(set(people)), clips=clips)

    def _evidence(self, person: int, track: Track, said: list[float]) -> ClipScore:
        """said: the logit of each classifier."""
        return ClipScore(person, *_place(track), self.classifier.mean(said), self.classifier.opinions(said))

    def _plan(self, info: VideoInfo, windows: int) -> Plan:
        count, stride = self.classifier.window
        return plan(info, windows=windows, count=count, stride=stride)

    def _through(self, stage: Callable[[Frames], list[Found]], info: VideoInfo, chosen: Plan) -> list[Found]:
        """What a stage finds in the decoded windows. What the GPU's decoder cannot read, the CPU's reads."""
        if self.gpu_decoder and suits(info, self._capability) is None:
            try:
                return _all(stage, self.gpu_decoder.read(info, chosen))
            except UnsupportedVideoError:  # the CPU's decoder takes more
                pass
            except (VideoError, DeviceMemoryError) as error:  # and it salvages what a broken file still holds
                self._say_once(f"{error}. The CPU's decoder is tried; others that go this way are not named")
        return _all(stage, self.decoder.read(info, chosen))

    def _say_once(self, words: str) -> None:
        """Where every video went this way, a run would only be slow, and nobody would know why."""
        if not self._said:
            note(words)
        self._said = True

    def _on_device(self) -> AbstractContextManager[object]:
        return self._lane or nullcontext()

    def _cut(self, frames: Frames, contract: ClassifierContract | None = None) -> list[Seen]:
        """contract: the only way of cutting, in place of the classifiers' own."""
        followed = self._follow(frames)
        several = sum(each.verdict is None for each in followed) > 1
        ways = [contract] if contract else self.classifier.cuts
        return [Seen(each, [], None) if each.verdict else _seen(frames, each, ways, several) for each in followed]

    def _view(self, frames: Frames) -> list[View]:
        close = replace(self.classifier.contract, crop_size=CLOSE, crop_template=CLOSE_TEMPLATE)
        faces = tuple((track, np.asarray(cuts[0])) for track, cuts in _living(self._cut(frames, close)))
        middle = scene(frames.pictures[len(frames) // 2])  # type: ignore[arg-type]
        return [View(float(frames.seconds[0]), float(frames.seconds[-1]), middle, faces)]

    def _follow(self, frames: Frames) -> list[Followed]:
        looked = _looks(len(frames), frames.window.stride)
        faces = self.detector.watch([frames.pictures[i] for i in looked])  # type: ignore[arg-type]
        return track_faces(frames, dict(zip(looked, faces, strict=True)), self.detector.sure)


def _seen(frames: Frames, followed: Followed, ways: Sequence[ClassifierContract], several: bool) -> Seen:
    cuts = [crop_track(frames, followed.track, way) for way in ways]
    return Seen(followed, cuts, crop_around(frames, followed.track) if several else None)


def _looks(count: int, stride: int) -> list[int]:
    """The places in a window of so many frames where faces are looked for: its first, its last, and some between."""
    return sorted({*range(0, count, max(1, DETECT_EVERY // stride)), count - 1})


def _judged(seen: Sequence[Seen], sure: float) -> list[Seen]:
    """With the verdicts that all windows together give: posters, prints, and what is hardly a face."""
    tracks = [track for track, _ in _living(seen)]
    around = [each.around for each in seen if each.followed.verdict is None]
    people = join(tracks)
    both = zip(pictures(tracks, around, people), unsure(tracks, people, sure), strict=True)
    verdicts = iter([picture or doubt for picture, doubt in both])
    judged = (each.followed.verdict or next(verdicts) for each in seen)
    return [
        each._replace(followed=replace(each.followed, verdict=verdict))
        for each, verdict in zip(seen, judged, strict=True)
    ]


def _living(seen: Sequence[Seen]) -> list[tuple[Track, Cuts]]:
    """Without what was dropped."""
    return [(each.followed.track, each.cuts) for each in seen if each.followed.verdict is None]


def _faceless(dropped: Sequence[Dropped]) -> str:
    """Why no face was scored."""
    if not dropped:
        return "no face was found in the pictures that were looked at"
    counts = Counter(track.verdict for track in dropped).most_common()
    return f"no real face was found, only {', '.join(f'{verdict} ({count})' for verdict, count in counts)}"


def _all(stage: Callable[[Frames], list[Found]], windows: Iterator[Frames]) -> list[Found]:
    """Maps over the windows: a loop's variable would keep one while the next is decoded."""
    return list(chain.from_iterable(map(stage, windows)))


def _dropped(track: Track, verdict: Verdict) -> Dropped:
    return Dropped(verdict, *_place(track))


def _place(track: Track) -> tuple[float, float, tuple[float, float, float, float], float]:
    """Start, end, mean box and mean confidence."""
    left, top, right, bottom = track.boxes.mean(axis=0, dtype=np.float64).tolist()
    confidence = float(track.scores.mean(dtype=np.float64))
    return float(track.seconds[0]), float(track.seconds[-1]), (left, top, right, bottom), confidence
