"""A worker that harms itself on chosen file names, to test the supervision of real processes: `python sabotage.py`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dfx.worker
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


if __name__ == "__main__":
    dfx.worker.Pipeline = Sabotaged  # type: ignore[misc]
    dfx.worker.main()
