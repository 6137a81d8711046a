"""Measures the classifier on generators and people that it was not fitted on, beside simpler ways of scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from dfx.cli.one_line import OneLine
from dfx.torch.clip_data import FOLDS, Sample
from dfx.torch.clipnet import ClipNet, FrameNet, TemporalHead
from dfx.torch.expectation import Beyond, clues_of
from dfx.torch.figures import figures
from dfx.torch.folds import Float, Method, calibrate, calibrate_with_doubt, labels, left_out, probabilities_of
from dfx.torch.mesonet import MesoNet, published
from dfx.torch.steady import SteadyNet
from dfx.torch.subgroups import false_alarms
from dfx.torch.train_classifier import Heads, fit_head, logits_of, seen, unseen_logits, video_logits

DRAWS = 2000  # of the bootstrap
CLIPPED = (0.001, 0.01, 0.05, 0.1, 0.2)  # lower ends of clip ranges
PLAIN = "mean of frames"
OVER_TIME = "frames and time"
VIEWS = "mean of frames, each in its own view"
STEADY = "the same, less what texture lets expect"
SECOND = "with a second network, less the same"
SHIPPED = "the same, in doubt for the person"  # the method of the file that ships


@click.command(cls=OneLine)
@click.argument("backbone", type=click.Path(path_type=Path, exists=True))
@click.option("--videos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of labels.csv.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for clips and features.")
@click.option("--seed", default=0, show_default=True)
@click.option("--second", type=click.Path(path_type=Path, exists=True), help="Of train_mesonet; or its teacher.")
@click.option("--views/--one-view", default=True, show_default=True, help="Views are of tight crops alone.")
@click.option(
    "--time/--no-time", "over_time", default=True, show_default=True, help="The branch over time takes minutes."
)
def main(backbone: Path, videos: Path, out: Path, seed: int, second: Path | None, views: bool, over_time: bool) -> None:
    """Print figures of every method, each video scored by what was fitted without its generators and people.

    BACKBONE: the backbone.pt that train_backbone writes; or a folder with FOLD/backbone.pt for every fold of the
    videos, trained with `--leave-out FOLD`, so that no part of what scores a video ever saw its fold.

    \b
    Example:
        python -m dfx.torch.eval_classifier runs/backbone/backbone.pt --second runs/mesonet/mesonet.pt \
            --videos videos --out runs/classifier
    """
    data, heads = seen(backbone, videos, out)
    tried = methods(heads)
    if over_time and backbone.is_file():
        tried[OVER_TIME] = partial(_temporal, heads[FOLDS[0]], seed)
    found = {name: left_out(method, data) for name, method in tried.items()}
    if views:
        viewed = seen(backbone, videos, out, views=True)[0]
        tried = {VIEWS: tried[PLAIN]} | (steady_methods(backbone, second, viewed) if backbone.is_file() else {})
        found |= {name: left_out(method, viewed) for name, method in tried.items()}
    show(data, found)


def show(data: Sequence[Sample], found: dict[str, Float]) -> None:
    """Prints tables; that of false alarms is of the last method."""
    best, console = list(found)[-1], Console(width=140)
    console.print(f"{len(data)} videos, {labels(data).sum()} of them fake; both classes weigh the same")
    console.print(summary(data, found))
    console.print(by_family(data, found))
    console.print(f"false alarms of: {best}")
    console.print(false_alarms(data, found[best]))
    console.print(f"log loss of the same within a clip range: {within(found[best], labels(data))}")


def within(probabilities: Float, fake: NDArray[np.bool_]) -> str:
    """What bounding the scores does to log loss, in words."""
    losses = {low: figures(probabilities.clip(low, 1 - low), fake).log_loss for low in CLIPPED}
    return ", ".join(f"{loss:.4f} from {low:g} to {1 - low:g}" for low, loss in losses.items())


def steady_methods(backbone: Path, second: Path | None, data: Sequence[Sample]) -> dict[str, Method]:
    """What takes off what is expected of real faces, with and without a second network."""
    clips = ClipNet.from_frames(FrameNet.load(backbone))
    nets = {STEADY: SteadyNet(clips)}
    if second:
        other = published(second) if second.suffix == ".h5" else MesoNet.load(second)
        nets[SECOND] = SteadyNet(clips, other)
    found = {name: Beyond(clues_of(net.eval(), data)) for name, net in nets.items()}
    for name, method in found.items():
        click.echo(f"{name}: texture explains {method.explained(data):.2f} of what votes of real videos differ by")
    if second:
        found[SHIPPED] = replace(found[SECOND], calibrated=calibrate_with_doubt)
    return dict(found)


def methods(heads: Heads) -> dict[str, Method]:
    """Name -> a function of training and test videos that returns the test videos' probabilities."""
    return {
        "always 0.5": lambda _, test: np.full(len(test), 0.5),
        "one frame a clip": lambda train, test: _calibrated(heads, _one_frame(train), _one_frame(test)),
        PLAIN: lambda train, test: _calibrated(heads, train, test),
    }


