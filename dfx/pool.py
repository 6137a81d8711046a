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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dfx.errors
from dfx.errors import DfxError
from dfx.messages import decode, encode, to_prediction
from dfx.settings import Limits, Settings
from dfx.values import Prediction, Reason

COMMAND = [sys.executable, "-P", "-m", "dfx.worker"]
START_SECONDS = 120.0  # a cold disk reads 100 MB of libraries in far less


@dataclass(frozen=True, slots=True)
class Job:
    """A video to score: the name on its row, and where it lies."""

    filename: str
    path: Path


class WorkerDied(Exception):
    """The process ended, or was ended, before it answered."""


class Worker:
    """One process and the pipe to it."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._hello = encode({"settings": settings.to_json(), "memory": limits.memory})
        self._seconds = limits.seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._expired = self._stopped = False

    def ensure(self) -> None:
        """Starts the process unless it runs, and waits until it has loaded its models.

        Raises what stands in the way of serving, as its own class of `dfx.errors`.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self._process = _spawn()
        try:
            answer = self._ask(self._hello, START_SECONDS)
        except WorkerDied:
            raise DfxError(
                f"a worker ended (exit status {self._process.wait()}) before it could serve; see what it printed above"
            ) from None
        if "error" in answer:
            raise getattr(dfx.errors, answer["error"], DfxError)(answer["message"])

    def predict(self, job: Job, prior: float) -> Prediction:
        """Has one video scored. If the process dies of it, or runs out of time, the row says so and holds the prior."""
        try:
            return to_prediction(self._ask(encode({"filename": job.filename, "path": str(job.path)}), self._seconds))
        except WorkerDied:
            return Prediction(job.filename, prior, *self._cause_of_death())

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
            if process.poll() is not None or self._stopped:
                _bury(process)

    def _expire(self, process: subprocess.Popen[bytes]) -> None:
        self._expired = True
        process.kill()

    def _cause_of_death(self) -> tuple[Reason, str]:
        if self._expired:
            return Reason.TIMEOUT, f"it took longer than the limit of {self._seconds:g} s"
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
    """A worker a core. Use as a context: entering starts the first one and raises what stands in the way of serving."""

    def __init__(self, settings: Settings, limits: Limits, count: int) -> None:
        self._prior = settings.prior
        self._workers = [Worker(settings, limits) for _ in range(count)]
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Prediction | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._workers[0].ensure()
        except BaseException:
            self._workers[0].close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for worker in self._workers:
            worker.stop()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()

    def run(self, jobs: Sequence[Job]) -> Iterator[Prediction]:
        """Scores the videos and yields their predictions as they come, in no fixed order."""
        for job in jobs:
            self._jobs.put(job)
        self._threads = [
            threading.Thread(target=self._serve, args=[w], daemon=True) for w in self._workers[: len(jobs)]
        ]
        for thread in self._threads:
            thread.start()
        for _ in jobs:
            result = self._results.get()
            if isinstance(result, BaseException):
                raise result
            yield result

    def _serve(self, worker: Worker) -> None:
        """The life of a worker's thread: until no job is left, or the pool closes."""
        try:
            while not self._closing.is_set():
                job = self._jobs.get_nowait()
                worker.ensure()
                self._results.put(worker.predict(job, self._prior))
        except queue.Empty:
            return
        except BaseException as error:  # the caller's thread raises it
            self._results.put(error)


def default_workers() -> int:
    """One a core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _environment() -> dict[str, str]:
    """The parent's import path, so that a worker imports what its parent imports, wherever a notebook put it."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
