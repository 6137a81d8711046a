"""Measures a face detector beside the teachers, on the test third of the photographs and on video frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from dfx.cli.one_line import OneLine
from dfx.detect import Detector
from dfx.torch.boxes import overlaps
from dfx.torch.detector_data import photographs, video_frames
from dfx.torch.detector_measures import CLASSES, LOWEST, OVERLAP, SMALLEST, Photograph, precision
from dfx.torch.labelled import Picture, padded
from dfx.torch.teachers import Teacher
from dfx.values import Faces

Detect = Callable[[Picture], Faces]


@click.command(cls=OneLine)
@click.option("--model", type=click.Path(path_type=Path), default="dfx/models/detector.onnx", show_default=True)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Folder with detection/, videos/, weights/."
)
@click.option("--split", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@click.option("--videos/--no-videos", default=True, show_default=True, help="Also measure on video frames.")
@click.option(
    "--smallest", default=SMALLEST, show_default=True, help="Pixels of a face's shorter side from which on it counts."
)
def main(model: Path, data: Path, split: str, videos: bool, smallest: float) -> None:
    """Print average precision and recall, bare and masked faces apart, beside each teacher's.

    \b
    Example:
        python -m dfx.torch.eval_detector --data ../shared/data
    """
    ours = Ours(model)
    teachers = [
        Teacher(data / "weights" / f"{name}.onnx")
        for name in ("yunet_n_dynamic", "yunet_s_dynamic", "scrfd_500m_bnkps")
    ]
    detectors: dict[str, Detect] = {model.stem: ours.find, **{teacher.name: teacher.detect for teacher in teachers}}
    pictures, threshold = list(photographs(data / "detection", split)), ours.contract.score_threshold
    console = Console(width=120)
    console.print(f"{len(pictures)} pictures ({split}); AP at IoU {OVERLAP:g}, recall at a score of {threshold:g}")
    console.print(on_photographs(detectors, pictures, threshold, smallest))
    if videos:
        console.print(on_videos(ours, teachers, list(video_frames(data / "videos", 3))))


class Ours(Detector):
    """Our detector, on RGB pictures as they are."""

    def find(self, pixels: Picture, threshold: float = LOWEST) -> Faces:
        """Finds faces in an RGB picture uint8 [H, W, 3] of at most 640 pixels a side."""
        return self.run(np.ascontiguousarray(padded(pixels).transpose(2, 0, 1))[None], threshold)[0]


def on_photographs(
    detectors: Mapping[str, Detect], pictures: Sequence[Photograph], threshold: float, smallest: float
) -> Table:
    """On photographs: average precision, and recall at the threshold, of each class of faces, in percent."""
    table = Table("detector", *(f"{kind} {figure}" for kind in CLASSES for figure in ("AP", "recall")))
    for name, detect in detectors.items():
        found = [detect(pixels) for _, pixels, *_ in pictures]
        figures = (precision(pictures, found, kinds, threshold, smallest) for kinds in CLASSES.values())
        table.add_row(name, *(f"{100 * figure:.2f}" for pair in figures for figure in pair))
    return table


def on_videos(ours: Ours, teachers: Sequence[Teacher], frames: Sequence[tuple[str, Picture]]) -> Table:
    """On video frames: landmarks beside each teacher's, in percent of the face's side, and videos that show a face."""
    threshold = ours.contract.score_threshold
    everyone: dict[str, list[Faces]] = {"ours": [ours.find(pixels, threshold) for _, pixels in frames]}
    everyone |= {teacher.name: [teacher.detect(pixels, 0.5) for _, pixels in frames] for teacher in teachers}
    names = {name for name, _ in frames}
    table = Table("video frames", *(f"points beside {name}, %" for name in everyone), "videos with a face, %")
    for name, found in everyone.items():
        seen = {video for (video, _), faces in zip(frames, found, strict=True) if len(faces)}
        differences = [f"{_apart(found, other):.2f}" if other is not found else "" for other in everyone.values()]
        table.add_row(name, *differences, f"{100 * len(seen) / len(names):.1f}")
    return table


def _apart(first: Sequence[Faces], second: Sequence[Faces]) -> float:
    """Mean distance of the landmarks of matched faces, in percent of the face's side (root of its area)."""
    distances = []
    for mine, theirs in zip(first, second, strict=True):
        if not len(mine) or not len(theirs):
            continue
        shared = overlaps(mine.boxes, theirs.boxes)
        for i, j in enumerate(shared.argmax(axis=1)):
            if shared[i, j] > OVERLAP:
                side = np.sqrt((theirs.boxes[j, 2:] - theirs.boxes[j, :2]).prod())
                distances.append(np.linalg.norm(mine.landmarks[i] - theirs.landmarks[j], axis=1).mean() / side)
    return 100 * float(np.mean(distances))


if __name__ == "__main__":
    main()
