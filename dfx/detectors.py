"""Detectors: those that `dfx faces` compares, dfx's own and others', behind one small interface.

Each comes from a kept library, or from an ONNX file that the user names, runs on one thread with its library's usual
settings, and is imported only when it is asked for. What a confidence means differs: a probability (retinaface, mtcnn,
blazeface, yunet, yolo), the last stage's weight (haar), or the distance from a hyperplane (hog).
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from dfx import ops
from dfx.agree import overlaps
from dfx.detect import Detector
from dfx.errors import DependencyError, InputError, MissingInputError, ModelError
from dfx.infer import OnnxSession
from dfx.ops.geometry import fit
from dfx.origin import install
from dfx.settings import HOST, Settings
from dfx.values import Faces, Pixels, Surface

LONG_SIDE = 960  # pixels that haar, mtcnn, hog and yunet look at, since their time grows with the picture
YUNET_SCORE, YUNET_NMS, YUNET_STRIDES = 0.6, 0.3, (8, 16, 32)  # the first two are those of OpenCV's own example
YOLO_SIDE, YOLO_SCORE, YOLO_NMS = 640, 0.5, 0.45  # Ultralytics' defaults, but for the score, which is 0.25 there
HOG_UPSAMPLE = 1  # times that dlib doubles the picture: its window is 80 pixels wide, and faces are smaller
MTCNN_SIZE = 20  # pixels of the smallest face that it looks for: facenet-pytorch's default


class FaceDetector(Protocol):
    """Finds the faces of a picture. Anything that has the two will do."""

    name: str

    def detect(self, picture: Pixels) -> Faces:
        """The faces in a picture RGB uint8 [H, W, 3], in its pixels; landmarks are NaN where it finds none."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A detector that was asked for: what it is called in the tables, its kind, and the file that it comes from."""

    name: str
    kind: str
    file: Path | None


def choose(wanted: Sequence[str]) -> list[Chosen]:
    """Reads `retinaface`, `yunet=FILE.onnx` and the like; two of a kind are called by their files too.

    Raises InputError, or MissingInputError where there is no such file.
    """
    if not wanted:
        raise InputError(f"no detector is named; name some of {', '.join(KINDS)}")
    split = [(kind.strip(), Path(file) if file else None) for kind, _, file in (one.partition("=") for one in wanted)]
    kinds = Counter(kind for kind, _ in split)
    chosen = [
        Chosen(kind if kinds[kind] == 1 else f"{kind}:{file.stem if file else 'own'}", kind, file)
        for kind, file in split
    ]
    for one in chosen:
        _check(one)
    twice = [name for name, count in Counter(one.name for one in chosen).items() if count > 1]
    if twice:
        raise InputError(f"detector {twice[0]!r} is named more than once; once is needed")
    return chosen


def open_detectors(chosen: Sequence[Chosen]) -> list[FaceDetector]:
    """Loads them, in that order. Raises DependencyError or ModelError where one is not there."""
    return [KINDS[one.kind](one.name, one.file) for one in chosen]


def _check(one: Chosen) -> None:
    if one.kind not in KINDS:
        raise InputError(f"{one.kind!r} is no detector that dfx knows; name some of {', '.join(KINDS)}")
    if one.kind in FROM_FILE and one.file is None:
        raise InputError(f"{one.kind} comes from a file: name it, as {one.kind}=FILE.onnx ({FROM_FILE[one.kind]})")
    if one.file is not None and one.kind in WITHOUT_FILE:
        raise InputError(f"{one.kind} takes no file, but {str(one.file)!r} was given; its library brings its weights")
    if one.file is not None and not one.file.is_file():
        raise MissingInputError(f"no file at {one.file}, for the detector {one.kind}: name one that exists")


class RetinaFace:
    """dfx's own (`dfx.detect`), or another ONNX file with its contract."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        self.name, self._detector = name, Detector(file or Settings().detector)

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`; the network sees the picture as in a prediction."""
        return self._detector.detect([_surface(picture)])[0]


