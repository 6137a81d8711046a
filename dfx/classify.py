"""Classify: face clips -> logits. A temporal network from an ONNX file; normalisation is inside its graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfx.errors import InputError
from dfx.infer import ClassifierContract, open_session
from dfx.ops.cuda import DeviceArray, Lane
from dfx.values import Float, Pixels


class Classifier:
    """A deepfake classifier from an ONNX file that carries a `ClassifierContract`.

    engines: the folder of the TensorRT engine that runs it on the lane's GPU; ONNX Runtime's CUDA provider runs it
    where none is given.
    """

    def __init__(self, path: str | Path, lane: Lane | None = None, engines: Path | None = None) -> None:
        self._session = open_session(path, ClassifierContract, lane=lane, engines=engines)
        self.contract = ClassifierContract.read(self._session.metadata, str(path))

    def score(self, clips: Sequence[Pixels | DeviceArray]) -> Float:
        """Scores clips uint8 [T, 3, S, S]: returns logits float32 [clips], positive for fake.

        One clip a run: its frames keep a core busy, a batch would only take more memory, and a GPU sees one shape.
        """
        logits = [self._session.run({"clips": self._checked(clip)})["logits"] for clip in clips]
        return np.array([np.asarray(value).item() for value in logits], np.float32)

    def _checked(self, clip: Pixels | DeviceArray) -> Pixels | DeviceArray:
        """The clip as a batch of one."""
        contract = self.contract
        wanted = (contract.clip_length, 3, contract.crop_size, contract.crop_size)
        if clip.dtype != np.uint8 or clip.shape != wanted:
            raise InputError(f"a clip must be uint8 [{', '.join(map(str, wanted))}]; got {clip.dtype} {clip.shape}")
        return clip.reshape((1, *wanted))
