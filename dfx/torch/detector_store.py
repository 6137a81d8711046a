"""The detector's training data in a few files: JPEGs and their labels, all that a machine needs to train."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfx.errors import InputError
from dfx.torch.labelled import Labelled, decoded, stretched
from dfx.torch.parts import dealt, write_arrays

KINDS = ("picture", "portrait", "crop", "validation")
ENTRY_BYTES = 256  # more than an entry takes beside its file and its faces
FACE_BYTES = 60  # of labels


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A picture to train or to be measured on: the bytes of an image file that `decoded` and `stretched` turn into the
    pixels of `labelled`.

    repeats: how often it stands among those of its kind.
    """

    kind: str
    labelled: Labelled
    file: bytes
    repeats: int = 1

    @property
    def weight(self) -> int:
        """Bytes in a part, at most."""
        return len(self.file) + ENTRY_BYTES + FACE_BYTES * len(self.labelled.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """What training reads: pictures with faces in them, faces to paste from portraits and crops, and the pictures that
    it is measured on (the targets tell bare faces from masked ones)."""

    pictures: Sequence[Labelled]
    portraits: Sequence[Labelled]
    crops: Sequence[Labelled]
    validation: Sequence[Labelled]

    @classmethod
    def read(cls, folder: Path) -> Packed:
        """Reads all parts of a folder.

        Raises:
            InputError: the folder lacks a part, or holds parts of two packings.
        """
        lists: dict[str, list[Labelled]] = {kind: [] for kind in KINDS}
        for path in _parts(folder):
            for kind, repeats, labelled in _read(path):
                lists[kind] += [labelled] * repeats
        return cls(*(lists[kind] for kind in KINDS))


def write(folder: Path, items: Sequence[Item], size: int) -> list[Path]:
    """Writes the items to folder/part_0_of_N.npz and so on, each of at most `size` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(dealt(items, size))
    paths = [folder / f"part_{number}_of_{len(parts)}.npz" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        _write(path, part)
    return paths


def _parts(folder: Path) -> list[Path]:
    found = sorted(folder.glob("part_*_of_*.npz"))
    names = {path.name for path in found}
    count = int(found[0].stem.rpartition("_")[2]) if found else 1
    wanted = {f"part_{number}_of_{count}.npz" for number in range(count)}
    if names != wanted:
        raise InputError(f"{folder} holds {sorted(names)}, not {sorted(wanted)}: dfx.torch.pack_detector writes them")
    return found


def _write(path: Path, items: Sequence[Item]) -> None:
    labels = [item.labelled for item in items]
    write_arrays(
        path,
        data=np.frombuffer(b"".join(item.file for item in items), np.uint8),
        bytes=np.array([len(item.file) for item in items]),
        kind=np.array([KINDS.index(item.kind) for item in items]),
        repeats=np.array([item.repeats for item in items]),
        size=np.array([label.pixels.shape[1::-1] for label in labels]),
        name=np.array([label.name.encode() for label in labels]),
        faces=np.array([len(label.boxes) for label in labels]),
        boxes=np.concatenate([label.boxes for label in labels]),
        marks=np.concatenate([label.marks for label in labels]),
        target=np.concatenate([label.target for label in labels]),
    )


def _read(path: Path) -> list[tuple[str, int, Labelled]]:
    with path.open("rb") as file, np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    files = [part.tobytes() for part in _split(arrays["data"], arrays["bytes"])]
    labels = [_split(arrays[name], arrays["faces"]) for name in ("boxes", "marks", "target")]

    def item(row: int) -> tuple[str, int, Labelled]:
        pixels = stretched(decoded(files[row]), *arrays["size"][row].tolist())
        labelled = Labelled(arrays["name"][row].decode(), pixels, *(part[row] for part in labels))
        return KINDS[arrays["kind"][row]], int(arrays["repeats"][row]), labelled

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(item, range(len(files)), chunksize=64))


def _split(values: NDArray[Any], counts: NDArray[np.int64]) -> list[NDArray[Any]]:
    return np.split(values, counts.cumsum()[:-1])
