"""dfx screens folders of videos for deepfakes: `dfx.predict_dir("folder", out="submission.csv")` is the main job."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfx.audio import audio
    from dfx.comparison import Comparison
    from dfx.extract import Extracted
    from dfx.faces import faces
    from dfx.frames import frames
    from dfx.info import VideoInfo
    from dfx.inspect import inspect
    from dfx.inspection import Inspection
    from dfx.predict import find_faces, predict_dir, predict_video
    from dfx.probe import probe
    from dfx.rehearsal import Rehearsal
    from dfx.rehearse import rehearse
    from dfx.results import FaceTracks, Predictions
    from dfx.score import Report, score
    from dfx.settings import Limits, Settings
    from dfx.values import ClipScore, Prediction, Reason, Track

    __version__: str

# ONNX Runtime from 1.29 on reports to its makers unless this is set before it is loaded. What is screened here is
# nobody's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "ClipScore",
    "Comparison",
    "Extracted",
    "FaceTracks",
    "Inspection",
    "Limits",
    "Prediction",
    "Predictions",
    "Reason",
    "Rehearsal",
    "Report",
    "Settings",
    "Track",
    "VideoInfo",
    "__version__",
    "audio",
    "faces",
    "find_faces",
    "frames",
    "inspect",
    "predict_dir",
    "predict_video",
    "probe",
    "rehearse",
    "score",
]

_MODULES = {
    "audio": ("audio",),
    "comparison": ("Comparison",),
    "extract": ("Extracted",),
    "faces": ("faces",),
    "frames": ("frames",),
    "inspect": ("inspect",),
    "inspection": ("Inspection",),
    "predict": ("find_faces", "predict_dir", "predict_video"),
    "probe": ("probe",),
    "rehearsal": ("Rehearsal",),
    "rehearse": ("rehearse",),
    "results": ("FaceTracks", "Predictions"),
    "score": ("Report", "score"),
    "settings": ("Limits", "Settings"),
    "info": ("VideoInfo",),
    "values": ("ClipScore", "Prediction", "Reason", "Track"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


class _Package(ModuleType):
    """Loads what is public when it is first asked for, so that a command or a worker starts with what it needs.

    A function that has its module's name stands before the module, whichever of the two is imported first.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("dfx")
        elif name in _HOMES:
            value = getattr(import_module(f"dfx.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module 'dfx' has no attribute {name!r}")
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
