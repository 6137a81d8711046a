"""TensorRT for a run: the engines that fit are taken, others built where time allows; else the CUDA provider serves."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfx.device import Choice, named
from dfx.errors import DeviceError
from dfx.files import cache_folder
from dfx.infer.engines import engine_of
from dfx.process import environment

LOG = logging.getLogger("dfx")
COMMAND = [sys.executable, "-P", "-m", "dfx.infer.build"]
BUILD_SECONDS = 1800.0  # for one engine, where there is no budget; one that takes longer hangs
BUILD_SHARE = 0.1  # of the time that is left, for one engine, where there is a budget
BUILD_LEAST = 60.0  # seconds below which building is not begun: TensorRT times every kernel that it might use


def equip(choice: Choice, models: Sequence[Path], engines: Path | None = None, deadline: float | None = None) -> Choice:
    """The choice, with an engine of every model for each GPU that is to run TensorRT.

    A GPU that has not all of them, and for which they cannot be built in time, runs the CUDA provider instead: the
    choice says why, and so does a warning of the logger `dfx`. Never are both mixed on one GPU.
    engines: the folder that they are in, a cache where none is given; deadline: of the run, on the clock of
    `time.monotonic`.

    Raises:
        MissingInputError, ModelError: a model is absent, or none.
    """
    if not choice.tensorrt:
        return choice
    folder = (engines or cache_folder() / "engines").absolute()
    lacking = {gpu: reason for gpu in choice.tensorrt if (reason := _lacking(gpu, models, folder, deadline))}
    if not lacking:
        return replace(choice, engines=folder)
    for gpu, reason in lacking.items():
        LOG.warning("TensorRT does not serve GPU %d, the CUDA provider does: %s", gpu, reason)
    left = tuple(gpu for gpu in choice.tensorrt if gpu not in lacking)
    others = f"{named('cuda', tuple(lacking))}, since TensorRT does not serve: {next(iter(lacking.values()))}"
    return replace(choice, tensorrt=left, engines=folder, why="; ".join([named("tensorrt", left), others][not left :]))


def _lacking(gpu: int, models: Sequence[Path], folder: Path, deadline: float | None) -> str | None:
    """Why a GPU has no engine of one of the models, after an attempt to build it; None where it has all of them."""
    for model in models:
        reason = _misfit(model, folder, gpu)
        if reason and (failure := _build(model, folder, gpu, deadline) or _misfit(model, folder, gpu)):
            return f"{reason}, and {failure}"
    return None


def _misfit(model: Path, folder: Path, gpu: int) -> str | None:
    try:
        engine_of(model, folder, gpu)
    except DeviceError as error:
        return str(error)
    return None


def _build(model: Path, folder: Path, gpu: int, deadline: float | None) -> str | None:
    """Builds an engine in a process of its own; returns what stood in the way."""
    left = None if deadline is None else deadline - time.monotonic()
    seconds = BUILD_SECONDS if left is None else min(BUILD_SECONDS, BUILD_SHARE * left)
    if seconds < BUILD_LEAST:
        return (
            f"there is no time to build it: {left:.0f} s of the budget are left, {BUILD_LEAST / BUILD_SHARE:.0f} needed"
        )
    LOG.warning("building a TensorRT engine of %s for GPU %d, which takes minutes", model.name, gpu)
    command = [*COMMAND, str(model.absolute()), str(folder), str(gpu)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, env=environment())
    except subprocess.TimeoutExpired:
        return f"building it took more than {seconds:.0f} s"
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines()
    return f"it could not be built: {said[-1] if said else f'exit status {done.returncode}'}"
