"""The command `dfx`, which signals itself when so many videos are journaled: `python signalled.py ROWS SIGNAL ...`."""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import Any

from dfx.cli import main
from dfx.journal import Journal


def signalled(rows: int, number: int) -> None:
    """Has `Journal.add` send the signal after the last of so many rows."""
    add, done = Journal.add, count(1)

    def added(self: Journal, *row: Any) -> None:
        add(self, *row)
        if next(done) == rows:
            os.kill(os.getpid(), number)

    Journal.add = added  # type: ignore[method-assign]


if __name__ == "__main__":
    signalled(int(sys.argv[1]), int(sys.argv[2]))
    main(sys.argv[3:], prog_name="dfx")
