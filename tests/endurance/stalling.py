"""A worker on a bad day, for `budgets.py`. Some videos are slow, some are monsters, and all stall once.

STALL holds JSON: slow and monsters (shares of the videos), begins and ends (of the stall, on the system's clock), seed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import dfx.worker
from dfx.pipeline import Pipeline
from dfx.values import Prediction

STALL = json.loads(os.environ["STALL"])
SLOW, MONSTER = 1.0, 45.0  # seconds that a slow video and a monster take beyond their own


class Stalling(Pipeline):
    def _score(self, row: Prediction, path: Path, windows: int, further: bool) -> Prediction:
        draw = hashlib.sha256(f"{STALL['seed']} {path.name}".encode()).digest()[0] / 256
        if draw < STALL["monsters"]:
            time.sleep(MONSTER)
        elif draw < STALL["monsters"] + STALL["slow"]:
            time.sleep(SLOW)
        if STALL["begins"] < time.monotonic() < STALL["ends"]:
            time.sleep(STALL["ends"] - time.monotonic())
        return super()._score(row, path, windows, further)


if __name__ == "__main__":
    dfx.worker.Pipeline = Stalling  # type: ignore[misc]
    dfx.worker.main()
