"""Evidence: what a person is shown of a video, decoded again in supervised workers, since a video is hostile input."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from dfx.arguments import whole
from dfx.device import Crew
from dfx.errors import VideoError
from dfx.infer.session import fingerprint
from dfx.info import VideoInfo
from dfx.picture import FACE, View, brightness, sharpness, strip, webp
from dfx.pool import Worker
from dfx.probe import probe
from dfx.process import WorkerDied, default_workers
from dfx.settings import Limits, Settings
from dfx.values import ClipScore, Pixels, Prediction, Reason, Track

if TYPE_CHECKING:
    from dfx.pipeline import Pipeline

STRIPS = 2  # face clips shown a video: those with the largest logits, of either sign
DECODED = {Reason.OK, Reason.NO_FACE}  # what failed once is not decoded again
Sight = dict[str, Any]
"""What a worker says of a video, in plain values (see `show`)."""


def request(prediction: Prediction, path: Path, windows: int) -> dict[str, Any]:
    """The message to a worker: which video, the windows to decode (none: container only) and the clips to show."""
    return {
        "show": True,
        "path": str(path),
        "windows": windows if prediction.reason in DECODED else 0,
        "clips": [asdict(clip) for clip in decisive(prediction)],
    }


def decisive(prediction: Prediction) -> list[ClipScore]:
    """The clips that drove the score, the one with the largest logit, of either sign, first."""
    return sorted(prediction.clips, key=lambda clip: -abs(clip.logit))[:STRIPS]


def gather(
    requests: Mapping[str, dict[str, Any]],
    settings: Settings,
    limits: Limits,
    workers: int | None = None,
    done: Callable[[], object] = lambda: None,
) -> dict[str, Sight]:
    """Has the videos looked at, in processes under the limits: file name -> what `show` says of it.

    A video that its worker dies of, or that takes too long, has a `problem` and no pictures. done: called after each.
    Raises InputError on fewer than one worker.
    """
    workers = default_workers() if workers is None else whole("workers", workers, 1)
    models = {str(path): fingerprint(path) for path in (settings.detector, *settings.models)}
    hello = {"settings": settings.to_json(), "limits": asdict(limits), "models": models, **asdict(Crew())}
    crew = [Worker(hello) for _ in range(min(workers, len(requests)))]
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in crew:
        free.put(worker)
    try:
        with ThreadPoolExecutor(max(1, len(crew))) as threads:
            futures = {threads.submit(_ask, free, item, limits.seconds): name for name, item in requests.items()}
            try:
                return dict(_finished(futures, done))
            except BaseException:  # an interruption must not wait for the videos that are left
                threads.shutdown(wait=False, cancel_futures=True)
                for worker in crew:
                    worker.stop()
                raise
    finally:
        for worker in crew:
            worker.close()


def _finished(futures: Mapping[Future[Sight], str], done: Callable[[], object]) -> Iterator[tuple[str, Sight]]:
    for future in as_completed(futures):
        yield futures[future], future.result()
        done()


def _ask(free: SimpleQueue[Worker], item: dict[str, Any], seconds: float) -> Sight:
    worker = free.get()
    try:
        worker.ensure()
        return worker.ask(item, seconds)
    except WorkerDied as death:
        took = f"took longer than {seconds:g} s" if death.expired else f"ended its worker ({death})"
        return {"problem": f"decoding it for this page {took}"}
    finally:
        free.put(worker)


def show(pipeline: Pipeline, item: Mapping[str, Any]) -> Sight:
    """In a worker: what a request asks for, in plain values; pictures are WebP in base64.

    problem: why something lacks; facts: [[name, value]]; size: width and height of the upright picture; duration:
    seconds; bits: a pixel and frame; scenes: {start, end, picture}; clips: {start, end, track, box, strip, sharpness,
    brightness}, in the order of the request.
    """
    sight: Sight = {"problem": "", "scenes": [], "clips": []}
    try:
        info = probe(item["path"], limits=pipeline.limits)
        sight |= _facts(info)
        if item["windows"]:
            sight |= _pictures(pipeline.views(info, item["windows"]), item["clips"])
    except (VideoError, OSError, MemoryError) as error:
        sight["problem"] = str(error) or type(error).__name__
    except Exception as error:  # one odd video must not cost the others their pictures
        sight["problem"] = f"{type(error).__name__}: {error}"
    return sight


def _facts(info: VideoInfo) -> Sight:
    turned, width = info.rotation in {90, 270}, round(info.width * info.stretch)
    pixels = info.width * info.height * max(1, info.frames)
    return {
        "facts": [[str(name), str(value)] for name, value in info.rows() if name not in {"path", "stream"}],
        "size": [info.height, width] if turned else [width, info.height],
        "duration": info.duration,
        "bits": 8 * info.bytes / pixels,
    }


def _pictures(views: Iterable[View], clips: list[dict[str, Any]]) -> Sight:
    views = list(views)
    shown = [_strip(clip, views) for clip in clips]
    times = [clip["start"] for clip in clips[:1]] or [0.0]
    scenes = [min(views, key=lambda view: abs(view.start - time)) for time in times if views]
    return {
        "clips": [clip for clip in shown if clip],
        "scenes": [{"start": view.start, "end": view.end, "picture": _base64(view.scene)} for view in scenes],
    }


def _strip(clip: dict[str, Any], views: Iterable[View]) -> Sight | None:
    """The clip that was scored, found again by its time and place; None where it is not there any more."""
    pairs = [pair for view in views if abs(view.start - clip["start"]) < 1e-6 for pair in view.faces]
    found = min(pairs, key=lambda pair: _apart(pair[0], clip["box"]), default=None)
    if found is None:
        return None
    pixels = found[1]
    measures = {"sharpness": sharpness(pixels), "brightness": brightness(pixels)}
    return clip | measures | {"strip": _base64(strip(pixels), FACE), "frames": len(pixels)}


def _apart(track: Track, box: list[float]) -> float:
    left, top, right, bottom = track.boxes.mean(axis=0).tolist()
    return math.dist((left, top, right, bottom), box)


def _base64(picture: Pixels, height: int | None = None) -> str:
    return base64.b64encode(webp(picture, height)).decode("ascii")
