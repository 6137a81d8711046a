"""Trains the 2D backbone on packed face crops, in pairs of a fake and its original, for so many minutes.

Everything but the decoding of JPEGs happens on the device. Shards that come while it trains are taken in. Interrupted,
it goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from dfx.torch.augment import Dice, augment
from dfx.torch.clipnet import CROP_SIZE, DESIGNS, FrameNet
from dfx.torch.crop_store import CropStore
from dfx.torch.loop import TICKS, Clock, Training, quickest_layout
from dfx.torch.pseudo_fakes import self_blended, swapped

RANKING = 0.5  # weight of the pair's ranking loss beside the cross entropy
SMOOTHING = 0.05  # of the labels: some fakes show no trace in their one frame
AVERAGING = 0.995  # of the running average of weights, a step: minutes hold a thousand steps or two
LOOK = 3.0  # seconds between looks for new shards


@click.command()
@click.option("--shards", type=click.Path(path_type=Path), required=True, help="Folder that pack_crops writes.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and weights.")
@click.option("--design", type=click.Choice(list(DESIGNS)), default="lite0", show_default=True)
@click.option("--imagenet", type=click.Path(path_type=Path), help="Weights to start from; see Backbone.load_imagenet.")
@click.option("--start", type=click.Path(path_type=Path), help="A backbone.pt to begin another cycle from, its design.")
@click.option("--pseudo", default=0.5, show_default=True, help="Share of fakes made on the spot from real faces.")
@click.option("--swaps", default=0.4, show_default=True, help="Share of these that show another person's face.")
@click.option("--minutes", default=6.0, show_default=True, help="0 measures the start alone.")
@click.option("--pairs", default=192, show_default=True, help="Pairs a step.")
@click.option("--rate", default=8e-4, show_default=True, help="Peak learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--every", default=45.0, show_default=True, help="Seconds between measurements and checkpoints.")
def main(
    shards: Path,
    out: Path,
    design: str,
    imagenet: Path | None,
    start: Path | None,
    pseudo: float,
    swaps: float,
    minutes: float,
    pairs: int,
    rate: float,
    seed: int,
    device: str,
    every: float,
) -> None:
    """Train, writing OUT/backbone.pt (the running average of the weights, of a FrameNet).

    \b
    Example:
        python -m dfx.torch.train_backbone --shards shards --out runs/backbone --device cuda --minutes 6
    """
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    out.mkdir(parents=True, exist_ok=True)
    store = CropStore(shards, torch.device(device))
    net = quickest_layout(_network(design, imagenet, start).to(device), _trial(pairs, device))
    run = Training(net, TICKS, rate, out / "checkpoint.pt", decay=AVERAGING)
    feed = Feed(store, pairs, pseudo, swaps, torch.Generator(device).manual_seed(seed + run.step))
    train(run, feed, Clock(minutes * 60, run.tick), out, every)


@dataclass(frozen=True, slots=True)
class Feed:
    """Batches of pairs: first true fakes beside their originals, then faces blended over themselves, then swaps.

    pseudo: the share of fakes that are made on the spot. swaps: the share of those that show another person.
    """

    store: CropStore
    pairs: int
    pseudo: float
    swaps: float
    generator: torch.Generator

    @property
    def counts(self) -> tuple[int, int, int]:
        """Pairs of each kind in a batch."""
        made = round(self.pairs * self.pseudo)
        others = round(made * self.swaps)
        return self.pairs - made, made - others, others

    @torch.no_grad()
    def couples(self) -> tuple[Tensor, Tensor]:
        """Reals and fakes before any change that befalls both: float [pairs, 3, S, S] of 0 to 255, twice."""
        true, blended, swaps = (Dice(count, self.generator) for count in self.counts)
        originals, fakes = (self.store.floats(rows) for rows in self.store.pairs(true))
        outer, inner, _ = self_blended(self.store.floats(self.store.reals(blended)), blended)
        rows = self.store.reals(swaps)
        hosts, donors = self.store.floats(rows), self.store.floats(self.store.donors(rows, swaps))
        other, _ = swapped(hosts, donors, swaps)
        return torch.cat([originals, outer, hosts]), torch.cat([fakes, inner, other])

    @torch.no_grad()
    def batch(self) -> Tensor:
        """uint8 [2 * pairs, 3, CROP_SIZE, CROP_SIZE]: reals, then the fakes in the same order, changed alike."""
        pictures = torch.cat(self.couples())
        return augment(pictures, Dice(self.pairs, self.generator, copies=2))


def train(run: Training[FrameNet], feed: Feed, clock: Clock, out: Path, every: float) -> None:
    """Steps until the clock is at its end, with a look at the shards and a report every so often."""
    looked, reported = clock.elapsed, -math.inf  # the first report comes at once: what is amiss shows early
    right, steps = torch.zeros(feed.pairs, device=feed.store.pictures.device), 0
    while (tick := clock.tick) < TICKS:
        right, steps = right + step(run, feed.batch(), tick), steps + 1
        if clock.elapsed > looked + LOOK:
            feed.store.refresh()
            looked = clock.elapsed
        if clock.elapsed > reported + every:
            report(run, feed, right / steps, clock, out)
            right, steps, reported = torch.zeros_like(right), 0, clock.elapsed
    report(run, feed, right / max(steps, 1), clock, out)


def step(run: Training[FrameNet], pixels: Tensor, tick: int) -> Tensor:
    """One step on a batch; whether each fake scored above its real: float [pairs]."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.is_cuda):
        logits = run.net.train()(pixels).float()
    run.advance(pair_loss(logits), tick)
    real, fake = logits.detach().chunk(2)
    return torch.gt(fake, real).float()


