"""The figures of a benchmark: shown, and written as JSON, with what they were measured on."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from dfx.files import write_bytes
from dfx.infer.session import import_runtime
from dfx.process import default_workers

json_option = click.option(
    "--json", "out", type=click.Path(path_type=Path), help="File for the figures and the machine's data."
)


def publish(figures: Mapping[str, Any], out: Path | None) -> None:
    """Prints the figures with the machine's data, and writes them to a file, if one is named, whole or not at all."""
    whole = {**figures, "machine": machine()}
    click.echo(json.dumps(whole, indent=2))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(whole, out)


def write(figures: Mapping[str, Any], out: Path) -> None:
    """Writes a file of JSON, whole or not at all; raises OutputError where it cannot."""
    write_bytes(out, f"{json.dumps(figures, indent=2)}\n".encode())


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    names = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout.splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in names if line.startswith("Model name")), platform.processor()
    )
    packages = {name: version(name) for name in ("dfx", "av", "numpy")} | {"onnxruntime": import_runtime().__version__}
    return {"cpu": model, "cores": default_workers(), "python": platform.python_version(), **packages}
