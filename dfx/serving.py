"""The child's side of `dfx.process`: the pipe to the parent, and the limit on memory."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, BinaryIO

from dfx.messages import encode
from dfx.streams import open_closed

Message = dict[str, Any]


class Replies:
    """The pipe to the parent, which several threads write to."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, to: Message, message: Message) -> None:
        """Answers a message."""
        try:
            with self._lock:
                self._pipe.write(encode(message | {"id": to["id"]}))
                self._pipe.flush()
        except BrokenPipeError:  # the parent is gone, and with it whoever would read a traceback
            os._exit(1)


def claim_stdout() -> BinaryIO:
    """The pipe that standard output was; what a library prints there from now on goes to standard error."""
    open_closed()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def limit_memory(limit: int) -> None:
    """Private writable memory; an allocation beyond it raises MemoryError, which becomes the reason `too_large`."""
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
