"""Whether scores gain by what is done after training: other means over frames, clips and people, mirrors, backbones.

Each measure is calibrated inside the folds of `eval_classifier`, and compared with what ships by a paired bootstrap
over groups of people. Whoever tries a dozen finds one that looks better: an interval that holds 0 is no gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import logit
from scipy.stats import rankdata

from dfx.cli.one_line import OneLine
from dfx.torch import folds
from dfx.torch.clip_data import Sample, samples
from dfx.torch.clipnet import FrameNet
from dfx.torch.eval_classifier import ranked, resamples, steady_methods
from dfx.torch.figures import figures
from dfx.torch.folds import Float, calibrate, labels, sigmoid

Votes = Sequence[Float]  # of each video the frames' logits, [K, T]
Measure = Callable[[Sample, Float], float]  # a video and its votes -> its logit before calibration
DRAWS = 1000  # of the bootstrap
SHIPPED = "mean of frames and clips, soft maximum over people"
QUALITY = 4  # the power of the detector's confidence that a clip weighs by; aggregate takes 1


@click.command(cls=OneLine)
@click.argument("backbones", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--videos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of labels.csv.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for clips and features.")
@click.option("--second", type=click.Path(path_type=Path, exists=True), help="Of train_mesonet.")
def main(backbones: tuple[Path, ...], videos: Path, out: Path, second: Path | None) -> None:
    """Print what each measure does to the figures of the first of BACKBONES, and what averaging with the others does.

    The last rows are what ships: all that it has beside the first row.

    \b
    Example:
        python -m dfx.torch.eval_measures runs/lite1/backbone.pt runs/lite0/backbone.pt --videos videos --out runs/eval
    """
    data = samples(videos, backbones[0], out, views=True)
    base, found = None, Table("measure", "AUC", "log loss", "reals above 0.5", "pairs", "change of AUC", "of log loss")
    steady = steady_methods(backbones[0], second, data).items()
    methods = ((name, logit(folds.left_out(method, data))) for name, method in steady)
    for name, logits in chain(_tried(data, backbones, videos, out), methods):
        base = logits if base is None else base
        found.add_row(name, *_cells(logits, base, data))
    Console(width=160).print(found)


def _tried(data: Sequence[Sample], backbones: Sequence[Path], videos: Path, out: Path) -> Iterator[tuple[str, Float]]:
    """Names, and calibrated logits of every video, by what was fitted without its fold."""
    votes = votes_of(data, backbones[0])
    for name, measure in measures().items():
        yield name, left_out(measure, data, votes)
    plain = votes_of(samples(videos, backbones[0], out), backbones[0])
    yield "all frames in one view", left_out(shipped, data, plain)
    mirrored = votes_of(samples(videos, backbones[0], out, views=True, mirrored=True), backbones[0])
    both = [(one + other) / 2 for one, other in zip(votes, mirrored, strict=True)]
    yield "with the mirrored crops", left_out(shipped, data, both)
    for backbone in backbones[1:]:
        others = votes_of(samples(videos, backbone, out, views=True), backbone)
        pair = [left_out(shipped, data, each) for each in (votes, others)]
        yield f"with {backbone.parent.name}", (pair[0] + pair[1]) / 2


def shipped(sample: Sample, votes: Float) -> float:
    """As prediction does it."""
    return sample.clips.video_logit(votes.mean(axis=1).tolist())


def measures() -> dict[str, Measure]:
    """By name; the one that prediction uses comes first."""
    return {
        SHIPPED: shipped,
        "middle frame, in its view": lambda sample, votes: shipped(sample, votes[:, [votes.shape[1] // 2]]),
        "median of frames": lambda sample, votes: shipped(sample, np.median(votes, axis=1, keepdims=True)),
        "middle half of frames": lambda sample, votes: shipped(sample, _middle_half(votes)),
        "strongest frame": lambda sample, votes: shipped(sample, votes.max(axis=1, keepdims=True)),
        "main person only": partial(_of_main, np.mean),
        "main person, median of clips": partial(_of_main, np.median),
        "main person, strongest clip": partial(_of_main, np.max),
        "main person, first clip": partial(_of_main, lambda clips: clips[0]),
        "main person, clips by quality": _by_quality,
    }


def _middle_half(votes: Float) -> Float:
    quarter = votes.shape[1] // 4
    return np.sort(votes, axis=1)[:, quarter : votes.shape[1] - quarter]


def _of_main(take: Callable[[Float], float], sample: Sample, votes: Float) -> float:
    return float(take(votes.mean(axis=1)[sample.clips.main]))


def _by_quality(sample: Sample, votes: Float) -> float:
    main = sample.clips.main
    return float(np.average(votes.mean(axis=1)[main], weights=sample.clips.confidence[main] ** QUALITY))


def votes_of(data: Sequence[Sample], backbone: Path) -> list[Float]:
    """The logit of every frame, float [K, T] a video."""
    head = FrameNet.load(backbone).eval().head
    with torch.inference_mode():
        return [head(sample.features).squeeze(2).double().numpy() for sample in data]


def left_out(measure: Measure, data: Sequence[Sample], votes: Votes) -> Float:
    """Every video's logit, calibrated without its fold: float [N]."""
    raw = {id(sample): measure(sample, own) for sample, own in zip(data, votes, strict=True)}

    def calibrated(train: Sequence[Sample], test: Sequence[Sample]) -> Float:
        known, new = (np.array([raw[id(sample)] for sample in side]) for side in (train, test))
        calibration = calibrate(known, labels(train))
        return calibration.of_all(new)

    return folds.left_out(calibrated, data)


def _cells(logits: Float, base: Float, data: Sequence[Sample]) -> list[str]:
    probabilities, fake = sigmoid(logits), labels(data)
    whole, (right, pairs) = figures(probabilities, fake), ranked(probabilities, data)
    cells = [f"{whole.auc:.3f}", f"{whole.log_loss:.3f}", f"{(probabilities[~fake] > 0.5).mean():.2f}"]
    changes = ["", ""] if logits is base else [_interval(drawn) for drawn in changes_of(logits, base, data).T]
    return [*cells, f"{right:g} of {pairs}", *changes]


def changes_of(logits: Float, base: Float, data: Sequence[Sample], seed: int = 0) -> Float:
    """What AUC and log loss gain over `base` in each bootstrap draw of groups of people: float [draws, 2]."""
    fake = labels(data)
    losses = [np.logaddexp(0, np.where(fake, -each, each)) for each in (logits, base)]
    drawn = []
    for rows in resamples(data, DRAWS, seed):
        aucs = [_auc(fake[rows], each[rows]) for each in (logits, base)]
        change = (losses[0] - losses[1])[rows]
        drawn.append((aucs[0] - aucs[1], (change[fake[rows]].mean() + change[~fake[rows]].mean()) / 2))
    return np.array(drawn)


def _auc(fake: NDArray[np.bool_], logits: Float) -> float:
    """By ranks (Mann and Whitney, 1947), which is quicker a thousand times over than a curve."""
    count = int(fake.sum())
    above = rankdata(logits)[fake].sum() - count * (count + 1) / 2
    return float(above / (count * (len(fake) - count)))


def _interval(drawn: Float) -> str:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{low:+.3f} to {high:+.3f}"


if __name__ == "__main__":
    main()
