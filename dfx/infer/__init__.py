"""The second seam: `Session.run(inputs) -> outputs`, and the contract that every model file carries in its metadata."""

from dfx.infer.contract import Calibration, ClassifierContract, DetectorContract
from dfx.infer.gpu import has_fixed_shapes, open_session
from dfx.infer.session import OnnxSession, Session

__all__ = [
    "Calibration",
    "ClassifierContract",
    "DetectorContract",
    "OnnxSession",
    "Session",
    "has_fixed_shapes",
    "open_session",
]
