"""Detect: pictures -> faces. A RetinaFace (Deng et al., CVPR 2020) on a small letterboxed copy of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfx import ops
from dfx.infer import DetectorContract, open_session
from dfx.ops.cuda import DeviceArray, Lane
from dfx.values import Faces, Float, Pixels, Planes, Surface

# Pictures in every run on a GPU, made up by the last one, on a square canvas: ONNX Runtime spends a second on the choice
# of cuDNN's kernels for every shape that it has not seen yet.
BATCH = 4
REACH = 1.0  # sides of a face around it that are looked at again a quarter of a second later
CELL = 32  # pixels, the network's coarsest stride: a part of the canvas that begins at a multiple has the same anchors


class Detector:
    """A face detector from an ONNX file that carries a `DetectorContract`."""

    def __init__(self, path: str | Path, lane: Lane | None = None) -> None:
        names = DetectorContract.inputs, DetectorContract.outputs
        self._session = open_session(path, inputs=names[0], outputs=names[1], lane=lane)
        self._batch, self._square = (BATCH, True) if lane else (1, False)
        self.contract = DetectorContract.read(self._session.metadata, str(path))

    def detect(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """Finds the faces in pictures of one size.

        Returns one `Faces` a picture, best first, in pixels of the upright picture.
        """
        if not pictures:
            return []
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, self.contract.long_side)
        full = [*pictures, *[pictures[-1]] * (-len(pictures) % self._batch)]
        height, width = (self.contract.long_side,) * 2 if self._square else (box.height, box.width)
        found = self._run(ops.letterbox(full, height, width))
        return [_scaled(faces, 1 / box.scale) for faces in found[: len(pictures)]]

    def watch(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """As `detect`, of pictures that are moments apart: the middle one whole, the others near the faces it shows.

        The others too are looked at whole where the middle one shows no face, and always on a GPU.
        """
        middle = len(pictures) // 2
        (seen,) = self.detect(pictures[middle : middle + 1]) if pictures and not self._square else (None,)
        if not seen:
            return self.detect(pictures)
        others = self._near(seen, [*pictures[:middle], *pictures[middle + 1 :]])
        return [*others[:middle], seen, *others[middle:]]

    def _near(self, faces: Faces, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """The faces in pictures around those of another picture of their size."""
        if not pictures:
            return []
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, self.contract.long_side)
        canvas = ops.letterbox(pictures, box.height, box.width)
        left, top, right, bottom = _around(faces.boxes * box.scale, box.width, box.height)
        part = np.ascontiguousarray(canvas[:, :, top:bottom, left:right])
        return [_scaled(_moved(each, left, top), 1 / box.scale) for each in self._run(part)]

    def _run(self, canvas: Pixels | DeviceArray) -> list[Faces]:
        """On a CPU a picture a run, whose maps stay in the core's cache: a sixth faster than three in one."""
        threshold = self.contract.score_threshold
        if not isinstance(canvas, np.ndarray):
            return self.run(canvas, threshold)
        return [faces for picture in canvas for faces in self.run(picture[None], threshold)]

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
        )


def _around(boxes: Float, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a canvas that holds boxes and their surroundings, in whole cells: left, top, right, bottom."""
    reach = REACH * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    low = np.floor((boxes[:, :2] - reach).min(axis=0) / CELL) * CELL
    high = np.ceil((boxes[:, 2:] + reach).max(axis=0) / CELL) * CELL
    (left, top), (right, bottom) = np.maximum(low, 0).astype(int), np.minimum(high, (width, height)).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _moved(faces: Faces, right: int, down: int) -> Faces:
    by = np.array([right, down], np.float32)
    return Faces(faces.boxes + np.tile(by, 2), faces.scores, faces.landmarks + by)


def _scaled(faces: Faces, factor: float) -> Faces:
    return Faces(faces.boxes * factor, faces.scores, faces.landmarks * factor)
