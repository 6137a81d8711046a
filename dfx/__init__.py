"""dfx screens folders of videos for deepfakes: `dfx.predict_dir("folder", out="submission.csv")` is the main job."""

from importlib.metadata import version

from dfx.audio import audio
from dfx.comparison import Comparison
from dfx.extract import Extracted
from dfx.faces import faces
from dfx.frames import frames
from dfx.inspect import Inspection, inspect
from dfx.predict import find_faces, predict_dir, predict_video
from dfx.probe import probe
from dfx.rehearse import Rehearsal, rehearse
from dfx.results import FaceTracks, Predictions
from dfx.score import Report, score
from dfx.settings import Limits, Settings
from dfx.values import ClipScore, Prediction, Reason, Track, VideoInfo

__version__ = version("dfx")

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
