"""Crop: tracks -> aligned face clips, cut straight from the decoder's pictures."""

from __future__ import annotations

import numpy as np

from dfx import ops
from dfx.infer import ClassifierContract
from dfx.ops.cuda import DeviceArray
from dfx.values import Float, Frames, Pixels, Track


def crop_track(frames: Frames, track: Track, contract: ClassifierContract) -> Pixels | DeviceArray:
    """Cuts one person's clip: uint8 [T, 3, S, S], RGB as BT.601, T and S from the classifier's contract, on a GPU
    where the pictures are.

    Each picture is aligned by the similarity (Umeyama, 1991) that brings the track's landmarks to the contract's
    template. The window may hold frames for other classifiers between the contract's own; one that ends before the T
    frames is made up by holding its last one.
    """
    step = max(1, contract.clip_stride // frames.window.stride)
    rows = np.minimum(step * np.arange(contract.clip_length), len(track) - 1)
    where = {int(index): i for i, index in enumerate(frames.index)}
    pictures = [frames.pictures[where[int(track.index[row])]] for row in rows]
    return ops.crop(pictures, _matrices(track, contract)[rows], contract.crop_size)


def _matrices(track: Track, contract: ClassifierContract) -> Float:
    """Crop pixels -> picture pixels, float32 [F, 2, 3]."""
    return ops.similarity(track.landmarks, contract.crop_template, contract.crop_size)
