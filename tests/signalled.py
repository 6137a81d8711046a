"""`python signalled.py ROW SECONDS SIGNAL ...`: the command `dfx`, which signals itself as it journals a video.

Who watches a journal from outside waits for its lock, on a slow disk until the run is over.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from typing import Any

from dfx.cli import main
from dfx.journal import Journal


def signalled(row: int, seconds: float, number: int) -> None:
    """Has `Journal.add` send the signal, so many seconds after it begins with the row of that number, from 1."""
    add, rows = Journal.add, count(1)

    def added(self: Journal, *values: Any) -> None:
        if next(rows) == row:
            send() if seconds == 0 else threading.Timer(seconds, send).start()
        add(self, *values)

    def send() -> None:
        os.kill(os.getpid(), number)

    Journal.add = added  # type: ignore[method-assign]


if __name__ == "__main__":
    signalled(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    main(sys.argv[4:], prog_name="dfx")
