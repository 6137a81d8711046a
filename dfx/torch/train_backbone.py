"""Trains the 2D backbone on packed face crops, in pairs of a fake and its original, for so many minutes.

Everything but the decoding of JPEGs happens on the device. Shards that come while it trains are taken in. Interrupted,
it goes on where it was. With folds of the labelled videos left out it is measured on those, the rest may be trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from dfx.cli.one_line import OneLine
from dfx.torch.augment import Dice, augment, wide
from dfx.torch.clipnet import DESIGNS, TIGHT, FrameNet
from dfx.torch.crop_store import UNKNOWN, CropStore, Measured
from dfx.torch.loop import TICKS, Clock, Training, keep_freed_memory
from dfx.torch.pseudo_fakes import self_blended, swapped

RANKING = 0.5  # weight of the pair's ranking loss beside the cross entropy
SMOOTHING = 0.05  # of the labels: some fakes show no trace in their one frame
AVERAGING = 0.995  # of the running average of weights, a step: minutes hold a thousand steps or two
LOOK = 3.0  # seconds between looks for new shards
BARE = 0.35  # share of pairs that lose what is around the face: of the DFDC's crops it is never known


@click.command(cls=OneLine)
@click.option("--shards", type=click.Path(path_type=Path), required=True, help="Folder that pack_crops writes.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and weights.")
@click.option("--design", type=click.Choice(list(DESIGNS)), help="That of --start, or else lite0.")
@click.option("--imagenet", type=click.Path(path_type=Path), help="Weights to start from; see Backbone.load_imagenet.")
@click.option("--start", type=click.Path(path_type=Path), help="A backbone.pt to begin another cycle from.")
@click.option("--leave-out", multiple=True, help="A fold of the labelled videos to measure on, not to train on.")
@click.option("--pseudo", default=0.5, show_default=True, help="Share of fakes made on the spot from real faces.")
@click.option("--swaps", default=0.4, show_default=True, help="Share of these that show another person's face.")
@click.option("--labelled", default=0.12, show_default=True, help="Share of fakes that are of labelled videos.")
@click.option("--minutes", default=6.0, show_default=True, help="0 measures the start alone.")
@click.option("--pairs", default=192, show_default=True, help="Pairs a step.")
@click.option("--rate", default=8e-4, show_default=True, help="Peak learning rate.")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--every", default=45.0, show_default=True, help="Seconds between measurements and checkpoints.")
def main(
    shards: Path,
    out: Path,
    design: str | None,
    imagenet: Path | None,
    start: Path | None,
    leave_out: tuple[str, ...],
    pseudo: float,
    swaps: float,
    labelled: float,
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
    keep_freed_memory()
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    out.mkdir(parents=True, exist_ok=True)
    net = _network(design, imagenet, start).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    store = CropStore(shards, torch.device(device), net.cut, leave_out)
    run = Training(net, TICKS, rate, out / "checkpoint.pt", decay=AVERAGING)
    feed = Feed(store, pairs, pseudo, swaps, labelled, torch.Generator(device).manual_seed(seed + run.step))
    train(run, feed, Clock(minutes * 60, run.tick), out, every)


@dataclass(frozen=True, slots=True)
class Feed:
    """Batches of pairs: first true fakes beside their originals, then faces blended over themselves, then swaps, then
    fakes of labelled videos.

    pseudo: the share of fakes that are made on the spot. swaps: the share of those that show another person. labelled:
    the share that is of labelled videos. What the store has none of gives its share to the others.
    """

    store: CropStore
    pairs: int
    pseudo: float
    swaps: float
    labelled: float
    generator: torch.Generator

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Pairs of each kind in a batch."""
        originals, videos = self.store.has
        named = round(self.pairs * self.labelled) if videos else 0
        made = round(self.pairs * self.pseudo) if originals else self.pairs - named
        others = round(made * self.swaps)
        return self.pairs - made - named, made - others, others, named

    @torch.no_grad()
    def couples(self) -> tuple[Tensor, Tensor]:
        """Reals and fakes before any change that befalls both: float [pairs, 3, S, S] of 0 to 255, twice."""
        store, around = self.store, self.store.cut.around
        true, blended, swaps, named = (Dice(count, self.generator) for count in self.counts)
        outer, inner, _ = self_blended(store.floats(store.reals(blended)), blended, around)
        rows = store.reals(swaps)
        hosts, donors = store.floats(rows), store.floats(store.donors(rows, swaps))
        other, _ = swapped(hosts, donors, swaps, around)
        stored = [[store.floats(rows) for rows in pair] for pair in (store.pairs(true), store.labelled(named))]
        (originals, fakes), (seen, swap) = stored
        return torch.cat([originals, outer, hosts, seen]), torch.cat([fakes, inner, other, swap])

    @torch.no_grad()
    def batch(self) -> Tensor:
        """uint8 [2 * pairs, 3, S, S]: reals, then the fakes in the same order, changed alike."""
        dice, cut = Dice(self.pairs, self.generator, copies=2), self.store.cut
        return augment(bared(torch.cat(self.couples()), dice, cut.around), dice, cut)


