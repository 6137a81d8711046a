"""A worker that harms itself on chosen file names, to test the supervision of real processes: `python sabotage.py`.

Where the environment has DFX_STARTS, a folder, no more of those with several lanes start than there are files in it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dfx.worker
from dfx.errors import DeviceError
from dfx.pipeline import Pipeline
from dfx.serving import Replies
from dfx.values import Prediction


class Sabotaged(Pipeline):
    def _score(self, row: Prediction, path: Path, windows: int, further: bool) -> Prediction:
        if "crash" in path.name:
            os.abort()
        if "hang" in path.name:
            time.sleep(600)
        if "hoard" in path.name:
            bytearray(3 * 2**30)
        if "chatter" in path.name:
            print("a library that prints")
        return super()._score(row, path, windows, further)


class Few(dfx.worker._Lanes):
    """Several lanes, for which one of the files goes."""

    def __init__(self, hello: dict[str, Any], replies: Replies) -> None:
        if "DFX_STARTS" in os.environ:
            _use_one(Path(os.environ["DFX_STARTS"]))
        super().__init__(hello, replies)


def _use_one(folder: Path) -> None:
    for file in folder.iterdir():
        try:
            return file.unlink()
        except FileNotFoundError:  # another took it
            pass
    raise DeviceError("the card's memory is full")


if __name__ == "__main__":
    dfx.worker._Lanes = Few  # type: ignore[misc]
    dfx.worker.Pipeline = Sabotaged  # type: ignore[misc]
    dfx.worker.main()
