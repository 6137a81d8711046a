"""Detect: pictures -> faces. A RetinaFace (Deng et al., CVPR 2020) on a small letterboxed copy of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dfx import ops
from dfx.infer import DetectorContract, open_session
from dfx.infer.contract import PICTURES
from dfx.ops.cuda import DeviceArray, Lane
from dfx.values import Faces, Pixels, Planes, Surface


class Detector:
    """A face detector from an ONNX file that carries a `DetectorContract`.

    engines: the folder of the TensorRT engine that runs it on the lane's GPU; ONNX Runtime's CUDA provider runs it
    where none is given.
    """

    def __init__(self, path: str | Path, lane: Lane | None = None, engines: Path | None = None) -> None:
        self._session = open_session(path, DetectorContract, lane=lane, engines=engines)
        self._fixed = lane is not None
        self.contract = DetectorContract.read(self._session.metadata, str(path))

    def detect(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        """Finds the faces in pictures of one size; on a GPU a few at a time, on canvases of one shape.

        Returns one `Faces` a picture, best first, in pixels of the upright picture.
        """
        if not self._fixed:
            return self._detect(pictures)
        parts = [pictures[start : start + PICTURES] for start in range(0, len(pictures), PICTURES)]
        filled = [[*part, *[part[-1]] * (PICTURES - len(part))] for part in parts]
        return [faces for part in filled for faces in self._detect(part)][: len(pictures)]

    def _detect(self, pictures: Sequence[Planes] | Sequence[Surface]) -> list[Faces]:
        if not pictures:
            return []
        box = ops.letterbox_geometry(pictures[0].width, pictures[0].height, self.contract.long_side)
        height, width = (self.contract.long_side,) * 2 if self._fixed else (box.height, box.width)
        found = self.run(ops.letterbox(pictures, height, width), self.contract.score_threshold)
        return [_scaled(faces, 1 / box.scale) for faces in found]

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
