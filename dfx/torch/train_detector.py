"""Trains the face detector on what `pack_detector` packed, for so many minutes. Interrupted, it goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from dfx.cli.one_line import OneLine
from dfx.ops.reference import decode_faces
from dfx.torch.boxes import floats
from dfx.torch.detector_layers import CANVAS
from dfx.torch.detector_loss import Batch, step_loss
from dfx.torch.detector_measures import CLASSES, LOWEST, SMALLEST, Photograph, precision
from dfx.torch.detector_scenes import Scenes, batches, heads
from dfx.torch.detector_start import unfold
from dfx.torch.detector_store import Packed
from dfx.torch.labelled import Labelled, Picture, padded
from dfx.torch.loop import TICKS, Clock, Training, keep_freed_memory, quickest_layout
from dfx.torch.retinaface import MIN_SIZES, STRIDES, VARIANCES, VOTES, RetinaFace
from dfx.torch.weights import read_weights
from dfx.values import Faces

SIZES = (16.0, SMALLEST)  # pixels from which on the faces of the validation photographs count
THRESHOLD = 0.6  # score at which their recall is told
IOU, FACES = 0.4, 100  # the defaults of `dfx.ops.decode_faces`
UNFOLDED = 64  # scenes whose statistics the normalisation of an .onnx begins with
TIGHT = 8  # one crop in so many is also pasted as a head: it has no hair and no shoulders


@click.command(cls=OneLine)
@click.option("--packed", type=click.Path(path_type=Path), required=True, help="Folder that pack_detector writes.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and weights.")
@click.option(
    "--imagenet", type=click.Path(path_type=Path), help="Backbone to begin with; see MobileNet.load_imagenet."
)
@click.option("--start", type=click.Path(path_type=Path), help="A detector.pt or .onnx to begin another cycle from.")
@click.option("--minutes", default=8.0, show_default=True, help="0 measures the start alone.")
@click.option("--batch", default=64, show_default=True)
@click.option("--rate", default=2e-3, show_default=True, help="Peak learning rate.")
@click.option("--bf16/--no-bf16", default=False, show_default=True, help="Half precision, where it is quicker.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that make scenes.")
@click.option("--threads", default=1, show_default=True, help="Of torch, on a CPU.")
@click.option("--every", default=60.0, show_default=True, help="Seconds between measurements and checkpoints.")
def main(
    packed: Path,
    out: Path,
    imagenet: Path | None,
    start: Path | None,
    minutes: float,
    batch: int,
    rate: float,
    bf16: bool,
    seed: int,
    device: str,
    workers: int,
    threads: int,
    every: float,
) -> None:
    """Train, writing OUT/detector.pt and OUT/detector_STEP.pt (the running average of the weights).

    \b
    Example:
        python -m dfx.torch.train_detector --packed packed --out runs/detector --device cuda --workers 10
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    out.mkdir(parents=True, exist_ok=True)
    data = Packed.read(packed)
    net = quickest_layout(_network(imagenet, start, data, seed).to(device), _trial(batch, device, bf16))
    run = Training(net, TICKS, rate, out / "checkpoint.pt")
    feed = _on_device(batches(scenes(data, seed), batch, run.step * batch, workers), torch.device(device))
    photographs = [photograph(picture) for picture in data.validation]
    train(run, feed, photographs, Clock(minutes * 60, run.tick), out, every, bf16)


def scenes(data: Packed, seed: int) -> Scenes:
    """Faces: portraits and crops. Heads: portraits and what the pictures show, and some of the crops."""
    faces = [*data.portraits, *data.crops]
    return Scenes(data.pictures, faces, [*data.portraits, *heads(data.pictures), *data.crops[::TIGHT]], seed)


def photograph(picture: Labelled) -> Photograph:
    """As it is measured on: the target tells the class."""
    classes = ["face" if target == 1 else "face_masked" for target in picture.target]
    return picture.name, picture.pixels, picture.boxes, classes, picture.marks


