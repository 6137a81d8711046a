"""Commands that make something to predict with: train, bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dfx.cli.shared import FOLDER, QUIET, WORKERS, say, show
from dfx.errors import DependencyError
from dfx.origin import install
from dfx.settings import Settings

SETTINGS = Settings()


@click.command()
@click.argument("folder", nargs=-1, required=True, type=click.Path(path_type=Path))
@FOLDER
@click.option("--labels", type=click.Path(path_type=Path), help="CSV of filename,label[,original][,group][,split].")
@click.option(
    "--start",
    default="shipped",
    show_default=True,
    help="Weights to begin with: shipped, nothing, a .onnx of dfx, a classifier.pt or a backbone.pt.",
)
@click.option(
    "--design", type=click.Choice(["lite0", "lite1"]), default="lite0", show_default=True, help="From nothing: depth."
)
@click.option("--epochs", default=20, show_default=True, help="Passes over the training videos, at most.")
@click.option("--minutes", default=140.0, show_default=True, help="Minutes of training, over all runs.")
@click.option("--patience", default=5, show_default=True, help="Epochs without a better validation log loss.")
@click.option("--batch", default=16, show_default=True, help="Clips a step.")
@click.option(
    "--windows",
    default=2,
    show_default=True,
    help="Clips of frames cut from a video, at most; up to eight where these show nobody.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N: what trains.")
@click.option(
    "--cut", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True, help="Where clips are cut."
)
@click.option(
    "--pseudo", default=0.0, show_default=True, help="Share of fakes that are made of real clips on the spot."
)
@click.option("--h264", default=0.3, show_default=True, help="Share of clips that are encoded anew by x264.")
@click.option("--loaders", default=0, show_default=True, help="Processes that read clips; a GPU wants a few.")
@WORKERS
def train(folder: tuple[Path, ...], out: Path, labels: Path | None, start: str, **given: Any) -> None:
    """Train a classifier on the videos of each FOLDER, which `dfx predict --model OUT/model.onnx` then takes.

    Labels are the challenge's metadata.json beside the videos, or one CSV. The same command goes on where it stopped.

    \b
    Examples:
        dfx train dfdc_train_part_0 dfdc_train_part_1 --out run
        dfx train videos --labels videos/labels.csv --out run --epochs 5
    """
    try:
        from dfx.torch.options import Options
        from dfx.torch.train import train as run
    except ImportError as error:
        raise DependencyError(f"training needs more than prediction ({error}): {install('train')}") from error

    begun = {"shipped": SETTINGS.models[0], "nothing": None}.get(start, Path(start))
    run(folder, labels, out, Options(start=begun, **given))


@click.command()
@click.option("--for", "target", required=True, help="kaggle-cpu, kaggle-t4 or kaggle-p100.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write, empty or new.")
@click.option("--wheel", type=click.Path(path_type=Path), help="dfx's own wheel; else it is built from the checkout.")
@click.option("--engines", type=click.Path(path_type=Path), help="Folder of engines to carry along.")
@click.option("--python", default="3.12", show_default=True, help="Version of Python on the machine it is for.")
@QUIET
def bundle(target: str, out: Path, wheel: Path | None, engines: Path | None, python: str, quiet: bool) -> None:
    """Put together what a machine without internet needs: wheels, models, licences and a notebook.

    Sizes are asked of the index first: more than 1 GB, Kaggle's limit, is refused before any download.

    \b
    Example:
        dfx bundle --for kaggle-cpu --out kaggle-cpu
    """
    from dfx.bundle import bundle as put_together

    result = put_together(target, out, wheel=wheel, engines=engines, python=python)
    if not quiet:
        show(result)
        say(f"{result.size / 1e6:.1f} MB in {result.folder}: upload it as a data set, and run its notebook.ipynb")
