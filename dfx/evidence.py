"""Evidence: what a person is shown of a video, decoded again in child processes, since a video is hostile input."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dfx.contain import contained
from dfx.errors import VideoError
from dfx.examine import examine
from dfx.infer.session import check_unchanged, fingerprints
from dfx.info import VideoInfo
from dfx.messages import Message
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.serving import give_back
from dfx.settings import Limits, Settings
from dfx.values import ClipScore, Pixels, Prediction, Reason, Track
from dfx.views import FACE, View, brightness, sharpness, strip, webp

STRIPS = 2  # face clips shown a video: those with the largest logits, of either sign
DECODED = {Reason.OK, Reason.NO_FACE}  # what failed once is not decoded again
Sight = dict[str, Any]
"""What is shown of a video, in plain values (see `show`)."""


def request(prediction: Prediction, path: Path, windows: int) -> dict[str, Any]:
    """What `show` is asked for: which video, the windows to decode (0: container only) and the clips to show."""
    return {
        "path": str(path),
        "windows": windows if prediction.reason in DECODED else 0,
        "turned": prediction.turned,
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

    A video that its process dies of, or that takes too long, has a `problem` and no pictures. done: called after each.
    Raises InputError on fewer than one worker.
    """
    options = {"settings": settings.to_json(), "models": fingerprints([settings.detector, *settings.models])}
    names, sights = list(requests), dict[str, Sight]()
    for place, answer in contained("sights", options, list(requests.values()), limits, workers):
        sights[names[place]] = _failed(answer) if "reason" in answer else answer
        done()
    return sights


def _failed(answer: Message) -> Sight:
    return {"problem": f"decoding it for this page failed: {answer['detail']}"}


class SightsTask:
    """Shows one video after the other, in a child process. models: their files, and the hashes that they must have."""

    def __init__(self, limits: Limits, settings: dict[str, Any], models: dict[str, str]) -> None:
        check_unchanged(models)
        self._pipeline = Pipeline(Settings.from_json(settings), limits)

    def __call__(self, path: str, windows: int, turned: int, clips: list[dict[str, Any]]) -> Sight:
        """What `show` says."""
        sight = show(self._pipeline, path, windows, turned, clips)
        give_back()
        return sight


def show(pipeline: Pipeline, path: str, windows: int, turned: int, clips: Sequence[dict[str, Any]]) -> Sight:
    """What a `request` asks for, in plain values; pictures are WebP in base64.

    problem: why something lacks; facts: [[name, value]]; size: width and height of the upright picture; duration:
    seconds; bits: a pixel and frame; problems: as `dfx.examine` has them; scenes: {start, end, picture}; clips: {start,
    end, track, box, strip, sharpness, brightness}, in the order of the request.
    """
    sight: Sight = {"problem": "", "scenes": [], "clips": []}
    try:
        info = probe(path, limits=pipeline.limits)
        sight |= _facts(info, turned)
        sight["problems"] = examine(Path(path), pipeline.limits, digest=False)[1]
        if windows:
            sight |= _pictures(pipeline.views(info, windows, turned), clips)
    except (VideoError, OSError, MemoryError) as error:
        sight["problem"] = str(error) or type(error).__name__
    except Exception as error:  # one odd video must not cost the others their pictures
        sight["problem"] = f"{type(error).__name__}: {error}"
    return sight


def _facts(info: VideoInfo, turned: int) -> Sight:
    lying, width = (info.rotation + turned) % 180 == 90, round(info.width * info.stretch)
    pixels = info.width * info.height * max(1, info.frames)
    return {
        "facts": [[str(name), str(value)] for name, value in info.rows() if name not in {"path", "stream"}],
        "size": [info.height, width] if lying else [width, info.height],
        "duration": info.duration,
        "bits": 8 * info.bytes / pixels,
    }


def _pictures(views: Sequence[View], clips: Sequence[dict[str, Any]]) -> Sight:
    shown = [_strip(clip, views) for clip in clips]
    times = [clip["start"] for clip in clips[:1]] or [0.0]
    scenes = [min(views, key=lambda view: abs(view.start - time)) for time in times if views]
    return {
        "clips": [clip for clip in shown if clip],
        "scenes": [{"start": view.start, "end": view.end, "picture": _base64(view.scene)} for view in scenes],
    }


def _strip(clip: dict[str, Any], views: Sequence[View]) -> Sight | None:
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
