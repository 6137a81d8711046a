"""Contain: chores on files that may be hostile, in child processes with limits on memory and time.

A child that dies or outstays the limit costs the file that it died of an answer, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any

import dfx.errors
from dfx.arguments import whole
from dfx.errors import DfxError
from dfx.process import START_SECONDS, Process, WorkerDied, default_workers
from dfx.settings import Limits

COMMAND = [sys.executable, "-P", "-m", "dfx.cell"]
Message = dict[str, Any]


def contained(
    chore: str, options: Message, jobs: Sequence[Message], limits: Limits, workers: int | None
) -> Iterator[tuple[int, Message]]:
    """Has a chore of `dfx.cell` done on each job, by `workers` children, one a core unless told.

    Yields each job's place and its answer, in the order in which they come. An answer with a `reason` and a `detail`
    is that of a file which it could not be done on.

    Raises:
        InputError: fewer than one worker, or what the chore says of its options. DependencyError: as the chore says.
    """
    workers = default_workers() if workers is None else whole("workers", workers, 1)
    hello = {"chore": chore, "options": options, "limits": asdict(limits)}
    count = min(workers, max(1, len(jobs)))
    cells = [Cell(hello, limits.seconds) for _ in range(count)]
    idle: SimpleQueue[Cell] = SimpleQueue()
    for cell in cells:
        idle.put(cell)
    threads = ThreadPoolExecutor(count)
    try:
        places = {threads.submit(_ask, idle, job): place for place, job in enumerate(jobs)}
        for done in as_completed(places):
            yield places[done], done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for cell in cells:  # whoever waits for an answer gets none any more
            cell.close()
        threads.shutdown()


def _ask(idle: SimpleQueue[Cell], job: Message) -> Message:
    cell = idle.get()
    try:
        return cell.ask(job)
    finally:
        idle.put(cell)


class Cell:
    """A child process, started when it is first asked and anew where it died. seconds: that one job may take."""

    def __init__(self, hello: Mapping[str, Any], seconds: float) -> None:
        self._hello, self._seconds = dict(hello), seconds
        self._process: Process | None = None
        self._closed = False

    def ask(self, job: Message) -> Message:
        """The answer to a job, or the reason why there is none. Raises what stands in the way of serving any."""
        process = self._serving()
        try:
            return process.ask(job, self._seconds)
        except WorkerDied as death:
            if death.expired:
                return {"reason": "timeout", "detail": f"it took longer than the limit of {self._seconds:g} s"}
            return {"reason": "crashed", "detail": f"the process that opened it died ({death})"}

    def close(self) -> None:
        """Ends the process at once, from any thread."""
        self._closed = True
        if self._process is not None:
            self._process.bury()

    def _serving(self) -> Process:
        if self._process is not None and self._process.alive:
            return self._process
        if self._process is not None:
            self._process.bury()
        self._process = Process(COMMAND)
        if self._closed:
            self._process.kill()
        try:
            answer = self._process.ask(self._hello, START_SECONDS)
        except WorkerDied as death:
            raise DfxError(f"a child process ended ({death}) before it could serve; see what it printed") from None
        if "error" in answer:
            raise getattr(dfx.errors, answer["error"], DfxError)(answer["message"])
        return self._process
