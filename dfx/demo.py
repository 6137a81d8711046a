"""The demonstration: three short clips that ship with dfx, made by `export/make_samples.py` from public-domain
pictures.
"""

from __future__ import annotations

from pathlib import Path

from dfx.predict import predict_dir
from dfx.results import Predictions

SAMPLES = Path(__file__).parent / "samples"
TRUTH = {
    "manipulated.mp4": "manipulated: a warped copy of the face, blended in",
    "no_face.mp4": "a landscape without anybody",
    "real.mp4": "real: one photograph, a moving camera",
}


def demo(*, progress: bool = True) -> Predictions:
    """Scores the sample clips with the shipped models; writes nothing."""
    return predict_dir(SAMPLES, progress=progress)
