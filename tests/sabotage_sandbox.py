"""A sandbox that harms itself on chosen file names, to test that its parent survives: `python sabotage_sandbox.py`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dfx.sandbox
from dfx.examine import FactsTask


class Sabotaged(FactsTask):
    def __call__(self, path: str) -> dict[str, Any]:
        if "crash" in Path(path).name:
            os.abort()
        if "hang" in Path(path).name:
            time.sleep(600)
        if "hoard" in Path(path).name:
            bytearray(3 * 2**30)
        return super().__call__(path)


if __name__ == "__main__":
    dfx.sandbox.TASKS["facts"] = "__main__:Sabotaged"
    dfx.sandbox.main()
