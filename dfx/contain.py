"""Contain: tasks on files that may be hostile, in child processes with limits on memory and time.

A child that dies or outstays the limit costs the file that it died of an answer, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from queue import SimpleQueue

from dfx.arguments import whole
from dfx.messages import Message
from dfx.process import Supervised, WorkerDied, default_workers
from dfx.settings import HOST, Limits

COMMAND = [sys.executable, "-P", "-m", "dfx.sandbox"]


def contained(
    task: str, options: Message, jobs: Sequence[Message], limits: Limits, workers: int | None
) -> Iterator[tuple[int, Message]]:
    """Has a task of `dfx.sandbox` done on each job, by `workers` children, one a core unless told.

    Yields each job's place and its answer, in the order in which they come. An answer with a `reason` and a `detail`
    is that of a file which it could not be done on.

    Raises:
        InputError: fewer than one worker, or what the task says of its options. DependencyError: as the task says.
    """
    workers = default_workers() if workers is None else whole("workers", workers, 1)
    hello = {"task": task, "options": options, "limits": asdict(limits), "device": options.get("device", HOST)}
    count = min(workers, max(1, len(jobs)))
    sandboxes = [Sandbox(hello, limits.seconds) for _ in range(count)]
    idle: SimpleQueue[Sandbox] = SimpleQueue()
    for sandbox in sandboxes:
        idle.put(sandbox)
    threads = ThreadPoolExecutor(count)
    try:
        places = {threads.submit(_done, idle, job): place for place, job in enumerate(jobs)}
        for done in as_completed(places):
            yield places.pop(done), done.result()  # an answer may hold pictures: none is kept that was handed on
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for sandbox in sandboxes:  # whoever waits for an answer gets none any more
            sandbox.close()
        threads.shutdown()


def _done(idle: SimpleQueue[Sandbox], job: Message) -> Message:
    sandbox = idle.get()
    try:
        return sandbox.do(job)
    finally:
        idle.put(sandbox)


class Sandbox(Supervised):
    """A child process, started when it is first asked. seconds: that one job may take."""

    def __init__(self, hello: Message, seconds: float) -> None:
        super().__init__(COMMAND, hello)
        self._seconds = seconds

    def do(self, job: Message) -> Message:
        """The answer to a job, or the reason why there is none. Raises what stands in the way of serving any."""
        self.ensure()
        try:
            return self.ask(job, self._seconds)
        except WorkerDied as death:
            if death.expired:
                return {"reason": "timeout", "detail": f"it took longer than the limit of {self._seconds:g} s"}
            return {"reason": "crashed", "detail": f"the process that opened it died ({death})"}
