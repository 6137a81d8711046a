"""What a precision costs in accuracy: FP32, FP16 and INT8 of the shipped classifier on the CPU provider.

Example:
    python benchmarks/precision.py ../shared/data/videos --json benchmarks/results/precision.json

Each form is written by `export/to_onnx.py`, compared in logits by `export/check.py`, and scores the same labelled
videos as `dfx predict --model` and `dfx score` do. Ranges are taken from the clips that ship, none of which is among
the videos. The classifier's calibration and what texture lets expect were fitted on the 150 labelled videos, which
flatters it there. The figures compare the forms; what the model is worth on new videos is in its card.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from figures import json_option, publish

import dfx
from dfx.demo import SAMPLES
from dfx.errors import InputError
from dfx.score import read_labels
from dfx.settings import MODELS, Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))  # its scripts import each other by name

import check
import to_onnx
from one_line import OneLine

PRECISIONS = ("fp32", "fp16", "int8")
COUNT = 64  # inputs that ranges are taken from and logits compared on, at most


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@json_option
def main(folder: Path, out: Path | None) -> None:
    """Print AUC, log loss and the change in logits of each precision on the videos of FOLDER (with a labels.csv)."""
    videos = [folder / name for name in sorted(read_labels(folder / "labels.csv")) if (folder / name).exists()]
    if not videos:
        raise InputError(f"no video that {folder / 'labels.csv'} names is in {folder}; name the folder that has them")
    with tempfile.TemporaryDirectory() as work:
        files = {precision: written(precision, Path(work)) for precision in PRECISIONS}
        checked = check.check(list(files.values()), SAMPLES, COUNT)
        found = {
            precision: scored(path, videos, folder) | agreement(result)
            for (precision, path), result in zip(files.items(), checked, strict=True)
        }
    publish({"videos": len(videos), "forms": found}, out)


def written(precision: str, work: Path) -> Path:
    """The shipped classifier in a precision."""
    path = work / f"classifier.{precision}.onnx"
    words = [str(MODELS / "classifier.onnx"), "--precision", precision, "--count", str(COUNT), "--out", str(path)]
    to_onnx.main(words, standalone_mode=False)
    return path


def scored(model: Path, videos: list[Path], folder: Path) -> dict[str, float]:
    """What `dfx predict --device cpu` and `dfx score` say of the videos."""
    rows = dfx.predict_dir(videos, settings=Settings(models=(model,)), device="cpu")
    report = dfx.score(rows, folder / "labels.csv")
    return {
        "auc": round(report.auc or 0.0, 4),
        "log_loss": round(report.log_loss, 4),
        "scored": sum(row.reason == "ok" for row in rows),
        "megabytes": round(model.stat().st_size / 1e6, 2),
    }


def agreement(result: check.Result) -> dict[str, float]:
    """Differences from FP32 in logits, and whether they are allowed."""
    return {"largest": round(result.apart, 5), "mean": round(result.mean, 5), "holds": result.holds}


if __name__ == "__main__":
    main()
