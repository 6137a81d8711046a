"""The demonstration: three short clips that ship with dfx, made by `export/make_samples.py`."""

from __future__ import annotations

from pathlib import Path

from dfx.predict import predict_dir
from dfx.results import Predictions

SAMPLES = Path(__file__).parent / "samples"
TRUTH = {
    "manipulated.mp4": "a face blended over itself",
    "no_face.mp4": "nobody in it",
    "real.mp4": "a real face",
}


def demo(*, progress: bool = True) -> Predictions:
    """Scores the sample clips with the shipped models; writes nothing."""
    return predict_dir(SAMPLES, progress=progress)
