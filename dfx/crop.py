"""Crop: tracks -> aligned face clips, cut straight from the decoder's pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfx import ops
from dfx.infer import ClassifierContract
from dfx.ops.cuda import DeviceArray
from dfx.values import Float, Frames, Pixels, Track

CLOSE = 160  # pixels, the side of a view of a face from forehead to chin, as a person is shown it
CLOSE_POINTS = ((0.302, 0.281), (0.698, 0.281), (0.5, 0.516), (0.334, 0.712), (0.666, 0.712))
"""Where the landmarks lie in it, in its sides, whatever clips a classifier wants: their mean in the DFDC crops
(`dfx/torch/crop_template.py`)."""
CLOSE_TEMPLATE = np.array(CLOSE_POINTS, np.float32)
AROUND = 160  # pixels, the side of a view of a face with what is around it
AROUND_TEMPLATE = np.array([[0.421, 0.412], [0.579, 0.412], [0.5, 0.506], [0.434, 0.585], [0.566, 0.585]], np.float32)
"""The same: the face fills two fifths."""


def crop_track(frames: Frames, track: Track, contract: ClassifierContract) -> Pixels | DeviceArray:
    """Cuts one person's clip: uint8 [T, 3, S, S], RGB as BT.601, T and S from the classifier's contract, on a GPU
    where the pictures are.

    Each picture is aligned by the similarity (Umeyama, 1991) that brings the track's landmarks to the contract's
    template. The window may hold frames for other classifiers between the contract's own; one that ends before the T
    frames is made up by holding its last one.
    """
    step = max(1, contract.clip_stride // frames.window.stride)
    rows = np.minimum(step * np.arange(contract.clip_length), len(track) - 1)
    return _cut(frames, track, rows, contract.crop_template, contract.crop_size)


def crop_around(frames: Frames, track: Track) -> Pixels | DeviceArray:
    """Cuts a face with what is around it: uint8 [F, 3, AROUND, AROUND], a picture a row of the track, as `crop_track`
    does."""
    return _cut(frames, track, np.arange(len(track)), AROUND_TEMPLATE, AROUND)


def crop_middle(frames: Frames, track: Track, size: int) -> Pixels | DeviceArray:
    """As `crop_around`, of the track's middle picture alone: uint8 [3, size, size]."""
    row = np.array([len(track) // 2])
    return _cut(frames, track, row, AROUND_TEMPLATE, size).reshape((3, size, size))


def _cut(frames: Frames, track: Track, rows: NDArray[np.int64], template: Float, size: int) -> Pixels | DeviceArray:
    where = {int(index): i for i, index in enumerate(frames.index)}
    pictures = [frames.pictures[where[int(track.index[row])]] for row in rows]
    matrices = ops.similarity(track.landmarks, template, size)  # crop pixels -> picture pixels, float32 [F, 2, 3]
    return ops.crop(pictures, matrices[rows], size)
