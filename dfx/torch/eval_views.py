"""Whether it pays to see a face in several views: single ones beside the mean over two, three and four of them.

Which views are chosen flatters a choice; what all sets of so many have in the mean does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from dfx.cli.one_line import OneLine
from dfx.torch.clip_data import Sample, VideoClips, cut, read_labels
from dfx.torch.clipnet import FrameNet
from dfx.torch.eval_classifier import ranked
from dfx.torch.eval_measures import left_out, shipped
from dfx.torch.figures import figures
from dfx.torch.folds import Float, labels, sigmoid
from dfx.torch.views import VIEWED, VIEWS, Look, View

MIDDLES, SIZES = (224, 252, 280), (128, 160, 192, 224)  # pixels
Votes = Mapping[View, Sequence[Float]]  # of each video the frames' logits, float [K, T]


@click.command(cls=OneLine)
@click.argument("backbone", type=click.Path(path_type=Path, exists=True))
@click.option("--videos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of labels.csv.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for clips.")
def main(backbone: Path, videos: Path, out: Path) -> None:
    """Print the figures of single views, and those of sets of views, by leave-one-generator-out.

    \b
    Example:
        python -m dfx.torch.eval_views runs/backbone/backbone.pt --videos videos --out runs/classifier
    """
    net = FrameNet.load(backbone).eval()
    labelled = read_labels(videos)
    clips = cut(videos, labelled, out / f"clips-{VIEWED.size}", VIEWED)
    data = [Sample(video, clips[video.filename], torch.empty(0)) for video in labelled if video.filename in clips]
    views = [View(middle, size) for middle in MIDDLES for size in SIZES]
    votes: dict[View, list[Float]] = {view: [] for view in {*views, *VIEWS}}
    for sample in tqdm(data, "looking at videos"):
        for view, found in votes.items():
            found.append(votes_of(net, sample.clips, view))
    console = Console(width=120)
    console.print(single(data, votes, views))
    console.print(together(data, votes, views))


@torch.no_grad()
def votes_of(net: FrameNet, clips: VideoClips, view: View) -> NDArray[np.float64]:
    """Every frame's logit in one view: float [K, T]."""
    look = Look(view)
    return np.stack([net(look(clip)).double().numpy() for clip in torch.from_numpy(clips.pixels)])


def mixed(votes: Votes, views: Sequence[View]) -> list[Float]:
    """The votes of clips whose frames are seen in these views by turns: float [K, T] a video."""
    columns = zip(*(votes[view] for view in views), strict=True)
    return [np.stack([own[i % len(views)][:, i] for i in range(own[0].shape[1])], axis=1) for own in columns]


def measured(data: Sequence[Sample], votes: Sequence[Float]) -> tuple[float, float, float]:
    """AUC, log loss and pairs ranked right, calibrated without each video's fold."""
    probabilities = sigmoid(left_out(shipped, data, votes))
    whole, (right, _) = figures(probabilities, labels(data)), ranked(probabilities, data)
    return whole.auc, whole.log_loss, right


def single(data: Sequence[Sample], votes: Votes, views: Sequence[View]) -> Table:
    """A row a view, in which all frames are seen."""
    table = Table("middle", "brought to", "AUC", "log loss", "pairs")
    for view in views:
        auc, loss, right = measured(data, votes[view])
        table.add_row(str(view.middle), str(view.size), f"{auc:.3f}", f"{loss:.3f}", f"{right:g}")
    return table


def together(data: Sequence[Sample], votes: Votes, views: Sequence[View]) -> Table:
    """A row for sets of one to four views, by turns: means over all of them, and the spread; and what ships."""
    table = Table("views", "sets", "AUC, mean and spread", "log loss, mean and spread", "pairs, mean")
    for count in range(1, len(VIEWS) + 1):
        sets = list(combinations(views, count))
        found = np.array([measured(data, mixed(votes, chosen)) for chosen in sets])
        (auc, loss, right), (apart, loss_apart, _) = found.mean(axis=0), found.std(axis=0)
        cells = (f"{auc:.3f} {apart:.3f}", f"{loss:.3f} {loss_apart:.3f}", f"{right:.1f}")
        table.add_row(str(count), str(len(sets)), *cells)
    auc, loss, right = measured(data, mixed(votes, VIEWS))
    table.add_row("those that ship", "1", f"{auc:.3f}", f"{loss:.3f}", f"{right:g}")
    return table


if __name__ == "__main__":
    main()
