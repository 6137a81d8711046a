"""Trains the face detector from an ImageNet backbone. Interrupted, it goes on."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from dfx.torch.detector_data import Labelled, dfdc_faces, label, photographs, portraits, video_frames
from dfx.torch.detector_scenes import Scenes, heads
from dfx.torch.dfdc_crops import Crops
from dfx.torch.loop import Training
from dfx.torch.retinaface import RetinaFace, anchors, encode, inside, match
from dfx.torch.teachers import Teacher

TEACHERS = ("yunet_n_dynamic.onnx", "scrfd_500m_bnkps.onnx")
NOTHING = np.zeros((0, 4), np.float32)
Sample = tuple[Tensor, Tensor, Tensor, Tensor]


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Folder with detection/, faces/, videos/, weights/."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the labels and checkpoints.")
@click.option("--crops", type=click.Path(path_type=Path), help="Folder of the DFDC face crops: more faces to paste.")
@click.option("--start", type=click.Path(path_type=Path), help="Weights to begin another cycle from; else ImageNet's.")
@click.option("--steps", default=3600, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--every", default=250, show_default=True, help="Steps between checkpoints.")
def main(
    data: Path,
    out: Path,
    crops: Path | None,
    start: Path | None,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    threads: int,
    every: int,
) -> None:
    """Train, writing OUT/detector.pt (the running average of the weights).

    \b
    Example:
        python -m dfx.torch.train_detector --data ../shared/data --out runs/detector --steps 6000
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    net = RetinaFace()
    if start:
        net.load_state_dict(torch.load(start, weights_only=True))
    else:
        net.body.load_imagenet(data / "weights" / "mobilenetv1_025_imagenet.tar")
    run = Training(net.to(memory_format=torch.channels_last), steps, rate, out / "checkpoint.pt")  # type: ignore[call-overload]
    scenes = _scenes(data, crops, seed, run.step * batch)
    started, losses = time.monotonic(), []
    for samples in DataLoader(scenes, batch_size=batch, num_workers=1, prefetch_factor=4, collate_fn=list):
        loss = step_loss(run.net.train(), samples)
        run.advance(loss.sum())
        losses.append(loss.detach())
        if run.step % every == 0 or run.step == steps:
            parts = " ".join(f"{value:.4f}" for value in torch.stack(losses[-every:]).mean(dim=0).tolist())
            click.echo(f"step {run.step} face, box, landmark loss {parts} {time.monotonic() - started:.0f} s")
            run.save()
            torch.save(run.average.state_dict(), out / "detector.pt")
        if run.step >= steps:
            return


def _scenes(data: Path, crops: Path | None, seed: int, start: int) -> Scenes:
    """Faces: portraits and DFDC crops. Heads: portraits and what the pictures show, and one crop in eight."""
    seen, known = pictures(data), list(portraits(data / "faces"))
    tight = _crops(data, crops) if crops else []
    return Scenes(seen, known + tight, known + list(heads(seen)) + tight[::8], seed, start)


def _crops(data: Path, folder: Path) -> list[Labelled]:
    every = Crops(folder, data / "dfdc_faces_exclude.txt")
    return list(dfdc_faces(every, Teacher(data / "weights" / TEACHERS[0]), 8000))


def pictures(data: Path) -> list[Labelled]:
    """The training photographs and six frames of each labelled video, with the teachers' labels."""
    teachers = [Teacher(data / "weights" / name) for name in TEACHERS]
    photos = [
        label(name, pixels, teachers, boxes, classes, marks)
        for name, pixels, boxes, classes, marks in photographs(data / "detection", "train")
    ]
    marks = np.zeros((0, 5, 2), np.float32)
    frames = [label(name, pixels, teachers, NOTHING, [], marks) for name, pixels in video_frames(data / "videos", 6)]
    bare = [photo for photo in photos if not photo.name.startswith("mask")]  # WIDER FACE and dlib: few, and the richest
    return photos * 2 + bare * 6 + frames


def step_loss(net: RetinaFace, samples: list[Sample]) -> Tensor:
    """Losses of faces, boxes and landmarks, float [3], weighted as in RetinaFace (2 for boxes)."""
    pixels = torch.stack([sample[0] for sample in samples]).contiguous(memory_format=torch.channels_last)
    logits, boxes, marks = net(pixels)
    priors = anchors(*pixels.shape[2:])
    targets = [_targets(priors, *sample[1:]) for sample in samples]
    wanted, boxes_wanted, marks_wanted = (torch.stack(parts) for parts in zip(*targets, strict=True))
    positive = wanted > 0
    count = positive.sum().clamp(min=1)
    known = positive[..., None] & ~marks_wanted.isnan()
    box_loss = functional.smooth_l1_loss(boxes[positive], boxes_wanted[positive], reduction="sum") / count
    mark_loss = (
        functional.smooth_l1_loss(marks[known], marks_wanted[known], reduction="sum") / known.sum().clamp(min=1) * 4
    )
    return torch.stack([_focal(logits, wanted) / count, 2 * box_loss, mark_loss])


def _targets(priors: Tensor, boxes: Tensor, marks: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each anchor is to say: score [A] (NaN: no loss), box deltas [A, 4], landmark deltas [A, 10]."""
    known = ~target.isnan()
    owner = match(boxes[known], priors)
    wanted = torch.zeros(len(priors))
    wanted[owner == -2] = torch.nan
    wanted[(owner < 0) & inside(boxes[~known], priors)] = torch.nan
    owned = owner >= 0
    wanted[owned] = target[known][owner[owned]]
    box_deltas, mark_deltas = torch.zeros(len(priors), 4), torch.zeros(len(priors), 10)
    encoded = encode(boxes[known][owner[owned]], marks[known][owner[owned]], priors[owned])
    box_deltas[owned], mark_deltas[owned] = encoded
    return wanted, box_deltas, mark_deltas


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Quality focal loss (Li et al., NeurIPS 2020), summed; anchors whose wanted score is NaN are left out."""
    known = ~wanted.isnan()
    logits, wanted = logits[known], wanted[known]
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return ((wanted - logits.sigmoid()).abs() ** 2 * entropy).sum()


if __name__ == "__main__":
    main()