def report(run: Training[FrameNet], feed: Feed, right: Tensor, clock: Clock, out: Path) -> None:
    """Prints the figures and writes the weights."""
    auc, ranked = measure(run.average, feed.store)
    kinds = " ".join(f"{float(part.mean()):.3f}" for part in right.split(feed.counts))
    trained = f"trained pairs right (true, blended, swapped) {kinds}"
    click.echo(
        f"step {run.step} {clock.elapsed:.0f} s held-out AUC {auc:.4f} pairs ranked right {ranked:.4f} {trained}"
    )
    run.write(out / "backbone.pt")
    run.save()


def _network(design: str, imagenet: Path | None, start: Path | None) -> FrameNet:
    if start:
        return FrameNet.load(start)
    net = FrameNet(DESIGNS[design])
    if imagenet:
        net.backbone.load_imagenet(imagenet)
    return net


def _trial(pairs: int, device: str) -> Callable[[FrameNet], Tensor]:
    """The loss of a step's forward pass on blank pictures."""
    pixels = torch.zeros((2 * pairs, 3, CROP_SIZE, CROP_SIZE), dtype=torch.uint8, device=device)

    def loss(net: FrameNet) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return pair_loss(net(pixels).float())

    return loss


def pair_loss(logits: Tensor) -> Tensor:
    """Cross entropy, and a loss where a fake does not score above its original.

    logits: float [2 * pairs], the originals first, the fakes in the same order.
    """
    real, fake = logits.chunk(2)
    labels = torch.cat([torch.full_like(real, SMOOTHING), torch.full_like(fake, 1 - SMOOTHING)])
    ranking = functional.softplus(real - fake).mean()
    return functional.binary_cross_entropy_with_logits(logits, labels) + RANKING * ranking


@torch.no_grad()
def measure(net: nn.Module, store: CropStore) -> tuple[float, float]:
    """On the pictures that training never saw, an original and a fake of each: AUC, share of pairs ranked right."""
    parts = [net(part.permute(0, 3, 1, 2)) for part in store.held_out.split(256)]
    scores = torch.cat(parts).double().cpu().numpy()
    order = np.lexsort((store.held_fake, store.held_group))
    real, fake = scores[order].reshape(-1, 2).T
    return float(roc_auc_score(store.held_fake, scores)), float((fake > real).mean())


if __name__ == "__main__":
    main()
