"""What a method's probabilities are worth on labelled videos, both classes weighing the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight

from dfx.score import calibration_error
from dfx.torch.folds import Float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a table shows of one method. Log loss, Brier score, ECE and accuracy weigh both classes the same."""

    auc: float
    log_loss: float
    brier: float
    ece: float
    accuracy: float


def figures(probabilities: Float, fake: NDArray[np.bool_]) -> Figures:
    """probabilities float [N] of fake, fake bool [N], both classes present."""
    weights = compute_sample_weight("balanced", fake)
    return Figures(
        auc=float(roc_auc_score(fake, probabilities)),
        log_loss=float(log_loss(fake, probabilities, sample_weight=weights)),
        brier=float(brier_score_loss(fake, probabilities, sample_weight=weights)),
        ece=calibration_error(fake.astype(float), probabilities, weights),
        accuracy=float(accuracy_score(fake, probabilities > 0.5, sample_weight=weights)),
    )
