"""Clip cache: the aligned face clips of a video in one lossless file, as training reads them again and again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dfx.extract import save
from dfx.files import sha256_of
from dfx.infer.contract import contract_to_cut
from dfx.pipeline import Pipeline
from dfx.settings import HOST, Limits, Settings
from dfx.track import join
from dfx.values import Pixels


@dataclass(frozen=True, slots=True)
class CachedClips:
    """What a cache file says of a video, the pixels left on the disk until they are asked for.

    person: of each clip, int [K]; confidence: the detector's, float [K]; digest: SHA-256 of the video file.
    """

    path: Path
    person: NDArray[np.int64]
    confidence: NDArray[np.float64]
    digest: str

    @classmethod
    def open(cls, path: Path) -> CachedClips:
        """Reads all but the pixels."""
        with path.open("rb") as file, np.load(file) as arrays:  # what NumPy opens itself it leaves open where it fails
            return cls(path, arrays["person"], arrays["confidence"], str(arrays["digest"]))

    def __len__(self) -> int:
        return len(self.person)

    @property
    def main(self) -> NDArray[np.int64]:
        """The clips of the person who is seen most: int [M]."""
        return np.flatnonzero(self.person == np.bincount(self.person).argmax())

    def clip(self, number: int) -> Pixels:
        """One clip as the classifier sees it: uint8 [T, 3, S, S]."""
        with np.load(self.path) as arrays:
            return unpacked(arrays[f"clip{number}"])

    def all(self) -> Pixels:
        """Every clip: uint8 [K, T, 3, S, S]."""
        return np.stack([self.clip(number) for number in range(len(self))])


def same_bytes(video: Path, clips: Path) -> bool:
    """Whether a video is the one that a cache file was cut from; False where either cannot be read."""
    try:
        return CachedClips.open(clips).digest == sha256_of(video)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):  # there is none, or it is damaged
        return False


def packed(clip: Pixels) -> Pixels:
    """Differences to the pixel on the left, modulo 256, as PNG's filter Sub: deflate then saves a quarter more."""
    return np.diff(clip, axis=-1, prepend=np.uint8(0))


def unpacked(steps: Pixels) -> Pixels:
    """The inverse of `packed`."""
    return np.cumsum(steps, axis=-1, dtype=np.uint8)


class ClipsTask:
    """Writes the clips of one video after the other, in a child process, as a prediction with the model would see them.

    cut: what that model's contract says of its clips, by the names it has there; device: the ordinal of a GPU, or HOST;
    the crops come to the host there too.
    """

    def __init__(self, limits: Limits, windows: int, cut: Mapping[str, Any], device: int = HOST) -> None:
        self._pipeline = Pipeline(Settings(windows=windows), limits, device)
        self._contract = contract_to_cut(**cut)

    def __call__(self, path: str, out: str) -> dict[str, Any]:
        """How many clips there are; 0 where no face was found, which is written down too."""
        pairs = self._pipeline.clips(path, contract=self._contract)
        tracks = [track for track, _ in pairs]
        arrays: dict[str, Any] = {f"clip{number}": packed(clip) for number, (_, clip) in enumerate(pairs)}
        file = io.BytesIO()
        np.savez_compressed(
            file,
            person=np.array(join(tracks), np.int64),
            confidence=np.array([track.scores.mean() for track in tracks], np.float64),
            digest=np.array(sha256_of(path)),
            **arrays,
        )
        save(Path(out), file.getvalue())
        return {"clips": len(pairs)}
