"""Measures where the five landmarks lie in the DFDC crops: the template that dfx's own crops are aligned to."""

from __future__ import annotations

import json
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from dfx.cli.one_line import OneLine
from dfx.torch.teachers import Teacher
from dfx.values import Faces

PADDED = 320  # pixels: the crops are tight, and a detector wants to see what surrounds a face
TRUSTED = 0.7  # score from which on a detection counts
MIRRORED = (1, 0, 2, 4, 3)  # the landmarks' order after a flip


@click.command(cls=OneLine)
@click.option("--crops", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of faces_224/.")
@click.option("--teacher", type=click.Path(path_type=Path, exists=True), required=True, help="YuNet's ONNX file.")
@click.option("--count", default=600, show_default=True, help="Crops to look at.")
@click.option("--seed", default=0, show_default=True)
def main(crops: Path, teacher: Path, count: int, seed: int) -> None:
    """Print the mean landmarks, made symmetric, in units of the crop's side.

    \b
    Example:
        python -m dfx.torch.crop_template --crops crops --teacher ../shared/data/weights/yunet_n_dynamic.onnx
    """
    paths = sorted((crops / "faces_224").glob("*.jpg"))
    chosen = np.random.default_rng(seed).choice(len(paths), min(count, len(paths)), replace=False)
    detector = Teacher(teacher)
    found = [marks for marks in (landmarks(detector, paths[i]) for i in chosen) if marks is not None]
    points = np.stack(found)
    click.echo(f"{len(found)} of {len(chosen)} crops with a face; spread {points.std(axis=0).mean():.3f} of the side")
    click.echo(json.dumps([[round(float(x), 3) for x in point] for point in symmetric(points)]))


def landmarks(detector: Teacher, path: Path) -> NDArray[np.float32] | None:
    """The best face's landmarks float32 [5, 2], in units of the crop's side; None without a trusted one."""
    picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)
    side = picture.shape[0]
    border = (PADDED - side) // 2
    padded = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
    face: Faces = detector.detect(np.asarray(padded, np.uint8), TRUSTED)
    return np.asarray((face.landmarks[0] - border) / side, np.float32) if len(face) else None


def symmetric(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of landmarks float [N, 5, 2] and their mirror images: float [5, 2]."""
    mean = points.mean(axis=0)
    mirror = mean[list(MIRRORED)] * [-1, 1] + [1, 0]
    return np.asarray((mean + mirror) / 2, np.float32)


if __name__ == "__main__":
    main()
