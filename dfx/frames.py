"""Frames: pictures of a video as files, whole or the faces in them, named so that they sort and trace back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx.arguments import check_kind, finite, whole
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import InputError
from dfx.extract import Extracted, extract, save
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.plan import Timeline
from dfx.probe import probe
from dfx.settings import EXTRACTING, Limits, Settings, limits_given
from dfx.stills import FORMATS, encoded, from_crop, from_planes
from dfx.track import join
from dfx.values import Pixels, Plan, Track, Window

COUNT = 10  # pictures of a video, unless told
TIMES = "finite seconds from 0 on, as [0, 2.5],"


def frames(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    count: int | None = None,
    every: float | None = None,
    times: Sequence[float] | None = None,
    plan: bool = False,
    faces: bool = False,
    kind: str = "png",
    overwrite: bool = False,
    limits: Limits | None = None,
    workers: int | None = None,
    follow_symlinks: bool = False,
    progress: bool = False,
) -> Extracted:
    """Writes pictures of videos into a folder, as `<video>_f<frame>_<seconds>s.png`, the frame counted from 0.

    Which pictures: one of `count`, `every`, `times` and `plan`; ten spread over the video unless told. Each picture
    that a file is there for already is left alone, and not decoded again. Whole pictures are upright and follow the
    stream's colour tags. Face crops are aligned and coloured (BT.601) to the bit as the classifier is given them, a
    file `..._p<person>.png` each.

    Args:
        source: a folder, a file, a glob, or several of these.
        out: the folder, made if need be; the folders of `source` are kept below it.
        count: pictures spread evenly over the video.
        every: seconds from one picture to the next, from the first on.
        times: seconds from the first picture; each gives the picture that is shown then.
        plan: the pictures that a prediction looks at first; with `faces`, those too in which it looks further.
        faces: cut out the faces that a prediction would follow.
        kind: "png", or "jpg" for whole pictures.
        overwrite: write files anew that are there already.
        limits, workers, follow_symlinks, progress: as `dfx.inspect` has them.

    Returns:
        A row a video: how many pictures were written and how many were there, and what stood in the way.

    Raises:
        MissingInputError, InputError, OutputError, DependencyError: before any video is opened.
    """
    limits = limits_given(limits, EXTRACTING)
    given = {"count": count, "every": every, "times": _listed(times), "plan": plan or None}
    chosen = {name: value for name, value in given.items() if value is not None} or {"count": COUNT}
    _check(chosen, faces, kind)
    plain = {way: np.asarray(value).tolist() for way, value in chosen.items()}  # for a message
    options = {"chosen": plain, "faces": faces, "kind": kind, "overwrite": overwrite}
    return extract(
        "frames", options, source, Path(out), limits, workers=workers, follow=follow_symlinks, progress=progress
    )


def _listed(times: Sequence[float] | None) -> list[float] | None:
    if times is None:
        return None
    check_kind("times", times, Iterable, TIMES)
    return list(times)


def _check(chosen: dict[str, Any], faces: bool, kind: str) -> None:
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)} were given; one way to choose the pictures is needed")
    ((way, value),) = chosen.items()
    if way == "count":
        whole("count", value, 1)
    if way == "every":
        finite("every", value, "a finite number of seconds above 0", lambda seconds: seconds > 0)
    if way == "times":
        for time in value:
            finite("times", time, TIMES, lambda seconds: seconds >= 0, shown=value)
    check_kind("the format", kind, str, "png or jpg")
    if kind not in FORMATS or (faces and kind != "png"):
        raise InputError(f"the format is {kind!r}; png is needed, or jpg for whole pictures")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the pictures of one video go. stem: path without the endings."""

    stem: Path
    kind: str

    def file(self, index: int, seconds: float, person: int | None = None) -> Path:
        whose = "" if person is None else f"_p{person}"
        return self.stem.with_name(f"{self.stem.name}_f{index:06d}_{seconds:08.3f}s{whose}.{self.kind}")


