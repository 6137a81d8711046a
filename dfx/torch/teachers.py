"""Public face detectors that label what nobody labelled, and that ours is measured against. None of them ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dfx.torch.boxes import floats, suppress
from dfx.torch.labelled import Picture, padded
from dfx.values import Faces, Float

STRIDES = (8, 16, 32)


class Teacher:
    """An anchor-free detector of the libfacedetection.train family, from its ONNX file: `yunet` or `scrfd`."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.name = path.stem
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._yunet = "yunet" in path.stem

    def detect(self, pixels: Picture, threshold: float = 0.02) -> Faces:
        """Finds faces in an RGB picture uint8 [H, W, 3], after non-maximum suppression at an IoU of 0.45."""
        canvas = padded(pixels)
        image = floats(canvas[..., ::-1]) if self._yunet else (floats(canvas) - 127.5) / 128
        feed = {self._session.get_inputs()[0].name: image.transpose(2, 0, 1)[None]}
        names = [node.name for node in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(names, feed), strict=True))
        parts = [self._level(outputs, stride, canvas.shape[1]) for stride in STRIDES]
        boxes, scores, marks = (np.concatenate(items) for items in zip(*parts, strict=True))
        return suppress(Faces(boxes, scores, marks), threshold, 0.45)

    def _level(self, outputs: dict[str, Any], stride: int, width: int) -> tuple[Float, Float, Float]:
        kinds = ("cls", "obj", "bbox", "kps") if self._yunet else ("score", "bbox", "kps")
        values = {kind: outputs[f"{kind}_{stride}"][0] for kind in kinds}
        columns, per_cell = width // stride, 1 if self._yunet else 2
        index = np.arange(len(values["bbox"])) // per_cell
        corner = floats(np.stack([index % columns, index // columns], axis=1))
        if self._yunet:
            scores = np.sqrt(values["cls"][:, 0] * values["obj"][:, 0])
            centre, size = (values["bbox"][:, :2] + corner) * stride, np.exp(values["bbox"][:, 2:]) * stride
            boxes = np.hstack([centre - size / 2, centre + size / 2])
        else:
            scores = values["score"][:, 0]
            boxes = np.hstack([corner - values["bbox"][:, :2], corner + values["bbox"][:, 2:]]) * stride
        return boxes, scores, (values["kps"].reshape(-1, 5, 2) + corner[:, None]) * stride
