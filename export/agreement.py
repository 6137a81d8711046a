"""What two forms of one model may differ by, and the inputs that they are compared on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx import ops
from dfx.find import find
from dfx.infer import ClassifierContract
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.settings import Settings

Array = NDArray[Any]
TOLERANCES = {"fp32": 2e-4, "fp16": 0.05, "int8": 0.5}
"""Largest difference from FP32 in logits (a classifier's, or a detector's scores as logits): sums in another order;
ten bits of mantissa through fifty layers; eight bits."""
LONG_SIDE = 640  # pixels of the detector's canvas
PICTURES = 4  # of each video, for the detector


def inputs(model: Path, task: str, videos: Sequence[str | Path], count: int) -> list[Array]:
    """At most `count` inputs of a model, each a batch of one, as a prediction with it would give them.

    Returns uint8 [1, T, 3, S, S] for "deepfake-clip", as the model's contract says; [1, 3, H, W] for "face-detector".

    Raises:
        ValueError: no video gave any.
    """
    pipeline = Pipeline(Settings(models=(model,)) if task == ClassifierContract.task else Settings())
    cut = _clips if task == ClassifierContract.task else _canvases
    paths = [path for item in find(list(videos)) if (path := item.path) is not None]
    found = list(islice((array for path in paths for array in cut(pipeline, path)), count))
    if not found:
        raise ValueError(f"none of {len(paths)} videos gave an input for a {task}: name videos with faces")
    return found


def _clips(pipeline: Pipeline, path: Path) -> Iterator[Array]:
    for _, clip in pipeline.clips(path):
        yield np.asarray(clip)[None]


def _canvases(pipeline: Pipeline, path: Path) -> Iterator[Array]:
    info = probe(path)
    for frames in pipeline.decoder.read(info, pipeline.plan(info)):
        pictures = frames.pictures[:PICTURES]
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, LONG_SIDE)
        canvases = np.asarray(ops.letterbox(pictures, box.height, box.width))
        yield from (canvas[None] for canvas in canvases)


def logits(task: str, outputs: Sequence[Array]) -> Array:
    """What is compared: a classifier's logits; a detector's scores as logits, held within 1e-4 of 0 and 1."""
    first = np.asarray(outputs[0], np.float64)
    if task == ClassifierContract.task:
        return first
    scores = first.clip(1e-4, 1 - 1e-4)
    return np.asarray(np.log(scores / (1 - scores))) if np.isfinite(first).all() else first
