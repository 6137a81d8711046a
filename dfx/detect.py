"""Detect: pictures -> faces. A RetinaFace (Deng et al., CVPR 2020) on a small letterboxed copy of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfx import ops
from dfx.infer import DetectorContract, open_session
from dfx.ops.cuda import DeviceArray, Lane
from dfx.values import Faces, Pixels, Planes, Surface

BATCH = (
    4  # pictures in every run on a GPU, made up by the last one, on a square canvas: ONNX Runtime spends a second on
)
# the choice of cuDNN's kernels for every shape that it has not seen yet


class Detector:
    """A face detector from an ONNX file that carries a `DetectorContract`."""

    def __init__(self, path: str | Path, lane: Lane | None = None) -> None:
        names = DetectorContract.inputs, DetectorContract.outputs
        self._session = open_session(path, inputs=names[0], outputs=names[1], lane=lane)
        self._batch, self._square = (BATCH, True) if lane else (1, False)
        self.contract = DetectorContract.read(self._session.metadata, str(path))

    def detect(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """Finds the faces in pictures of one size, in one run of the network.

        Returns one `Faces` a picture, best first, in pixels of the upright picture.
        """
        if not pictures:
            return []
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, self.contract.long_side)
        full = [*pictures, *[pictures[-1]] * (-len(pictures) % self._batch)]
        height, width = (self.contract.long_side,) * 2 if self._square else (box.height, box.width)
        found = self.run(ops.letterbox(full, height, width), self.contract.score_threshold)
        return [_scaled(faces, 1 / box.scale) for faces in found[: len(pictures)]]

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


def _scaled(faces: Faces, factor: float) -> Faces:
    return Faces(faces.boxes * factor, faces.scores, faces.landmarks * factor)
