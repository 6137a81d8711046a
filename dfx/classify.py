"""Classify: face clips -> logits, by temporal networks from ONNX files; normalisation is inside their graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from dfx.errors import InputError
from dfx.infer import Calibration, ClassifierContract, open_session
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


class Ensemble:
    """Classifiers that score the same faces, their calibrated logits averaged; one alone says what it says.

    The mean is kept as that of the raw logits, each weighing by its calibration's scale, with the mean scale and bias
    for its calibration, which is the same number, and with the mean doubt, which comes last and once. A file beside a
    copy of itself scores as it does alone.

    contract: the first classifier's, by whose crops false faces are told and reports show; cuts: a contract for each
    way of cutting clips, that one first; calibration: of the mean.
    """

    def __init__(self, paths: Sequence[str | Path], lane: Lane | None = None, engines: Path | None = None) -> None:
        self.members = [Classifier(path, lane, engines) for path in paths]
        ways: dict[object, ClassifierContract] = {}
        for member in self.members:
            ways.setdefault(member.contract.cut, member.contract)
        self.cuts = list(ways.values())
        self.contract = self.cuts[0]
        self._way = [list(ways).index(member.contract.cut) for member in self.members]
        self._calibrations = [member.contract.calibration for member in self.members]
        self.calibration = Calibration(*np.mean([astuple(each) for each in self._calibrations], axis=0).tolist())

    @property
    def window(self) -> tuple[int, int]:
        """A window that holds a clip for each: how many frames, and the frames of the video from one to the next."""
        stride = math.gcd(*(cut.clip_stride for cut in self.cuts))
        return 1 + (max(cut.span for cut in self.cuts) - 1) // stride, stride

    def score(self, clips: Sequence[Sequence[Pixels | DeviceArray]]) -> Float:
        """Scores clips, each given once for every way of cutting: logits float32 [clips, members]."""
        said = [member.score([cut[way] for cut in clips]) for member, way in zip(self.members, self._way, strict=True)]
        return np.stack(said, axis=1)

    def mean(self, said: Sequence[float]) -> float:
        """The logit of a clip, for `calibration`, from what the members said."""
        total = math.fsum(each.scale for each in self._calibrations)
        weights = [each.scale / total if total else 1 / len(said) for each in self._calibrations]
        return math.fsum(weight * logit for weight, logit in zip(weights, said, strict=True))

    def opinions(self, said: Sequence[float]) -> tuple[float, ...]:
        """The log-odds of each of several members, before doubt; nothing for one, whose word is the mean."""
        if len(said) == 1:
            return ()
        return tuple(each.odds(logit) for each, logit in zip(self._calibrations, said, strict=True))