class Haar:
    """OpenCV's cascade of Haar features (Viola and Jones, CVPR 2001), for frontal faces; or another cascade's file."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        self.name, self._cv2 = name, _opencv(name)
        if not hasattr(self._cv2, "CascadeClassifier"):
            raise DependencyError(
                f"{name}: OpenCV {self._cv2.__version__} has no cascades any more; "
                "run pip install 'opencv-python-headless<5'"
            )
        path = file or Path(self._cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
        self._cascade = self._cv2.CascadeClassifier()
        if not _loads(self._cascade, path):
            raise ModelError(f"{path}: not a cascade that OpenCV can load")

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`, without landmarks; the scores are the last stage's weights, not probabilities."""
        small, scale = shrunk(picture, LONG_SIDE)
        grey = self._cv2.cvtColor(small, self._cv2.COLOR_RGB2GRAY)
        corners, _, weights = self._cascade.detectMultiScale3(grey, 1.1, 5, outputRejectLevels=True)
        return faces_of(_from_corners(corners) / scale, weights)


class MTCNN:
    """The cascade of three networks of Zhang et al. (SPL 2016), as facenet-pytorch has it, with its weights."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        mend = "run pip install torch torchvision requests, then pip install --no-deps facenet-pytorch"
        _module("torch", name, mend).set_num_threads(1)
        library = _module("facenet_pytorch", name, f"{mend} (it pins a torch older than it needs)")
        self.name, self._network = name, library.MTCNN(keep_all=True, min_face_size=MTCNN_SIZE, device="cpu")

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`."""
        small, scale = shrunk(picture, LONG_SIDE)
        boxes, scores, marks = self._network.detect(small, landmarks=True)
        if boxes is None:
            return faces_of([], [])
        return faces_of(np.asarray(boxes) / scale, scores, np.asarray(marks) / scale)


class BlazeFace:
    """BlazeFace (Bazarevsky et al., 2019), the full-range model that MediaPipe 0.10 carries."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")  # or it writes of its threads and delegates
        mend = f"run {install('blazeface')} (mediapipe 0.10.14 to 0.10.29; later ones carry no model)"
        solutions = getattr(_module("mediapipe", name, mend), "solutions", None)
        if solutions is None:
            raise DependencyError(f"{name}: this mediapipe has no `solutions`; {mend}")
        self.name, self._network = name, solutions.face_detection.FaceDetection(1, 0.5)

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`, without landmarks: its six points are others."""
        found = self._network.process(np.ascontiguousarray(picture)).detections or []
        boxes = [one.location_data.relative_bounding_box for one in found]
        corners = np.array([(box.xmin, box.ymin, box.width, box.height) for box in boxes]).reshape(-1, 4)
        height, width, _ = picture.shape
        return faces_of(_from_corners(corners) * (width, height, width, height), [one.score[0] for one in found])


class Hog:
    """dlib's frontal face detector: histograms of oriented gradients (Dalal and Triggs, CVPR 2005) and a linear SVM."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        library = _module("dlib", name, f"run {install('hog')} (or dlib-bin, which needs no compiler)")
        self.name, self._detector = name, library.get_frontal_face_detector()

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`, without landmarks; the scores are distances from the SVM's hyperplane, not probabilities."""
        small, scale = shrunk(picture, LONG_SIDE)
        found, scores, _ = self._detector.run(small, HOG_UPSAMPLE, 0.0)
        boxes = [(one.left(), one.top(), one.right() + 1, one.bottom() + 1) for one in found]
        return faces_of(np.array(boxes, np.float64).reshape(-1, 4) / scale, list(scores))


