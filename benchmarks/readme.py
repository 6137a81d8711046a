"""Writes the README's figures from the JSON of the benchmarks, so that none is typed: `python benchmarks/readme.py`.

`--check` changes nothing and fails where the README is behind.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PLACE = re.compile(r"(<!-- figures: whole_job -->\n).*?(\n<!-- end -->)", re.DOTALL)


@click.command()
@click.option("--check", is_flag=True, help="Only say whether the README is current.")
def main(check: bool) -> None:
    """Put the figures of benchmarks/results into the README."""
    text = README.read_text(encoding="utf-8")
    wanted = PLACE.sub(lambda match: match[1] + whole_job() + match[2], text)
    if check and wanted != text:
        raise click.ClickException("README.md is behind benchmarks/results: run python benchmarks/readme.py")
    README.write_text(wanted, encoding="utf-8")


def whole_job() -> str:
    """The sentence on the main job's speed and memory."""
    figures = json.loads((ROOT / "benchmarks" / "results" / "whole_job.json").read_text(encoding="utf-8"))
    machine = figures["machine"]
    runs = figures["seconds_a_video_of_each_run"]
    return (
        f"Ten-second 1080p clips take **{figures['seconds_a_video']:.2f} s a video** (median of {len(runs)} runs of "
        f"{figures['videos']} videos, {min(runs):.2f} to {max(runs):.2f}, start-up included) on "
        f"{figures['workers']} cores ({machine['cpu']}), and all processes together at most "
        f"{figures['peak_memory_mib']} MiB of memory."
    )


if __name__ == "__main__":
    main()
