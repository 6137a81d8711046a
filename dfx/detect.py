"""Detect: pictures -> faces. A RetinaFace (Deng et al., CVPR 2020) on a small letterboxed copy of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx import ops
from dfx.infer import DetectorContract, has_fixed_shapes, open_session
from dfx.infer.contract import PICTURES
from dfx.ops.cuda import DeviceArray, Lane
from dfx.ops.geometry import CANVAS_STEP, Letterbox
from dfx.values import Faces, Float, Pixels, Planes, Surface

WEAK = 0.5
"""Share of the score from which on a face counts, down to which `watch` tells of more. Between two and three to one is
what Canny (PAMI 1986) advises for the thresholds that begin an edge and go on with it."""
REACH = 1.0  # sides of a face around it that are looked at again a quarter of a second later


class Detector:
    """A face detector from an ONNX file that carries a `DetectorContract`.

    engines: the folder of the TensorRT engine that runs it on the lane's GPU; ONNX Runtime's CUDA provider runs it
    where none is given. An engine, and a CUDA graph, sees every picture on a square canvas, which moves the face that
    the picture's lower edge cuts by enough to change a score.
    """

    def __init__(self, path: str | Path, lane: Lane | None = None, engines: Path | None = None) -> None:
        self._session = open_session(path, DetectorContract, lane=lane, engines=engines)
        self._on_gpu, self._square = lane is not None, lane is not None and has_fixed_shapes(engines)
        self.contract = DetectorContract.read(self._session.metadata, str(path))
        self.sure = self.contract.score_threshold  # what scores more is a face

    def detect(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """Finds the faces in pictures of one size; on a GPU always so many at a time, since shapes cost time there.

        Returns one `Faces` a picture, best first, in pixels of the upright picture.
        """
        return [faces[faces.scores > self.sure] for faces in self._whole(pictures)]

    def _whole(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """As `detect`, with the weak ones."""
        if not self._on_gpu:
            return self._detect(pictures)
        parts = [pictures[start : start + PICTURES] for start in range(0, len(pictures), PICTURES)]
        filled = [[*part, *[part[-1]] * (PICTURES - len(part))] for part in parts]
        return [faces for part in filled for faces in self._detect(part)][: len(pictures)]

    def _detect(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        if not pictures:
            return []
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, self.contract.long_side)
        canvas = ops.letterbox(pictures, *self._canvas(box))
        return [_scaled(faces, 1 / box.scale) for faces in self._run(canvas)]

    def _canvas(self, box: Letterbox) -> tuple[int, int]:
        """Height and width, pixels: the picture's own, or those that an engine or a CUDA graph is made for."""
        height, width = self.contract.shapes["images"][2:] if self._square else (box.height, box.width)
        return height, width

    def watch(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """As `detect`, of pictures that are moments apart: the middle one whole, the others near the faces it shows.

        The others too are looked at whole where the middle one shows no face. On a GPU they always are, for the sake of
        one shape, and what is not near is left out. Faces are told of down to `WEAK`: one that is `sure` in one picture
        is often turned, blurred or half hidden in the next.
        """
        if not pictures:
            return []
        middle = len(pictures) // 2
        seen, others = (self._at_once if self._on_gpu else self._in_turn)(
            pictures[middle], [*pictures[:middle], *pictures[middle + 1 :]]
        )
        return [*others[:middle], seen, *others[middle:]]

    def by_turn(self, picture: Pixels) -> list[float]:
        """How surely a square picture shows a face if it is turned by 0, 90, 180 and 270 degrees clockwise.

        picture: uint8 [3, S, S], S a multiple of the largest stride; returns the best score of each, 0 without a face.
        """
        turned = np.stack([np.rot90(picture, -quarters, (1, 2)) for quarters in range(4)])
        if self._square:
            canvas = np.zeros(self.contract.shapes["images"], np.uint8)
            canvas[:4, :, : turned.shape[2], : turned.shape[3]] = turned
            turned = canvas
        return [float(faces.scores.max(initial=0.0)) for faces in self._run(turned)][:4]

    def _in_turn(self, first: Any, rest: Sequence[Any]) -> tuple[Faces, list[Faces]]:
        (seen,) = self._whole([first])
        sure = seen[seen.scores > self.sure]
        return seen, self._near(sure, rest) if len(sure) else self._whole(rest)

    def _at_once(self, first: Any, rest: Sequence[Any]) -> tuple[Faces, list[Faces]]:
        seen, *others = self._whole([first, *rest])
        sure = seen[seen.scores > self.sure]
        if not len(sure):
            return seen, others
        box = ops.letterbox_geometry(first.width, first.height, self.contract.long_side)
        part = np.array(_around(sure.boxes * box.scale, box.width, box.height)) / box.scale
        return seen, [faces[_inside(faces.boxes, part)] for faces in others]

    def _near(self, faces: Faces, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """The faces in pictures around those of another picture of their size."""
        if not pictures:
            return []
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, self.contract.long_side)
        canvas = ops.letterbox(pictures, box.height, box.width)
        assert isinstance(canvas, np.ndarray), "of surfaces on a GPU no part is looked at"
        left, top, right, bottom = _around(faces.boxes * box.scale, box.width, box.height)
        part = np.ascontiguousarray(canvas[:, :, top:bottom, left:right])
        return [_scaled(_moved(each, left, top), 1 / box.scale) for each in self._run(part)]

    def _run(self, canvas: Pixels | DeviceArray) -> list[Faces]:
        """On a CPU a picture a run, whose maps stay in the core's cache: a sixth faster than three in one."""
        threshold = WEAK * self.sure
        if self._on_gpu:
            return self.run(canvas, threshold)
        return [faces for picture in np.asarray(canvas) for faces in self.run(picture[None], threshold)]

    def run(self, images: Pixels | DeviceArray, threshold: float) -> list[Faces]:
        """Finds the faces that score above `threshold` in canvases uint8 [N, 3, H, W], in pixels of the canvas."""
        contract = self.contract
        outputs = self._session.run({"images": images})
        return ops.decode_faces(
            outputs["scores"],
            outputs["boxes"],
            outputs["landmarks"],
            *images.shape[2:],
            strides=contract.strides,
            min_sizes=contract.min_sizes,
            variances=contract.variances,
            threshold=threshold,
            votes=contract.score_votes,
        )


def _around(boxes: Float, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a canvas that holds boxes and their surroundings: left, top, right, bottom. It begins at a multiple
    of the coarsest stride, and so has the canvas's own anchors."""
    reach = REACH * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    low = np.floor((boxes[:, :2] - reach).min(axis=0) / CANVAS_STEP) * CANVAS_STEP
    high = np.ceil((boxes[:, 2:] + reach).max(axis=0) / CANVAS_STEP) * CANVAS_STEP
    (left, top), (right, bottom) = np.maximum(low, 0).astype(int), np.minimum(high, (width, height)).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _inside(boxes: Float, part: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whose middle lies in a part, xyxy: bool [K]."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((middles >= part[:2]) & (middles <= part[2:])).all(axis=1))


def _moved(faces: Faces, right: int, down: int) -> Faces:
    by = np.array([right, down], np.float32)
    return Faces(faces.boxes + np.tile(by, 2), faces.scores, faces.landmarks + by)


def _scaled(faces: Faces, factor: float) -> Faces:
    return Faces(faces.boxes * factor, faces.scores, faces.landmarks * factor)