class _Network:
    """A network from an ONNX file that the user names, on the canvas that the file fixes, or one of `side` pixels."""

    def __init__(self, file: Path, canvas: str, outputs: tuple[str, ...], side: int) -> None:
        self.session = OnnxSession(file, inputs=(canvas,), outputs=outputs)
        self._name, sides = canvas, [n for n in self.session.shapes[canvas][2:] if isinstance(n, int)]
        if len(set(sides)) > 1:
            raise ModelError(f"{file}: its canvas is of {sides} pixels; a square or one of any size is needed")
        self._side, self._square = (sides[0], True) if sides else (side, False)

    def run(self, picture: Pixels, to_input: Callable[[Pixels], Any]) -> tuple[Any, tuple[int, int], float]:
        """The outputs by name, the canvas' height and width, and its pixels a pixel of the picture."""
        box = ops.letterbox_geometry(picture.shape[1], picture.shape[0], self._side)
        height, width = (self._side, self._side) if self._square else (box.height, box.width)
        canvas = np.asarray(ops.letterbox([_surface(picture)], height, width))
        scale = float(fit(picture.shape[1], picture.shape[0], width, height))
        return self.session.run({self._name: to_input(canvas)}), (height, width), scale


class YuNet:
    """YuNet (Wu et al., MIR 2023), an ONNX file as its authors (libfacedetection.train) and OpenCV's model zoo have it.

    ONNX Runtime runs it, since OpenCV's own reader refuses the authors' files of any picture size; the boxes are those
    of OpenCV's FaceDetectorYN. Per level of 8, 16 and 32 pixels a cell: class and objectness, whose geometric mean is
    the score, and deltas of the box and of five points in cells.
    """

    def __init__(self, name: str, file: Path | None) -> None:
        outputs = tuple(f"{what}_{stride}" for stride in YUNET_STRIDES for what in ("cls", "obj", "bbox", "kps"))
        self.name, self._network = name, _Network(Path(str(file)), "input", outputs, LONG_SIDE)

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`."""
        outputs, size, scale = self._network.run(picture, lambda canvas: canvas[:, ::-1].astype(np.float32))  # BGR
        levels = [self._level(outputs, size, stride) for stride in YUNET_STRIDES]
        boxes, scores, marks = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        sure = scores > YUNET_SCORE
        return suppressed(faces_of(boxes[sure] / scale, scores[sure], marks[sure] / scale), YUNET_NMS)

    def _level(self, outputs: Any, size: tuple[int, int], stride: int) -> tuple[Any, Any, Any]:
        """Boxes, scores and points of a level's cells, row by row, in pixels of the canvas."""
        likely, object_, box, points = (outputs[f"{what}_{stride}"][0] for what in ("cls", "obj", "bbox", "kps"))
        rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells = np.stack([columns, rows], axis=-1).reshape(-1, 2)
        middle, half = (cells + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        scores = np.sqrt(likely[:, 0].clip(0, 1) * object_[:, 0].clip(0, 1))
        marks = (cells[:, None] + points.reshape(-1, 5, 2)) * stride
        return np.concatenate([middle - half, middle + half], axis=1), scores, marks


class Yolo:
    """A YOLO face detector from an ONNX file as Ultralytics exports it (YOLOv8 and YOLO11, without `nms`).

    One input `images`, float32 [1, 3, H, W], RGB in 0..1, the picture in the top left; 640 pixels where the file leaves
    the size open. One output `output0`, float32 [1, C, N], a column a candidate: the box's centre, width and height in
    pixels of the canvas, the score of its only class, and then nothing (C = 5) or five points of x, y, visibility
    (C = 20).
    """

    def __init__(self, name: str, file: Path | None) -> None:
        self.name, self._network = name, _Network(Path(str(file)), "images", ("output0",), YOLO_SIDE)

    def detect(self, picture: Pixels) -> Faces:
        """One `Faces`, after non-maximum suppression."""
        outputs, _, scale = self._network.run(picture, lambda canvas: canvas.astype(np.float32) / 255)
        shape = outputs["output0"].shape
        if len(shape) != 3 or shape[:2] not in {(1, 5), (1, 20)}:
            raise ModelError(f"{self.name}: the file's output is {list(shape)}; [1, 5, N] or [1, 20, N] is needed")
        rows = outputs["output0"][0].T
        rows = rows[rows[:, 4] > YOLO_SCORE]
        middle, half = rows[:, :2], rows[:, 2:4] / 2
        boxes = np.concatenate([middle - half, middle + half], axis=1) / scale
        marks = rows[:, 5:].reshape(-1, 5, 3)[..., :2] / scale if rows.shape[1] > 5 else None
        return suppressed(faces_of(boxes, rows[:, 4], marks), YOLO_NMS)


Maker = Callable[[str, Path | None], FaceDetector]
KINDS: dict[str, Maker] = {
    "retinaface": RetinaFace,
    "haar": Haar,
    "mtcnn": MTCNN,
    "blazeface": BlazeFace,
    "hog": Hog,
    "yunet": YuNet,
    "yolo": Yolo,
}
FROM_FILE = {
    "yunet": "face_detection_yunet_2023mar.onnx of github.com/opencv/opencv_zoo",
    "yolo": "a face model of YOLOv8 to 11, exported by Ultralytics",
}
WITHOUT_FILE = {"mtcnn", "blazeface", "hog"}


def faces_of(boxes: ArrayLike, scores: ArrayLike, landmarks: ArrayLike | None = None) -> Faces:
    """Faces of whatever numbers a library gives, best first; what has no finite box of some size is none."""
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    sure = np.asarray(scores, np.float32).reshape(-1)
    marks = np.full((len(sure), 5, 2), np.nan) if landmarks is None else landmarks
    points = np.asarray(marks, np.float32).reshape(-1, 5, 2)
    sound = np.isfinite(corners).all(axis=1) & (corners[:, 2:] > corners[:, :2]).all(axis=1) & np.isfinite(sure)
    kept = np.flatnonzero(sound)[np.argsort(-sure[sound], kind="stable")]
    return Faces(corners[kept], sure[kept], points[kept])


def shrunk(picture: Pixels, long_side: int) -> tuple[Pixels, float]:
    """A picture uint8 [H, W, 3] whose longer side is at most so long, by area average, and the scale it now has."""
    height, width, _ = picture.shape
    scale = long_side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture), 1.0
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = np.asarray(ops.letterbox([_surface(picture)], *size))[0]
    return np.ascontiguousarray(small.transpose(1, 2, 0)), float(fit(width, height, size[1], size[0]))


def _surface(picture: Pixels) -> Surface:
    whole = np.ascontiguousarray(picture)
    return Surface(whole.ctypes.data, whole.shape[1], whole.shape[0], 0, HOST, whole)


def _from_corners(boxes: ArrayLike) -> Any:
    """Left, top, width, height -> xyxy: float64 [K, 4]."""
    rows = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1)


def suppressed(faces: Faces, iou: float) -> Faces:
    """Faces without those that overlap a better one by more than `iou`: greedy non-maximum suppression."""
    kept, shares = list[int](), overlaps(faces.boxes, faces.boxes)
    for number in range(len(faces)):
        if not kept or shares[number, kept].max() <= iou:
            kept.append(number)
    return Faces(faces.boxes[kept], faces.scores[kept], faces.landmarks[kept])


def _opencv(name: str) -> Any:
    cv2 = _module("cv2", name, f"run {install('detectors')}")
    cv2.setNumThreads(1)
    return cv2


def _module(module: str, name: str, mend: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # ImportError, or what a torchvision raises that was built for another torch
        raise DependencyError(f"the detector {name} needs {module} ({error}): {mend}") from error


def _loads(cascade: Any, path: Path) -> bool:
    try:
        return bool(cascade.load(str(path)))
    except Exception:  # cv2.error, or SystemError around it; its text is of OpenCV's sources
        return False