def _calibrated(heads: Heads, train: Sequence[Sample], test: Sequence[Sample]) -> Float:
    return probabilities_of(logits_of(heads, test), calibrate(logits_of(heads, train), labels(train)))


def _temporal(head: TemporalHead, seed: int, train: Sequence[Sample], test: Sequence[Sample]) -> Float:
    """Calibrated on training videos that an inner round of folds left out, since a fitted head flatters its own."""
    calibration = calibrate(unseen_logits(head, train, seed), labels(train))
    return probabilities_of(video_logits(fit_head(head, train, seed), test), calibration)


def _one_frame(data: Sequence[Sample]) -> list[Sample]:
    """The same videos, standing still: twice the middle frame, since the head wants a step to look at."""
    middles = (sample.features[:, [sample.features.shape[1] // 2] * 2] for sample in data)
    return [Sample(sample.video, sample.clips, middle) for sample, middle in zip(data, middles, strict=True)]


def interval(probabilities: Float, data: Sequence[Sample], seed: int = 0) -> tuple[float, float]:
    """The central 95 % of AUC over bootstrap draws of the videos."""
    fake = labels(data)
    drawn = [roc_auc_score(fake[rows], probabilities[rows]) for rows in resamples(data, DRAWS, seed)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def resamples(data: Sequence[Sample], draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The rows of the videos in bootstrap draws (Efron, 1979) of whole groups of people: videos of one group are not
    independent. A draw without one of the classes is left out."""
    rng, fake = np.random.default_rng(seed), labels(data)
    groups = np.unique([sample.video.group for sample in data], return_inverse=True)[1]
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < fake[rows].sum() < len(rows):
            yield rows


def ranked(probabilities: Float, data: Sequence[Sample]) -> tuple[float, int]:
    """Over swaps whose original is there: how many score above it (a tie counts half), and how many there are."""
    scenes: dict[str, dict[bool, float]] = {}
    for sample, probability in zip(data, probabilities.tolist(), strict=True):
        if sample.video.scene:
            scenes.setdefault(sample.video.scene, {})[sample.video.fake] = probability
    pairs = [scene for scene in scenes.values() if len(scene) == 2]
    return sum((pair[True] > pair[False]) + 0.5 * (pair[True] == pair[False]) for pair in pairs), len(pairs)


def summary(data: Sequence[Sample], found: dict[str, Float]) -> Table:
    """A row a method, over all videos."""
    fake, above = labels(data), "above 0.5: real, fake"
    table = Table("method", "AUC", "95 % interval", "log loss", "Brier", "ECE", "accuracy", above, "pairs ranked right")
    for name, probabilities in found.items():
        whole = figures(probabilities, fake)
        low, high = interval(probabilities, data)
        right, pairs = ranked(probabilities, data)
        rest = (whole.log_loss, whole.brier, whole.ece, whole.accuracy)
        cells = [f"{whole.auc:.3f}", f"{low:.2f} to {high:.2f}", *(f"{value:.3f}" for value in rest)]
        shares = [f"{(probabilities[side] > 0.5).mean():.2f}" for side in (~fake, fake)]
        table.add_row(name, *cells, ", ".join(shares), f"{right:g} of {pairs}")
    return table


def by_family(data: Sequence[Sample], found: dict[str, Float]) -> Table:
    """A row a family of generators: AUC of its fakes against all real videos, and the mean probability of its fakes."""
    fake = labels(data)
    families = np.array([sample.video.family for sample in data])
    table = Table("fakes of", "videos", *(f"{name}: AUC, mean" for name in found))
    for family in sorted(set(families[fake])):
        ours = fake & (families == family)
        rows = ours | ~fake
        cells = [f"{roc_auc_score(fake[rows], p[rows]):.3f}, {p[ours].mean():.2f}" for p in found.values()]
        table.add_row(family, str(ours.sum()), *cells)
    table.add_row("(real videos)", str((~fake).sum()), *(f"mean {p[~fake].mean():.2f}" for p in found.values()))
    return table


if __name__ == "__main__":
    main()
