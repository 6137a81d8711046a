"""Does a part of a benchmark in a process of its own, under a limit on time: what ends one part ends no other."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

Figures = dict[str, Any]
Part = Callable[..., Figures | Iterator[Figures]]
PR_SET_PDEATHSIG = 1  # prctl(2)
SPAWN = multiprocessing.get_context("spawn")  # CUDA does not outlive a fork


def apart(part: Part, arguments: tuple[Any, ...], seconds: float) -> Figures:
    """What `part`, a function of a module, gives for the arguments, at once or bit by bit, with the seconds it `took`.

    Where it raises, or ends its process, that is its "error"; where it is not done after so many seconds, it is
    "unfinished", and ends with what it started in its group: beside what it gave until then. Nor does it outlive this
    process.
    """
    started = time.monotonic()
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_report, args=(theirs, part, arguments))
    process.start()
    theirs.close()
    try:
        found = _heard(ours, process, seconds)
    finally:
        _end(process)
    return found | {"took": round(time.monotonic() - started, 1)}


def _heard(pipe: Connection, process: BaseProcess, seconds: float) -> Figures:
    found, deadline = Figures(), time.monotonic() + seconds
    while pipe.poll(max(0.0, deadline - time.monotonic())):
        try:
            more: Figures | None = pipe.recv()
        except EOFError:
            process.join()
            return found | {"error": f"its process ended with status {process.exitcode}"}
        if more is None:
            return found
        found |= more
    return found | {"unfinished": f"not done after {seconds:.0f} s"}


def _end(process: BaseProcess) -> None:
    """The process, and those that it started and left in its group; it has none of its own until it has begun."""
    process.kill()
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _report(pipe: Connection, part: Part, arguments: tuple[Any, ...]) -> None:
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        given = part(*arguments)
        for found in [given] if isinstance(given, dict) else given:
            pipe.send(found)
    except Exception as error:
        pipe.send({"error": f"{type(error).__name__}: {error}"})
    pipe.send(None)
    sys.stdout.flush()
    os._exit(0)  # the libraries of a GPU take each other down in no good order