def bared(pictures: Tensor, dice: Dice, around: float) -> Tensor:
    """A share of the pictures float [N, 3, S, S], of so many sides of a tight crop, with nothing around the face."""
    if around <= TIGHT.around:
        return pictures
    size = pictures.shape[-1]
    at = ((torch.arange(size, device=pictures.device) + 0.5) / size - 0.5).abs() * around > 0.5
    unknown = (at | at[:, None]) & wide(dice.chance(BARE))
    return pictures.masked_fill(unknown, UNKNOWN)


def train(run: Training[FrameNet], feed: Feed, clock: Clock, out: Path, every: float) -> None:
    """Steps until the clock is at its end, with a look at the shards and a report every so often."""
    looked, reported = clock.elapsed, -math.inf  # the first report comes at once: what is amiss shows early
    right, steps = torch.zeros(feed.pairs, device=feed.store.pictures.device), 0
    while (tick := clock.tick) < TICKS:
        right, steps = right + step(run, feed.batch(), tick), steps + 1
        if clock.elapsed > looked + LOOK:
            if feed.store.refresh():  # there may be other kinds of pairs now
                right, steps = torch.zeros_like(right), 0
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
    kinds = " ".join(f"{float(part.mean()):.3f}" for part in right.split(feed.counts))
    trained = f"trained pairs right (true, blended, swapped, labelled) {kinds}"
    click.echo(f"step {run.step} {clock.elapsed:.0f} s {measure(run.average, feed)} {trained}")
    run.write(out / "backbone.pt")
    run.save()


def _network(design: str | None, imagenet: Path | None, start: Path | None) -> FrameNet:
    """A network that starts with weights of its own design, or of one that differs in nothing but its crops."""
    if start:
        begun = FrameNet.load(start)
        net = FrameNet(DESIGNS[design]) if design else begun
        net.load_state_dict(net.state_dict() | begun.state_dict())
        return net
    net = FrameNet(DESIGNS[design or "lite0"])
    if imagenet:
        net.backbone.load_imagenet(imagenet)
    return net


def pair_loss(logits: Tensor) -> Tensor:
    """Cross entropy, and a loss where a fake does not score above its original.

    logits: float [2 * pairs], the originals first, the fakes in the same order.
    """
    real, fake = logits.chunk(2)
    labels = torch.cat([torch.full_like(real, SMOOTHING), torch.full_like(fake, 1 - SMOOTHING)])
    ranking = functional.softplus(real - fake).mean()
    return functional.binary_cross_entropy_with_logits(logits, labels) + RANKING * ranking


def measure(net: nn.Module, feed: Feed) -> str:
    """On pictures that training never saw. Of originals and their fakes: AUC, the share of pairs ranked right. Of the
    folds that are left out: AUC of the frames, of the videos' means, and the share of its real videos above 0."""
    found, held, left = [], feed.store.held_out, feed.store.left_out
    if len(held.fake):
        scores = scored(net, held, 2 * feed.pairs)
        order = np.lexsort((held.fake, held.group))
        real, fake = scores[order].reshape(-1, 2).T
        found.append(f"held-out AUC {roc_auc_score(held.fake, scores):.4f} pairs {(fake > real).mean():.4f}")
    if len(left.fake):
        scores = scored(net, left, 2 * feed.pairs)
        means, fakes = by_video(scores, left)
        frames, videos = roc_auc_score(left.fake, scores), roc_auc_score(fakes, means)
        found.append(f"left-out AUC {frames:.3f}, videos {videos:.3f}, reals above 0 {(means[~fakes] > 0).mean():.2f}")
    return "; ".join(found)


def by_video(scores: NDArray[np.float64], left: Measured) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mean score and label of each video."""
    _, first, video = np.unique(left.group, return_index=True, return_inverse=True)
    return np.bincount(video, scores) / np.bincount(video), left.fake[first]


@torch.no_grad()
def scored(net: nn.Module, measured: Measured, batch: int) -> NDArray[np.float64]:
    """The logits [M], in batches of the size that training has: a GPU chooses its kernels anew for every other."""
    parts = []
    for part in measured.pictures.split(batch):
        whole = torch.cat([part, part[:1].expand(batch - len(part), -1, -1, -1)]).permute(0, 3, 1, 2)
        with torch.autocast(part.device.type, torch.bfloat16, enabled=part.is_cuda):
            parts.append(net(whole)[: len(part)].double())
    return np.asarray(torch.cat(parts).cpu().numpy())


if __name__ == "__main__":
    main()
