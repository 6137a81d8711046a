"""Faces: several face detectors side by side on the same pictures: what each finds, and where they differ."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfx import ops
from dfx.arguments import check_kind, whole
from dfx.comparison import Comparison, Look, Looked, Seen, Shown
from dfx.contain import contained
from dfx.decode.pyav import PyAVDecoder
from dfx.detectors import FaceDetector, choose, open_detectors
from dfx.find import Found, find
from dfx.frames import indices_of, plan_of
from dfx.messages import Message
from dfx.outputs import Forms, check_output
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.settings import COMPARING, Limits, limits_given
from dfx.streams import bar
from dfx.values import Pixels, Planes
from dfx.views import scene

SHOWN = 24  # pictures of a sheet
SHOWN_EACH = 2  # of one video
BOXES: Forms = {".csv": b"filename,frame,seconds,detector,"}
SHEET: Forms = {".png": b"\x89PNG"}


def faces(
    source: str | Path | Sequence[str | Path],
    detectors: str | Sequence[str] = ("retinaface",),
    *,
    pictures: int | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    follow_symlinks: bool = False,
    progress: bool = False,
) -> Comparison:
    """Runs face detectors side by side on the same pictures of videos, each decoded once, in a child process.

    Unless told, the pictures are those in which a prediction first looks for faces: what a detector misses there is not
    scored, and what it invents there is. They are upright, RGB as BT.601, as in a prediction.

    Args:
        source: a folder, a file, a glob, or several of these.
        detectors: `retinaface` (dfx's own), `haar`, `mtcnn`, `blazeface`, `hog`, `yunet=FILE.onnx`, `yolo=FILE.onnx`;
            a list, or one text with commas. `dfx.detectors` says where each comes from, and what the ONNX files must
            look like.
        pictures: of each video, spread evenly over it, in place of those.
        limits: time, memory, pixels and duration a video; ten minutes and 8 GiB unless told.
        workers: processes, one a core unless told.
        follow_symlinks: also follow links that lead out of the folder.
        progress: show a bar on standard error.

    Returns:
        A row a video, sorted by name; `overview`, `sizes`, `pairs` and `votes` are tables over all of them.

    Raises:
        MissingInputError, InputError, DependencyError, ModelError: before any video is opened.
    """
    pictures = None if pictures is None else whole("pictures", pictures, 1)
    limits = limits_given(limits, COMPARING)
    detectors = _listed(detectors)
    names = tuple(one.name for one in choose(detectors))
    found = find(source, follow_symlinks=follow_symlinks)
    jobs = [{"path": str(item.path)} for item in found]
    options = {"detectors": detectors, "pictures": pictures}
    answers, shown = dict[int, Looked](), list[tuple[int, int, int, Shown]]()
    with bar(total=len(jobs), unit="video", shown=progress) as progressed:
        for place, answer in contained("faces", options, jobs, limits, workers):
            answers[place] = _looked(found[place], answer)
            shown = sorted([*shown, *_ranked(place, answers[place], answer)], key=lambda one: one[:3])[:SHOWN]
            progressed.update()
    return Comparison(names, tuple(answers[n] for n in range(len(found))), tuple(one[3] for one in shown))


def _listed(detectors: str | Sequence[str]) -> list[str]:
    """The names, of which one text may hold several."""
    needed = "a name or a list of names, as 'retinaface,haar',"
    check_kind("detectors", detectors, Iterable, needed)
    names = detectors.split(",") if isinstance(detectors, str) else list(detectors)
    for name in names:
        check_kind("a name in detectors", name, str, needed)
    return names


class FacesTask:
    """Looks for faces in one video after the other, in a child process."""

    def __init__(self, limits: Limits, detectors: list[str], pictures: int | None) -> None:
        self._limits, self._pictures = limits, pictures
        self._pipeline = Pipeline(limits=limits) if pictures is None else None
        self._detectors = open_detectors(choose(detectors))

    def __call__(self, path: str) -> dict[str, Any]:
        """What each detector found in each picture, and the most disputed pictures."""
        info = probe(path, limits=self._limits)
        looks, shown = list[Look](), list[tuple[int, int, Planes]]()
        indices = self._pipeline.looked_at(info) if self._pipeline else indices_of(info, count=self._pictures)
        for window in PyAVDecoder(self._limits.pixels).read(info, plan_of(info, indices)):
            for index, seconds, planes in zip(window.index, window.seconds, window.pictures, strict=True):
                assert isinstance(planes, Planes)
                looks.append(look(int(index), float(seconds), rgb_of(planes), self._detectors))
                mark = (-looks[-1].disputed, len(looks) - 1, planes)
                shown = sorted([*shown, mark], key=lambda one: one[:2])[:SHOWN_EACH]
        pictures = [{"look": number, **_thumbnail(planes)} for disputed, number, planes in shown if disputed]
        return {"looks": [_plain(one) for one in looks], "shown": pictures}


def rgb_of(planes: Planes) -> Pixels:
    """A decoded picture in RGB as BT.601, uint8 [H, W, 3]: the colours that dfx's networks see."""
    planar = ops.letterbox([planes], planes.height, planes.width)[0]
    return np.ascontiguousarray(planar.transpose(1, 2, 0))


def look(index: int, seconds: float, picture: Pixels, detectors: Sequence[FaceDetector]) -> Look:
    """What each detector sees in a picture RGB uint8 [H, W, 3]; its time includes scaling the picture for itself."""
    return Look(index, seconds, tuple(_timed(detector, picture) for detector in detectors))


def check_out(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Raises InputError or OutputError where the table cannot be saved there, before any work is done."""
    check_output(path, BOXES, inputs)


def check_sheet(path: str | Path, inputs: Sequence[str | Path] = ()) -> None:
    """Raises InputError, OutputError or DependencyError where a sheet cannot be written there, before any work."""
    from dfx.sheet import opencv

    check_output(path, SHEET, inputs)
    opencv()


def _timed(detector: FaceDetector, picture: Pixels) -> Seen:
    started = time.process_time()
    found = detector.detect(picture)
    return Seen(found.boxes, found.scores, 1000 * (time.process_time() - started))


def _plain(one: Look) -> Message:
    """As plain values, for the pipe to the parent."""
    seen = [[item.boxes.tolist(), item.confidence.tolist(), item.milliseconds] for item in one.seen]
    return {"index": one.index, "seconds": one.seconds, "seen": seen}


def _look_of(plain: Message) -> Look:
    """The inverse of `_plain`."""
    seen = [
        Seen(np.array(boxes, np.float32).reshape(-1, 4), np.array(confidence, np.float32), spent)
        for boxes, confidence, spent in plain["seen"]
    ]
    return Look(plain["index"], plain["seconds"], tuple(seen))


def _looked(item: Found, answer: Message) -> Looked:
    if "reason" in answer:
        return Looked(item.filename, problem=f"{answer['reason']}: {answer['detail']}")
    return Looked(item.filename, tuple(map(_look_of, answer["looks"])))


def _thumbnail(planes: Planes) -> Message:
    picture = scene(planes)
    data = base64.b64encode(picture.tobytes()).decode("ascii")
    return {"shape": picture.shape, "scale": picture.shape[1] / planes.width, "pixels": data}


def _ranked(place: int, item: Looked, answer: Message) -> Iterator[tuple[int, int, int, Shown]]:
    """The pictures for the sheet with what they are sorted by: first one of every video, the most disputed first."""
    for rank, one in enumerate(answer.get("shown", ())):
        pixels = np.frombuffer(base64.b64decode(one["pixels"]), np.uint8).reshape(one["shape"])
        looked = item.looks[one["look"]]
        yield rank, -looked.disputed, place, Shown(item.filename, looked, pixels, one["scale"])
