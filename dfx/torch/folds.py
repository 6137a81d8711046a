"""Scores of labelled videos by what was fitted without their generators and people, and the calibration of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from dfx.infer import Calibration
from dfx.torch.clip_data import Sample

Float = NDArray[np.float64]
ALARMING = 0.1  # share of real videos that may score above 0.5
Method = Callable[[Sequence[Sample], Sequence[Sample]], Float]
"""Of training and of test videos: fits itself to the ones, and gives what it says of the others."""


def labels(data: Sequence[Sample]) -> NDArray[np.bool_]:
    """Whether each video is fake: bool [N]."""
    return np.array([sample.video.fake for sample in data])


def left_out(method: Method, data: Sequence[Sample]) -> Float:
    """What a method says of every video, fitted without its fold: float [N]."""
    said = np.zeros(len(data))
    folds = np.array([sample.video.fold for sample in data])
    for fold in sorted(set(folds.tolist())):
        train, test = (np.flatnonzero(side).tolist() for side in (folds != fold, folds == fold))
        said[test] = method([data[i] for i in train], [data[i] for i in test])
    return said


def calibrate(logits: Float, fake: NDArray[np.bool_]) -> Calibration:
    """Platt scaling (Platt, 1999), both classes weighing the same: before a video is looked at, it is 0.5.

    A negative scale would mean that the classifier is to be read the wrong way round; it becomes 0.
    """
    fit = LogisticRegression(class_weight="balanced").fit(logits[:, None], fake)
    if fit.coef_[0, 0] <= 0:
        return Calibration(0.0, 0.0)
    return Calibration(float(fit.coef_[0, 0]), float(fit.intercept_[0]))


def calibrate_with_doubt(logits: Float, fake: NDArray[np.bool_]) -> Calibration:
    """The same with as much doubt as lets ALARMING of real videos score above 0.5, at most.

    The line of 0.5 is drawn where one real video in ten would cross it: at the rank that split conformal prediction
    (Papadopoulos et al., ECML 2002) takes, with one more video in mind.
    """
    plain = calibrate(logits, fake)
    real = np.sort(plain.of_all(logits[~fake]))
    rank = min(math.ceil((1 - ALARMING) * (len(real) + 1)), len(real))
    return replace(plain, doubt=max(0.0, float(real[rank - 1])))


def probabilities_of(logits: Float, calibration: Calibration) -> Float:
    """Calibrated probabilities of logits, float [N]."""
    return sigmoid(calibration.of_all(logits))


def sigmoid(logits: Float) -> Float:
    """Probabilities of logits, float [N]."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)), np.float64)
