"""Adds time to a trained backbone, which stays as it is, and calibrates: the labelled videos are too few for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor, nn
from torch.nn import functional

from dfx.cli.one_line import OneLine
from dfx.files import replacement
from dfx.torch.clip_data import FOLDS, Sample, samples
from dfx.torch.clipnet import ClipNet, FrameNet, TemporalHead
from dfx.torch.expectation import Beyond, clues_of
from dfx.torch.folds import Float, calibrate, calibrate_with_doubt, labels, left_out
from dfx.torch.mesonet import MesoNet
from dfx.torch.steady import SteadyNet

Heads = Mapping[str, TemporalHead]
STEPS = 150
RATE = 3e-3
DECAY = 0.3  # weight decay of AdamW: the branch over time has 3,400 weights and 150 videos to learn them from


@click.command(cls=OneLine)
@click.argument("backbone", type=click.Path(path_type=Path, exists=True))
@click.option("--videos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of labels.csv.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for clips, features and weights.")
@click.option(
    "--temporal/--mean", default=False, show_default=True, help="Train the branch over time, or leave it out."
)
@click.option(
    "--views/--one-view", default=None, help="See every frame in a view of its own; done unless told, or --temporal."
)
@click.option("--second", type=click.Path(path_type=Path, exists=True), help="Of train_mesonet; with views.")
@click.option("--folds", type=click.Path(path_type=Path, exists=True), help="Backbones of the folds, to calibrate by.")
@click.option("--seed", default=0, show_default=True)
def main(
    backbone: Path,
    videos: Path,
    out: Path,
    temporal: bool,
    views: bool | None,
    second: Path | None,
    folds: Path | None,
    seed: int,
) -> None:
    """Fit what is fitted to the labelled videos, and the calibration, and write OUT/classifier.pt.

    BACKBONE: the backbone.pt that train_backbone writes. One that was trained on labelled videos flatters them:
    `--folds` names a folder of a backbone.pt for each fold, trained without it, by whose logits it is calibrated. What
    to expect of the result on generators and people that were not seen, `eval_classifier` measures.

    \b
    Example:
        python -m dfx.torch.train_classifier runs/backbone/backbone.pt --second runs/mesonet/mesonet.pt \
            --videos videos --out runs/classifier
    """
    views = not temporal if views is None else views
    if temporal and views:
        raise click.UsageError("--temporal looks at what changes from frame to frame: it needs --one-view")
    if second and (folds or not views):
        raise click.UsageError("--second goes with views, and without --folds")
    clips = ClipNet.from_frames(FrameNet.load(backbone))  # what is amiss with the files shows before videos are cut
    other = MesoNet.load(second) if second else None
    data, heads = seen(folds or backbone, videos, out, views=views)
    if other:
        net, logits = steadied(SteadyNet(clips, other).eval(), data)
    else:
        net, logits = over_time(clips, data, seed) if temporal else (clips, logits_of(heads, data))
    fit = calibrate_with_doubt if other else calibrate  # as eval_classifier measures them
    calibration = fit(logits, labels(data))
    out.mkdir(parents=True, exist_ok=True)
    state = {"net": net.state_dict(), "views": views} | asdict(calibration)
    with replacement(out / "classifier.pt") as file:
        torch.save(state, file.buffer)
    click.echo(
        f"{len(data)} videos; probability = sigmoid({calibration.scale:.4f} * logit + {calibration.bias:.4f}), "
        f"with a doubt of {calibration.doubt:.4f}"
    )


def steadied(net: SteadyNet, data: Sequence[Sample]) -> tuple[nn.Module, Float]:
    """The network, less what is expected of real faces; and its logit of every video, less an expectation that was
    fitted without the video's fold: float [N]."""
    beyond = Beyond(clues_of(net, data))
    net.expected = beyond.expectation(data).as_layer()
    click.echo(f"texture explains {beyond.explained(data):.2f} of what votes differ by among real videos")
    return net, beyond.unseen(data)


def over_time(net: ClipNet, data: Sequence[Sample], seed: int) -> tuple[nn.Module, Float]:
    """The network with a branch over time; and its logit of every video, by a branch that was fitted without the
    video's fold: float [N]."""
    logits = unseen_logits(net.head, data, seed)
    net.head = fit_head(net.head, data, seed)
    return net, logits


def seen(backbone: Path, videos: Path, out: Path, *, views: bool = False) -> tuple[list[Sample], Heads]:
    """The labelled videos, and the head that their features are for, by fold.

    backbone: a backbone.pt; or a folder with FOLD/backbone.pt for every fold, which is shown that fold's videos;
    views: every frame is seen in one of its own.
    """
    if backbone.is_file():
        data, head = samples(videos, backbone, out, views=views), ClipNet.from_frames(FrameNet.load(backbone)).head
        return data, dict.fromkeys(FOLDS, head)
    data, heads = [], {}
    for fold in FOLDS:
        weights = backbone / fold / "backbone.pt"
        data += samples(videos, weights, out, fold=fold, views=views)
        heads[fold] = ClipNet.from_frames(FrameNet.load(weights)).head
    return data, heads


@torch.no_grad()
def logits_of(heads: Heads, data: Sequence[Sample]) -> Float:
    """Every video's logit before calibration, by the head of its fold, taken together from its clips as prediction does
    it: float [N]."""
    said = (heads[sample.video.fold](sample.features).tolist() for sample in data)
    return np.array([sample.clips.video_logit(logits) for sample, logits in zip(data, said, strict=True)])


def video_logits(head: TemporalHead, data: Sequence[Sample]) -> Float:
    """As `logits_of`, by one head: float [N]."""
    return logits_of({sample.video.fold: head for sample in data}, data)


def unseen_logits(head: TemporalHead, data: Sequence[Sample], seed: int) -> Float:
    """As `video_logits`, each video by a head that was fitted without its fold: its generators, its people."""
    return left_out(lambda train, test: video_logits(fit_head(head, train, seed), test), data)


def fit_head(start: TemporalHead, data: Sequence[Sample], seed: int) -> TemporalHead:
    """Trains the branch over time on the main person's clips; the vote of the frames stays. Classes weigh the same."""
    torch.manual_seed(seed)
    head = TemporalHead()
    head.vote.load_state_dict(start.vote.state_dict())
    head.vote.requires_grad_(False)
    features, video = _clips(data)
    truth = torch.from_numpy(labels(data)).float()
    weights = torch.from_numpy(compute_sample_weight("balanced", labels(data))).float()
    scale = nn.Parameter(torch.tensor([0.3, 0.0]))  # a calibration of its own, so that the branch need not be one
    parameters = [*(p for p in head.parameters() if p.requires_grad), scale]
    optimiser = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        logits = _mean(head(functional.dropout(features, 0.3)), video, len(data))
        loss = functional.binary_cross_entropy_with_logits(scale[0] * logits + scale[1], truth, weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval()


def _clips(data: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """The main person's clips of all videos: features [M, T, F], and the number of the video of each [M]."""
    chosen = [sample.features[torch.from_numpy(sample.clips.main)] for sample in data]
    counts = torch.tensor([len(features) for features in chosen])
    return torch.cat(chosen), torch.arange(len(data)).repeat_interleave(counts)


def _mean(logits: Tensor, video: Tensor, count: int) -> Tensor:
    """Means over each video's clips: [M] -> [count]."""
    total = torch.zeros(count).index_add(0, video, logits)
    return total / torch.bincount(video, minlength=count)


if __name__ == "__main__":
    main()