def train(
    run: Training[RetinaFace],
    feed: Iterator[Batch],
    photographs: Sequence[Photograph],
    clock: Clock,
    out: Path,
    every: float,
    bf16: bool,
) -> None:
    """Steps until the clock is at its end, with a report every so often."""
    losses, reported = list[Tensor](), -math.inf  # the first report comes at once: what is amiss shows early
    while (tick := clock.tick) < TICKS:
        losses.append(step(run, next(feed), tick, bf16))
        if clock.elapsed > reported + every:
            report(run, losses, photographs, clock, out)
            losses, reported = [], clock.elapsed
    report(run, losses, photographs, clock, out)


def step(run: Training[RetinaFace], batch: Batch, tick: int, bf16: bool) -> Tensor:
    """One step on a batch; its losses of faces, boxes and landmarks, float [3]."""
    with torch.autocast(batch[0].device.type, torch.bfloat16, enabled=bf16):
        loss = step_loss(run.net.train(), batch)
    run.advance(loss.sum(), tick)
    return loss.detach()


def report(
    run: Training[RetinaFace], losses: Sequence[Tensor], photographs: Sequence[Photograph], clock: Clock, out: Path
) -> None:
    """Writes the weights and prints the figures."""
    for name in ("detector", f"detector_{run.step}"):
        run.write(out / f"{name}.pt")
    run.save()
    parts = " ".join(f"{value:.4f}" for value in torch.stack(list(losses)).mean(dim=0).tolist()) if losses else "-"
    torch.backends.cudnn.benchmark = False  # it would time its ways for the shape of every photograph
    click.echo(f"step {run.step} {clock.elapsed:.0f} s face, box, landmark loss {parts} {_measured(run, photographs)}")
    torch.backends.cudnn.benchmark = True


def _measured(run: Training[RetinaFace], photographs: Sequence[Photograph]) -> str:
    found = [find(run.average, pixels) for _, pixels, *_ in photographs]
    cells = []
    for smallest in SIZES:
        for kind in ("bare", "masked"):
            ap, recall = precision(photographs, found, CLASSES[kind], THRESHOLD, smallest)
            cells.append(f"{kind} {100 * ap:.2f} ({100 * recall:.1f})")
        cells[-2] = f"AP (recall) from {smallest:g} px: {cells[-2]}"
    return ", ".join(cells)


@torch.no_grad()
def find(net: RetinaFace, pixels: Picture, threshold: float = LOWEST) -> Faces:
    """Finds faces in an RGB picture uint8 [H, W, 3], as `dfx.ops.decode_faces` does."""
    canvas = np.ascontiguousarray(padded(pixels).transpose(2, 0, 1))[None]
    height, width = canvas.shape[2:]
    device = next(net.parameters()).device
    logits, boxes, marks = (part.float().cpu() for part in net(torch.from_numpy(canvas).to(device)))
    outputs = floats(logits.sigmoid()), floats(boxes), floats(marks)
    (faces,) = decode_faces(*outputs, height, width, STRIDES, MIN_SIZES, VARIANCES, threshold, IOU, FACES, VOTES)
    return Faces(*faces)


def _network(imagenet: Path | None, start: Path | None, data: Packed, seed: int) -> RetinaFace:
    net = RetinaFace()
    if start and start.suffix == ".onnx":
        pixels, *_ = next(batches(scenes(data, seed), UNFOLDED, 0, workers=0))
        unfold(net, start, pixels.permute(0, 3, 1, 2))
    elif start:
        net.load_state_dict(read_weights(start, "this command", *net.state_dict()))
    elif imagenet:
        net.body.load_imagenet(imagenet)
    return net


def _trial(batch: int, device: str, bf16: bool) -> Callable[[RetinaFace], Tensor]:
    """The loss of a step's forward pass on blank pictures without faces."""
    shapes = (batch, 1, 4), (batch, 1, 5, 2), (batch, 1)
    labels = [torch.full(shape, -1.0, device=device) for shape in shapes]
    pixels = torch.zeros((batch, CANVAS, CANVAS, 3), dtype=torch.uint8, device=device)

    def loss(net: RetinaFace) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            return step_loss(net, (pixels, labels[0], labels[1], labels[2])).sum()

    return loss


def _on_device(feed: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    for pixels, boxes, marks, target in feed:
        yield pixels.to(device), boxes.to(device), marks.to(device), target.to(device)


if __name__ == "__main__":
    main()
