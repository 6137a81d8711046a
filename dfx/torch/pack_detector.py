"""Packs what the detector is trained and measured on into a few files that are small enough to send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from dfx.cli.one_line import OneLine
from dfx.torch.boxes import floats
from dfx.torch.detector_data import dfdc_faces, label, photographs, portraits, targets, video_frames
from dfx.torch.detector_store import Item, write
from dfx.torch.dfdc_crops import Crops
from dfx.torch.labelled import Labelled, jpeg, stretched
from dfx.torch.teachers import Teacher

TEACHERS = ("yunet_n_dynamic.onnx", "scrfd_500m_bnkps.onnx")
FRAMES = 6  # of a video
PACKED_SIDE = 128  # pixels of a packed crop, whose face fills it: most are pasted smaller
BARE, MASKED = 8, 2  # how often a photograph stands among the pictures: WIDER FACE and dlib are few, and the richest
QUALITY = 95  # of the JPEGs that are made here


@click.command(cls=OneLine)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Folder with detection/, faces/, videos/, weights/."
)
@click.option("--crops", type=click.Path(path_type=Path), help="Folder of the DFDC face crops: more faces to paste.")
@click.option("--count", default=8000, show_default=True, help="Crops, about.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the parts.")
@click.option("--size", default=58.0, show_default=True, help="Of a part, at most, in MiB.")
def main(data: Path, crops: Path | None, count: int, out: Path, size: float) -> None:
    """Write OUT/part_0_of_N.npz and so on, with the labels that two public detectors give where no human gave any.

    \b
    Example:
        python -m dfx.torch.pack_detector --data ../shared/data --crops crops --out packed
    """
    teachers = [Teacher(data / "weights" / name) for name in TEACHERS]
    items = [*pictures(data, teachers), *validation(data / "detection"), *faces(data / "faces")]
    if crops:
        chosen = Crops(crops, data / "dfdc_faces_exclude.txt")
        items += [crop(face) for face in dfdc_faces(chosen, teachers[0], count)]
    for path in write(out, items, int(size * 2**20)):
        click.echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def pictures(data: Path, teachers: list[Teacher]) -> Iterator[Item]:
    """The training photographs, as their files, and some frames of each labelled video."""
    folder = data / "detection"
    for name, pixels, boxes, classes, marks in photographs(folder, "train"):
        photo = label(name, pixels, teachers, boxes, classes, marks)
        yield Item("picture", photo, _photograph(folder, name), MASKED if name.startswith("mask") else BARE)
    nobody, unmarked = floats(np.zeros((0, 4))), floats(np.zeros((0, 5, 2)))
    for name, pixels in video_frames(data / "videos", FRAMES):
        yield Item("picture", label(name, pixels, teachers, nobody, [], unmarked), jpeg(pixels, QUALITY))


def validation(folder: Path) -> Iterator[Item]:
    """The validation photographs, with the human boxes alone."""
    for name, pixels, boxes, classes, marks in photographs(folder, "validation"):
        yield Item("validation", Labelled(name, pixels, boxes, marks, targets(classes)), _photograph(folder, name))


def faces(folder: Path) -> Iterator[Item]:
    """The portraits, as their files."""
    for face in portraits(folder):
        yield Item("portrait", face, (folder / face.name).read_bytes())


def crop(face: Labelled) -> Item:
    """A crop at the size that it is pasted at."""
    scale = PACKED_SIDE / len(face.pixels)
    pixels = stretched(face.pixels, PACKED_SIDE, PACKED_SIDE)
    small = Labelled(face.name, pixels, floats(face.boxes * scale), floats(face.marks * scale), face.target)
    return Item("crop", small, jpeg(pixels, QUALITY))


def _photograph(folder: Path, name: str) -> bytes:
    return (folder / "images" / name).read_bytes()


if __name__ == "__main__":
    main()
