"""The child's side of `dfx.process`: how it is told what to serve, the pipe to the parent, and the limit on memory.

Messages come on standard input and go out on what was standard output when it started; what a library prints goes to
standard error. Every message has an `id`, and so has its answer. The first one holds the limits, the device, and what
is to be served; its answer is `{"ready": true}` or the error that stands in the way. A child ends when its input ends,
so it never outlives its parent by more than what it has in hand.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import BinaryIO

from dfx.errors import DfxError
from dfx.messages import Message, decode, encode
from dfx.settings import HOST
from dfx.streams import open_closed

Served = Callable[[Iterable[Message]], None]


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


def serve(opened: Callable[[Message, Replies], Served]) -> None:
    """The life of a child: serves until standard input ends.

    opened: makes of the first message what takes all further ones; a DfxError that it raises stands in the way.
    """
    replies = Replies(_claim_stdout())
    first = sys.stdin.buffer.readline()
    if not first:  # the parent was gone before it could speak
        return
    hello = decode(first)
    if hello["device"] == HOST:  # a GPU's driver reserves far more than it uses
        _limit_memory(hello["limits"]["memory"])
    try:
        served = opened(hello, replies)
    except DfxError as error:
        replies.send(hello, {"error": type(error).__name__, "message": str(error)})
    else:
        replies.send(hello, {"ready": True})
        served(map(decode, sys.stdin.buffer))
    if hello["device"] != HOST:
        os._exit(0)  # the libraries of a GPU take each other down in no good order


def give_back() -> None:
    """Has glibc give free memory back to the system, of which its heap otherwise keeps ever more, up to the bound."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _claim_stdout() -> BinaryIO:
    """The pipe that standard output was; what a library prints there from now on goes to standard error."""
    open_closed()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _limit_memory(limit: int) -> None:
    """Private writable memory; an allocation beyond it raises MemoryError, which becomes the reason `too_large`."""
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
