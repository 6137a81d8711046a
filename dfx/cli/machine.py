"""Commands about the machine: what it can do, and how long a run would take on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

import dfx
from dfx.cli.shared import DETECTOR, DEVICE, LANES, MODEL, show
from dfx.settings import Settings

SETTINGS = Settings()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for a script.")
def doctor(as_json: bool) -> None:
    """Say what this machine can do, and what stands in the way. Exits with 1 where nothing can serve."""
    from dfx.doctor import examine

    health = examine()
    if as_json:
        click.echo(json.dumps(health.to_json(), indent=2))
    else:
        show(health)
        click.echo(f"can serve: {', '.join(health.serves) or 'nothing'}")
    sys.exit(not health.serves)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--videos", default=4000, show_default=True, help="Videos of the whole set.")
@click.option("--budget", default="9h", show_default=True, help="Time for the whole set, as 8h30m, 90m or seconds.")
@click.option("--windows", default=SETTINGS.windows, show_default=True, help="Clips of frames looked at in a video.")
@MODEL
@DETECTOR
@DEVICE
@LANES
@click.option(
    "--for", "card", help="Project to a machine with a p100, t4, l4, a100 or h100; nothing is measured there."
)
@click.option("--sample", default=40, show_default=True, help="Videos that are run on, at most.")
@click.option("--quiet", is_flag=True, help="The verdict alone.")
def rehearse(
    folder: Path | None,
    videos: int,
    budget: str,
    windows: int,
    models: tuple[Path, ...],
    detector: Path,
    device: str,
    workers: int | None,
    card: str | None,
    sample: int,
    quiet: bool,
) -> None:
    """Run on a sample, and say whether the whole set fits the budget. Exits with 1 where it does not.

    The sample is drawn from FOLDER; without one, clips in the challenge's manner are made once and kept.

    \b
    Example:
        dfx rehearse --videos 4000 --budget 9h
    """
    found = dfx.rehearse(
        folder,
        videos=videos,
        budget=budget,
        settings=Settings(windows=windows, models=models, detector=detector),
        device=device,
        workers=workers,
        card=card,
        sample=sample,
        progress=not quiet,
    )
    if not quiet:
        show(found)
    click.echo(found.verdict)
    sys.exit(not found.fits)
