"""A cell that harms itself on chosen file names, to test that its parent survives: `python sabotage_cell.py`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dfx.cell
from dfx.examine import FactsChore


class Sabotaged(FactsChore):
    def __call__(self, path: str) -> dict[str, Any]:
        if "crash" in Path(path).name:
            os.abort()
        if "hang" in Path(path).name:
            time.sleep(600)
        if "hoard" in Path(path).name:
            bytearray(3 * 2**30)
        return super().__call__(path)


if __name__ == "__main__":
    dfx.cell.CHORES["facts"] = "__main__:Sabotaged"
    dfx.cell.main()
