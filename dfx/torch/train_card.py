"""What a run of `dfx train` measures and writes down: figures, held-out scores, what was skipped, the model card."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from dfx.draw import environment
from dfx.infer import Calibration
from dfx.table import write_csv
from dfx.torch.draws import Example
from dfx.torch.figures import Figures, figures
from dfx.torch.folds import Float, calibrate, probabilities_of
from dfx.torch.options import Options
from dfx.torch.start import fingerprint_of
from dfx.torch.train_loop import precision

SIDES = "training", (HELD := "held out")
PACKAGES = ("dfx", "torch", "pytorch-lightning", "onnx", "av")  # whose versions a card tells
FOLDS = 5  # of the held-out groups, when the calibration is measured
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of the held-out videos: probabilities float [N] by calibrations that never saw their groups.

    seen: bool [N], where there is none, and the probability is by the file's own calibration, fitted on all.
    """

    examples: Sequence[Example]
    groups: NDArray[np.int64]
    logits: Float
    probabilities: Float
    seen: Bool
    calibration: Calibration

    @property
    def fake(self) -> Bool:
        """bool [N]."""
        return np.array([example.fake for example in self.examples])

    @property
    def figures(self) -> Figures:
        """Over all of them, both classes weighing the same.

        AUC is that of the logits: it asks for an order, which calibrations of several folds would mix up.
        """
        return replace(figures(self.probabilities, self.fake), auc=float(roc_auc_score(self.fake, self.logits)))


def measured(held: Sequence[Example], groups: NDArray[np.int64], logits: Float) -> Result:
    """Calibrates on the held-out videos, and measures each by a calibration that its people had no part in, where
    REAL and FAKE videos are left without them.
    """
    fake = np.array([example.fake for example in held])
    final = calibrate(logits, fake)
    probabilities, seen = probabilities_of(logits, final), np.ones(len(held), np.bool_)
    for own in _left_out(fake, groups):
        probabilities[own] = probabilities_of(logits[own], calibrate(logits[~own], fake[~own]))
        seen[own] = False
    return Result(held, groups, logits, probabilities, seen, final)


def _left_out(fake: Bool, groups: NDArray[np.int64]) -> Iterator[Bool]:
    """Parts of the videos, bool [N] each, of whole groups, without which REAL and FAKE are left.

    They are folds; and where a fold takes all of one class, those of its groups that do not so by themselves.
    """
    for fold in _folds(fake, groups):
        singles = [groups == group for group in np.unique(groups[fold])]
        yield from (own for own in ([fold] if _both(fake[~fold]) else singles) if _both(fake[~own]))


def _folds(fake: Bool, groups: NDArray[np.int64]) -> list[Bool]:
    """Deals the groups to folds, bool [N] each: FOLDS, or as many as there are groups with the rarer class."""
    count = min(FOLDS, *(len(np.unique(groups[fake == side])) for side in (False, True)))
    if count == 1:
        return [np.ones(len(fake), np.bool_)]
    dealt = StratifiedGroupKFold(count).split(fake, fake, groups)
    return [np.isin(np.arange(len(fake)), rows) for _, rows in dealt]


def _both(fake: Bool) -> bool:
    return bool(0 < fake.sum() < len(fake))


def about(folders: Sequence[Path], trained: Sequence[Example]) -> dict[str, str]:
    """What the ONNX file says of itself."""
    names = ", ".join(folder.name for folder in folders)
    fakes = sum(example.fake for example in trained)
    return {
        "name": "dfx-clipnet, trained by dfx train",
        "licence": "that of the videos it was trained on, and of the weights it began with; see card.md",
        "training_data": f"{len(trained)} videos of {names}, {fakes} of them fake; see card.md",
    }


def write_validation(result: Result, out: Path) -> None:
    """A row a held-out video, with the probability that it was measured by, as `Result` has it."""
    numbers = (values.tolist() for values in (result.groups, result.logits, result.probabilities))
    rows = (
        (example.filename, word(example), group, f"{logit:.6f}", f"{probability:.6f}")
        for example, group, logit, probability in zip(result.examples, *numbers, strict=True)
    )
    write_csv(out / "validation.csv", ("filename", "label", "group", "logit", "probability"), rows)


def write_skipped(skipped: dict[str, str], out: Path) -> None:
    """Writes OUT/skipped.csv, a row a video with the reason why it gave nothing."""
    write_csv(out / "skipped.csv", ("filename", "reason"), skipped.items())
    if skipped:
        say(f"{len(skipped)} videos give nothing to train on: {out / 'skipped.csv'} says why")


def word(example: Example) -> str:
    """REAL or FAKE."""
    return "FAKE" if example.fake else "REAL"


def counts(sides: Sequence[Sequence[Example]]) -> str:
    """How many videos are on either side, for people."""
    words = [f"{len(side)} ({sum(example.fake for example in side)} fake)" for side in sides]
    return f"{words[0]} to train on, {words[1]} held out"


def in_words(found: Figures) -> str:
    """The figures in one line."""
    return (
        f"held out: AUC {found.auc:.3f}, log loss {found.log_loss:.3f}, accuracy {found.accuracy:.3f}, "
        f"calibration error {found.ece:.3f}"
    )


def calibrated_by(seen: Bool) -> str:
    """By which calibrations the held-out videos were measured, for the card."""
    if not seen.any():
        return "each by a calibration that was fitted without its group"
    return f"""{(~seen).sum()} of them by a calibration that was fitted without their group.
The other {seen.sum()} were measured by the file's own calibration, which was fitted on them too, since without their
group no REAL or no FAKE video would be left to fit one on: that flatters the figures"""


def say(words: str) -> None:
    """Says it on standard error."""
    click.echo(words, err=True)


def card(
    sides: Sequence[Sequence[Example]],
    parts: tuple[NDArray[np.int64], Bool],
    skipped: dict[str, str],
    epochs: int,
    options: Options,
    result: Result,
) -> str:
    """The model card, in Markdown. parts: of each video its component, and whether it is held out."""
    groups, held = parts
    reasons = Counter(reason.partition(":")[0] for reason in skipped.values())
    found, calibration = result.figures, result.calibration
    row = (found.auc, found.log_loss, found.brier, found.accuracy, found.ece)
    begun = f"`{options.start.name}` (SHA-256 {fingerprint_of(options.start)})" if options.start else "nothing"
    template = environment(escaping=False).get_template("card.md.j2")
    return template.render(
        sides=[_side(name, side, groups[held == (name == HELD)]) for name, side in zip(SIDES, sides, strict=True)],
        left_out=", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "no video",
        command=shlex.join(["dfx", *sys.argv[1:]]),
        options=options,
        epochs=epochs,
        precision=precision(options.device),
        begun=begun,
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        calibrated_by=calibrated_by(result.seen),
        figures=" | ".join(f"{figure:.4f}" for figure in row),
        calibration=f"{calibration.scale:.4f} * logit + {calibration.bias:.4f}",
    )


def _side(name: str, side: Sequence[Example], groups: NDArray[np.int64]) -> dict[str, Any]:
    """What the card's table says of one side; groups: those of its videos."""
    return {
        "name": name,
        "videos": len(side),
        "fake": sum(example.fake for example in side),
        "groups": len(np.unique(groups)),
        "clips": sum(len(example.clips) for example in side),
    }
