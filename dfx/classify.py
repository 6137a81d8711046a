"""Classify: face clips -> logits. A temporal network from an ONNX file; normalisation is inside its graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfx.errors import InputError
from dfx.infer import ClassifierContract, OnnxSession
from dfx.values import Float, Pixels

BATCH = 1  # clips in one run: a clip's 16 frames keep a core busy, and more of them only take more memory


class Classifier:
    """A deepfake classifier from an ONNX file that carries a `ClassifierContract`."""

    def __init__(self, path: str | Path) -> None:
        self._session = OnnxSession(path, inputs=ClassifierContract.inputs, outputs=ClassifierContract.outputs)
        self.contract = ClassifierContract.read(self._session.metadata, str(path))

    def score(self, clips: Pixels) -> Float:
        """Scores clips uint8 [N, T, 3, S, S]: returns logits float32 [N], positive for fake."""
        contract = self.contract
        wanted = (contract.clip_length, 3, contract.crop_size, contract.crop_size)
        if clips.dtype != np.uint8 or clips.shape[1:] != wanted:
            raise InputError(f"clips must be uint8 [N, {', '.join(map(str, wanted))}]; got {clips.dtype} {clips.shape}")
        starts = range(0, len(clips), BATCH)
        logits = [self._session.run({"clips": clips[i : i + BATCH]})["logits"].reshape(-1) for i in starts]
        return np.concatenate(logits, dtype=np.float32) if logits else np.zeros(0, np.float32)
