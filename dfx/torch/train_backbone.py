"""Trains the 2D backbone on the DFDC face crops, in pairs of a fake and its original. Interrupted, it goes on."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from dfx.torch.clipnet import FrameNet
from dfx.torch.dfdc_crops import Crops, PairStream, centre
from dfx.torch.loop import Training

RANKING = 0.5  # weight of the pair's ranking loss beside the cross entropy
SMOOTHING = 0.05  # of the labels: some fakes show no trace in their one frame


@click.command()
@click.option("--crops", type=click.Path(path_type=Path), required=True, help="Folder of metadata.csv and faces_224/.")
@click.option(
    "--exclude", type=click.Path(path_type=Path), required=True, help="SHA-256 digests of names to leave out."
)
@click.option("--labels", type=click.Path(path_type=Path), help="CSV of the labelled videos: their scenes stay out.")
@click.option("--imagenet", type=click.Path(path_type=Path), help="Weights to start from; see Backbone.load_imagenet.")
@click.option("--start", type=click.Path(path_type=Path), help="A backbone.pt to begin another cycle from.")
@click.option("--pseudo", default=0.0, show_default=True, help="Share of fakes made from their original by blending.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the cache and checkpoints.")
@click.option("--steps", default=2000, show_default=True)
@click.option("--pairs", default=32, show_default=True, help="Pairs a step.")
@click.option("--rate", default=6e-4, show_default=True, help="Peak learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--every", default=250, show_default=True, help="Steps between measurements and checkpoints.")
def main(
    crops: Path,
    exclude: Path,
    labels: Path | None,
    imagenet: Path | None,
    start: Path | None,
    pseudo: float,
    out: Path,
    steps: int,
    pairs: int,
    rate: float,
    seed: int,
    threads: int,
    every: int,
) -> None:
    r"""Train, writing OUT/backbone.pt (the running average of the weights, of a FrameNet).

    \b
    Example:
        python -m dfx.torch.train_backbone --crops crops --exclude exclude.txt --out runs/backbone
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    data = Crops(crops, exclude, out / "crops.u8", labels)
    run = Training(_network(imagenet, start), steps, rate, out / "checkpoint.pt")
    stream = PairStream(data, pairs, seed, start=run.step, pseudo=pseudo)
    started = time.monotonic()
    for pixels, truth in DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4):
        if run.step >= steps:
            return
        loss = pair_loss(run.net.train()(pixels.contiguous(memory_format=torch.channels_last)), truth)
        run.advance(loss)
        if run.step % every == 0 or run.step == steps:
            auc, ranked = measure(run.average, data)
            figures = f"loss {loss.item():.4f} held-out AUC {auc:.4f} pairs ranked right {ranked:.4f}"
            click.echo(f"step {run.step} {figures} {time.monotonic() - started:.0f} s")
            run.save()
            torch.save(run.average.state_dict(), out / "backbone.pt")


def _network(imagenet: Path | None, start: Path | None) -> FrameNet:
    net = FrameNet()
    if start:
        net.load_state_dict(torch.load(start, weights_only=True))
    elif imagenet:
        net.backbone.load_imagenet(imagenet)
    if start or imagenet:
        net.backbone.freeze()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def pair_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, and a loss where a fake does not score above its original.

    logits, labels: float [2 * pairs], the originals first, the fakes in the same order.
    """
    real, fake = logits.chunk(2)
    smooth = labels * (1 - 2 * SMOOTHING) + SMOOTHING
    ranking = functional.softplus(real - fake).mean()
    return functional.binary_cross_entropy_with_logits(logits, smooth) + RANKING * ranking


@torch.no_grad()
def measure(net: FrameNet, crops: Crops, most: int = 1) -> tuple[float, float]:
    """On originals that training never saw, and at most `most` fakes of each: AUC, share of pairs ranked right."""
    pairs = [(real, fake) for real, fakes in crops.pairs(held_out=True) for fake in fakes[:most]]
    rows = sorted({entry.row for pair in pairs for entry in pair})
    scores = {
        row: score for part in range(0, len(rows), 64) for row, score in _scores(net, crops, rows[part : part + 64])
    }
    right = np.mean([scores[fake.row] > scores[real.row] for real, fake in pairs])
    labels = [crops.entries[row].fake for row in rows]
    return float(roc_auc_score(labels, [scores[row] for row in rows])), float(right)


def _scores(net: FrameNet, crops: Crops, rows: list[int]) -> list[tuple[int, float]]:
    pixels = centre(crops.pictures[rows]).contiguous(memory_format=torch.channels_last)
    return list(zip(rows, net(pixels).tolist(), strict=True))


if __name__ == "__main__":
    main()
