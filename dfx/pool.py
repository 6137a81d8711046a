"""Supervised workers: one process a core, each with a thread here that feeds it, watches the clock and replaces it.

A worker that dies or outstays the limit costs the video in its hands that video's score, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import zip_longest
from types import TracebackType
from typing import Any, Self

import dfx.errors
from dfx.errors import DfxError
from dfx.govern import Job, Schedule
from dfx.infer.session import fingerprint
from dfx.messages import decode, encode, to_prediction
from dfx.settings import Limits, Settings
from dfx.values import Prediction, Reason

COMMAND = [sys.executable, "-P", "-m", "dfx.worker"]
START_SECONDS = 120.0  # a cold disk reads 100 MB of libraries in far less
STOP_SECONDS = 1.0  # a killed process that is not gone by then hangs in the system, and is left to it
RETRIES = (1.0, 10.0, 60.0)  # seconds to wait before a worker that could not start is started again
FOREVER = 10.0 * 365 * 86400


class WorkerDied(Exception):
    """The process ended, or was ended, before it answered."""


class Worker:
    """One process and the pipe to it. hello: the first message, which says what it is to serve."""

    def __init__(self, hello: bytes) -> None:
        self._hello = hello
        self._process: subprocess.Popen[bytes] | None = None
        self._expired = self._stopped = False

    def ensure(self, seconds: float = START_SECONDS) -> None:
        """Starts the process unless it runs, and waits until it has loaded its models.

        Raises what stands in the way of serving, as its own class of `dfx.errors`.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self._process = _spawn()
        if self._stopped:
            self._process.kill()
        try:
            answer = self._ask(self._hello, seconds)
        except WorkerDied:
            raise DfxError(
                f"a worker ended (exit status {self._process.wait()}) before it could serve; see what it printed above"
            ) from None
        if "error" in answer:
            raise getattr(dfx.errors, answer["error"], DfxError)(answer["message"])

    def predict(self, job: Job, prior: float) -> Prediction:
        """Has one video scored. If the process dies of it, or runs out of time, the row says so and holds the prior."""
        request = {"filename": job.filename, "path": str(job.path), "windows": job.windows}
        started = time.monotonic()
        try:
            return to_prediction(self._ask(encode(request), job.seconds))
        except WorkerDied:
            took = time.monotonic() - started
            return Prediction(job.filename, prior, *self._cause_of_death(job), seconds=took)

    def stop(self) -> None:
        """Ends the process at once, from any thread; what it has in hand is not answered."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stops, and gives back what the process held here. Only when no thread asks it anything any more."""
        self.stop()
        if self._process is not None:
            _bury(self._process)

    def _ask(self, message: bytes, seconds: float) -> dict[str, Any]:
        process = self._process
        assert process, "ensure() comes first"
        assert process.stdin
        assert process.stdout
        self._expired = False
        clock = threading.Timer(seconds, self._expire, [process])
        clock.start()
        try:
            process.stdin.write(message)
            process.stdin.flush()
            return decode(process.stdout.readline())
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()
            raise WorkerDied from error
        finally:
            clock.cancel()
            clock.join()
            if process.poll() is not None or self._stopped or self._expired:
                _bury(process)

    def _expire(self, process: subprocess.Popen[bytes]) -> None:
        self._expired = True
        process.kill()

    def _cause_of_death(self, job: Job) -> tuple[Reason, str]:
        if self._expired:
            return Reason.TIMEOUT, f"it took longer than the limit of {job.seconds:g} s"
        status = self._process.returncode if self._process else None
        return Reason.CRASHED, f"the worker that decoded it died (exit status {status})"


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
        start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
    )


def _bury(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()


class Pool:
    """A worker a core. Use as a context: entering starts the first one and raises what stands in the way of serving.

    deadline: on the clock of `time.monotonic`; a first worker that is not ready by then is given up.
    """

    def __init__(self, settings: Settings, limits: Limits, count: int, deadline: float | None = None) -> None:
        self._prior, self._deadline = settings.prior, deadline
        models = {str(path): fingerprint(path) for path in (settings.detector, settings.model)}
        hello = encode({"settings": settings.to_json(), "limits": asdict(limits), "models": models})
        self._workers = [Worker(hello) for _ in range(count)]
        self._results: queue.SimpleQueue[tuple[Job, Prediction] | BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._workers[0].ensure(min(START_SECONDS, self._left()))
        except BaseException as error:
            self._workers[0].close()
            if not (isinstance(error, DfxError) and self._left() <= 0):
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for worker in self._workers:
            worker.stop()
        for worker, thread in zip_longest(self._workers, self._threads):
            if thread is not None:
                thread.join(STOP_SECONDS)
            if thread is None or not thread.is_alive():
                worker.close()

    def run(self, schedule: Schedule) -> Iterator[tuple[Job, Prediction]]:
        """Scores what the schedule hands out until it has no more, or its deadline comes.

        Yields each job with the row that now counts for its video, as they come, in no fixed order. A thread that has
        no more to do says so with None.
        """
        self._threads = [
            threading.Thread(target=self._serve, args=[worker, schedule], daemon=True) for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()
        serving = len(self._threads)
        while serving:
            try:
                result = self._results.get(timeout=self._left())
            except queue.Empty:
                return
            if isinstance(result, BaseException):
                raise result
            if result is None:
                serving -= 1
            else:
                yield result

    def _left(self) -> float:
        """Seconds until the deadline."""
        return FOREVER if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _serve(self, worker: Worker, schedule: Schedule) -> None:
        """The life of a worker's thread: until no job is left, or the pool closes."""
        try:
            while not self._closing.is_set() and (job := schedule.take()) is not None:
                self._ensure(worker)
                counts = schedule.done(job, worker.predict(job, self._prior))
                if counts is not None and not self._closing.is_set():
                    self._results.put((job, counts))
            self._results.put(None)
        except BaseException as error:  # the caller's thread raises it
            self._results.put(error)

    def _ensure(self, worker: Worker) -> None:
        """Starts a worker anew where its last video killed it; a machine that is short of memory is given time."""
        for pause in (*RETRIES, None):
            try:
                worker.ensure()
                return
            except DfxError:
                if pause is None or self._closing.wait(pause):
                    raise


def default_workers() -> int:
    """One a core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _environment() -> dict[str, str]:
    """The parent's import path, so that a worker imports what its parent imports, wherever a notebook put it."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
