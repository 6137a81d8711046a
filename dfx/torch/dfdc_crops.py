"""The DFDC face crops of the public repository i-Shreyansh/DeepFake-Detection: one 224x224 JPEG a video, with its
original. Which of them may be trained on, and which are held out."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: the video that it shows, its label (1 for fake), and the original video that it comes from."""

    name: str
    fake: bool
    original: str

    @property
    def held_out(self) -> bool:
        """Whether its original belongs to the tenth that training never sees."""
        return hashlib.sha256(self.original.encode()).digest()[0] < 26


class Crops:
    """The crops under a folder that holds `metadata.csv` and `faces_224/`.

    exclude: a file of SHA-256 digests of video names that stay out of everything.
    labels: a CSV of the videos that the classifier is measured on (column `source_path`): their scenes stay out too.
    """

    def __init__(self, folder: Path, exclude: Path, labels: Path | None = None) -> None:
        self.entries = _entries(folder, set(exclude.read_text().split()))
        self._measured = _scenes(self.entries, labels.read_text()) if labels else set()
        self._folder = folder

    def jpeg(self, entry: Entry) -> Path:
        """The file of a picture."""
        return _jpeg(self._folder, entry.name)

    def pairs(self, *, held_out: bool) -> list[tuple[Entry, list[Entry]]]:
        """Each original of one side of the split, with its fakes."""
        fakes: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.fake:
                fakes.setdefault(entry.original, []).append(entry)
        reals = (entry for entry in self.entries if not entry.fake and entry.held_out == held_out)
        scenes = fakes.keys() - self._measured
        return [(real, fakes[real.original]) for real in reals if real.original in scenes]


def _scenes(entries: list[Entry], labels: str) -> set[str]:
    """The originals of every DFDC video that a table of labelled videos names."""
    named = {f"{name}.mp4" for name in re.findall(r"(?<![a-z])[a-z]{10}(?=\.mp4)", labels)}
    return named | {entry.original for entry in entries if entry.name in named}


def _entries(folder: Path, excluded: set[str]) -> list[Entry]:
    with (folder / "metadata.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if _digest(row["videoname"]) not in excluded]
    rows = [row for row in rows if _jpeg(folder, row["videoname"]).exists()]
    rows = [row for row in rows if row["label"] == "REAL" or row["original"].endswith(".mp4")]
    kept = [row for row in rows if row["label"] == "REAL" or _digest(row["original"]) not in excluded]
    return [_entry(row["videoname"], row["original"] if row["label"] == "FAKE" else "") for row in kept]


def _entry(name: str, original: str) -> Entry:
    return Entry(name, bool(original), original or name)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _jpeg(folder: Path, videoname: str) -> Path:
    return folder / "faces_224" / f"{Path(videoname).stem}.jpg"