class FramesTask:
    """Writes the pictures of one video after the other, in a child process."""

    def __init__(self, limits: Limits, chosen: dict[str, Any], faces: bool, kind: str, overwrite: bool) -> None:
        self._limits, self._chosen, self._faces, self._kind = limits, chosen, faces, kind
        self._overwrite = overwrite
        self._pipeline = Pipeline(Settings(), limits) if faces or "plan" in chosen else None

    def __call__(self, path: str, stem: str) -> dict[str, Any]:
        """How many pictures were written, and how many were there already."""
        info = probe(path, limits=self._limits)
        place = _Place(Path(stem), self._kind)
        written, kept = self._crops(info, place) if self._faces else self._whole(info, place)
        return {"written": written, "kept": kept, "note": self._note(info, written + kept)}

    def _whole(self, info: VideoInfo, place: _Place) -> tuple[int, int]:
        wanted, seconds = self._indices(info), _seconds(info)
        left = [i for i in wanted if self._overwrite or not place.file(i, seconds[i]).exists()]
        written = 0
        for window in PyAVDecoder(self._limits.pixels).read(info, plan_of(info, left)) if left else ():
            for index, picture in zip(window.index.tolist(), window.pictures, strict=True):
                save(place.file(index, seconds[index]), encoded(from_planes(picture), self._kind))  # type: ignore[arg-type]
                written += 1
        return written, len(wanted) - len(left)

    def _crops(self, info: VideoInfo, place: _Place) -> tuple[int, int]:
        assert self._pipeline is not None
        chosen = None if "plan" in self._chosen else plan_of(info, self._indices(info))
        written = kept = 0
        for person, index, seconds, crop in _crops_of(self._pipeline.clips(info.path, chosen)):
            file = place.file(index, seconds, person)
            if not self._overwrite and file.exists():
                kept += 1
                continue
            save(file, encoded(from_crop(crop), self._kind))
            written += 1
        return written, kept

    def _indices(self, info: VideoInfo) -> list[int]:
        if self._pipeline is not None and "plan" in self._chosen:
            return [index for window in self._pipeline.plan(info).windows for index in window.frames]
        return indices_of(info, **self._chosen)

    def _note(self, info: VideoInfo, pictures: int) -> str:
        late = [time for time in self._chosen.get("times", ()) if time >= _end(info)]
        if late:
            return f"it ends at {_end(info):.3f} s; no picture at {', '.join(f'{time:g}' for time in late)} s"
        return "no face in the pictures that were looked at" if self._faces and not pictures else ""


def indices_of(
    info: VideoInfo, *, count: int | None = None, every: float | None = None, times: Sequence[float] = ()
) -> list[int]:
    """Frames in order of presentation, none twice: `count` spread evenly, or those shown at certain seconds.

    Where more are asked for than there are: all of them.
    """
    seconds, first = _seconds(info), int(Timeline.of(info.packets).starts.min())
    if count is not None:
        count = min(count, len(seconds))
        spread = (np.arange(count) + 0.5) * len(seconds) / count  # the middles of as many equal parts
        indices = spread.astype(np.int64)
    else:
        finest = np.diff(seconds).min(initial=np.inf) / 2  # seconds: a finer step skips no frame either
        wanted = np.arange(0, _end(info), max(every, finest)) if every is not None else np.array(times, np.float64)
        shown = wanted[wanted < _end(info)]
        half_a_tick = float(info.time_base) / 2  # 0.040 s means the frame at 0.040 s, however the two are rounded
        indices = np.searchsorted(seconds, shown + half_a_tick, side="right") - 1
    return [int(i) for i in np.unique(indices.clip(first))]  # nothing before the first keyframe can be decoded


def plan_of(info: VideoInfo, indices: Sequence[int]) -> Plan:
    """A window a frame, each of which goes on where the one before it stopped: no packet is decoded twice."""
    timeline, windows = Timeline.of(info.packets), list[Window]()
    for index in indices:
        windows.append(timeline.window(index, 1, 1, windows[-1].stop if windows else 0))
    return Plan(tuple(windows))


def _crops_of(clips: Sequence[tuple[Track, Pixels]]) -> Iterator[tuple[int, int, float, Pixels]]:
    """Person, frame, seconds and crop. A clip that was made up to its length ends with its track."""
    for person, (track, clip) in zip(join([track for track, _ in clips]), clips, strict=True):
        for index, seconds, crop in zip(track.index.tolist(), track.seconds.tolist(), clip, strict=False):
            yield person, index, seconds, crop


def _seconds(info: VideoInfo) -> NDArray[np.float64]:
    """When each frame is shown, from the first on."""
    pts = np.sort(info.packets.pts).astype(np.float64)
    return np.asarray((pts - pts[0]) * float(info.time_base))


def _end(info: VideoInfo) -> float:
    """Seconds from the first picture to where the last one ends."""
    return float(_seconds(info)[-1] + 1 / info.rate)
