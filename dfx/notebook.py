"""Notebook: what a bundle scores videos with on a machine without internet: where things are, installation, scores."""

from __future__ import annotations

from typing import Any, cast

from dfx.errors import DependencyError
from dfx.origin import install

ABOUT = """# dfx without internet ({target})

Attach the bundle as a data set, turn the internet off, run all. The videos are read and never written to;
`submission.csv` and its journal stand in the working folder, and a run that was cut goes on where it stopped. {brings}.

A score is a hint for a person who looks, never proof."""
WHERE = """import os
from pathlib import Path

VIDEOS = os.environ.get("DFX_VIDEOS", "/kaggle/input/deepfake-detection-challenge/test_videos")
BUDGET = os.environ.get("DFX_BUDGET", "8h30m")  # the challenge allows 9 hours
ROOTS = [Path(os.environ.get("DFX_BUNDLE", "/kaggle/input")), Path.cwd()]
NAMES = ["bundle.json", "*/bundle.json", "*/*/bundle.json", "*/*/*/bundle.json"]
FOUND = [path.parent for root in ROOTS for name in NAMES for path in root.glob(name)]
if not FOUND:
    raise SystemExit(f"no bundle.json below {' or '.join(map(str, ROOTS))}: attach the bundle as a data set")
BUNDLE = FOUND[0]"""
INSTALL = """import subprocess
import sys

WHEELS = ["--no-index", "--find-links", str(BUNDLE / "wheels")]
_ = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *WHEELS, "dfx[{extra}]"], check=True)"""
SCORE = """import dfx

sample = Path(VIDEOS).parent / "sample_submission.csv"
result = dfx.predict_dir(
    VIDEOS,
    out="submission.csv",
    sample_submission=sample if sample.exists() else None,
    budget=BUDGET,
    device="{device}",
)
result"""


def notebook(target: str, extra: str, device: str, brings: str) -> str:
    """The notebook as JSON.

    target: the machine, as it is called; extra: of dfx, which is installed; device: what is asked for; brings: what the
    machine has by itself, in words. Raises DependencyError without nbformat.
    """
    try:
        import nbformat
    except ImportError as error:
        raise DependencyError(f"the notebook's format needs nbformat: {install('bundle')}") from error
    v4, write = cast(Any, nbformat.v4), cast(Any, nbformat.writes)  # they have no types
    cells = [
        v4.new_markdown_cell(ABOUT.format(target=target, brings=brings.capitalize())),
        v4.new_code_cell(WHERE),
        v4.new_code_cell(INSTALL.format(extra=extra)),
        v4.new_code_cell(SCORE.format(device=device)),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return str(write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})))
