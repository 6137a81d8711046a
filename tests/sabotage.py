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
from dfx.values import Prediction


class Sabotaged(Pipeline):
    def _score(self, row: Prediction, path: Path, windows: int) -> Prediction:
        if "crash" in path.name:
            os.abort()
        if "hang" in path.name:
            time.sleep(600)
        if "hoard" in path.name:
            bytearray(3 * 2**30)
        if "chatter" in path.name:
            print("a library that prints")
        return super()._score(row, path, windows)


def opened(hello: dict[str, Any]) -> list[Pipeline]:
    """The lanes of a worker, for which one of the files goes."""
    if hello["lanes"] > 1 and "DFX_STARTS" in os.environ:
        for file in Path(os.environ["DFX_STARTS"]).iterdir():
            try:
                file.unlink()
                break
            except FileNotFoundError:  # another took it
                pass
        else:
            raise DeviceError("the card's memory is full")
    return open_lanes(hello)


if __name__ == "__main__":
    open_lanes, dfx.worker._open = dfx.worker._open, opened
    dfx.worker.Pipeline = Sabotaged  # type: ignore[misc]
    dfx.worker.main()
