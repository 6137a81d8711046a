"""Supervised workers: a process a core, or a GPU, with threads here that feed it, watch the clock and replace it.

A worker that dies or outstays the limit costs the video that it died of that video's score, and nothing else. One of
several on GPUs that cannot be started anew is done without.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self

from dfx.device import Crew
from dfx.errors import DfxError
from dfx.govern import Job, Schedule
from dfx.infer.session import fingerprints
from dfx.messages import Message
from dfx.process import FOREVER, START_SECONDS, STOP_SECONDS, Supervised, WorkerDied
from dfx.record import to_prediction
from dfx.settings import HOST, Limits, Settings
from dfx.streams import note
from dfx.values import Prediction, Reason

COMMAND = [sys.executable, "-P", "-m", "dfx.worker"]
RETRIES = (1.0, 10.0, 60.0)  # seconds to wait before a worker that could not start is started again


class Worker(Supervised):
    """A process that scores videos. If it dies while several threads ask it, no one can say whose video it died of."""

    def __init__(self, hello: Message) -> None:
        super().__init__(COMMAND, hello)
        self.shared = bool(hello["lanes"] > 1 or hello["device"] != HOST)
        """Whether it may have died of something else than the video in hand: of another one, or of its GPU."""

    def predict(self, job: Job) -> Prediction:
        """Has one video scored; raises WorkerDied if the process dies of it, or of another, or it runs out of time."""
        request = {"filename": job.filename, "path": str(job.path), "windows": job.windows, "further": job.further}
        return to_prediction(self.ask(request, job.seconds))


def _epitaph(job: Job, prior: float, death: WorkerDied, took: float) -> Prediction:
    """The row of a video that its worker died of."""
    if death.expired:
        reason, detail = Reason.TIMEOUT, f"it took longer than the limit of {job.seconds:g} s"
    else:
        reason, detail = Reason.CRASHED, f"the worker that decoded it died ({death})"
    return Prediction(job.filename, prior, reason, detail, seconds=took)


class Pool:
    """The workers. Use as a context: entering starts them and raises what stands in the way of serving.

    crews: a worker process each. Where a worker with several videos in hand dies, each of them is scored again, alone,
    by one on the CPU, whose limits hold whatever it is.
    deadline: on the clock of `time.monotonic`; a first worker that is not ready by then is given up.
    """

    def __init__(
        self, settings: Settings, limits: Limits, crews: Sequence[Crew], deadline: float | None = None
    ) -> None:
        self._prior, self._deadline = settings.prior, deadline
        models = fingerprints([settings.detector, *settings.models])
        hello = {"settings": settings.to_json(), "limits": asdict(limits), "models": models}
        self._workers = [Worker(hello | asdict(crew)) for crew in crews]
        self._refuge, self._alone = Worker(hello | asdict(Crew())), threading.Lock()
        self._lanes = [crew.lanes for crew in crews]
        self._lost: set[Worker] = set()
        self._results: queue.SimpleQueue[tuple[Job, Prediction] | BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        try:
            for worker in self._workers:
                worker.start()
            self._workers[0].ensure(min(START_SECONDS, self._left()))
        except BaseException as error:
            for worker in self._workers:
                worker.close()
            if type(error) is not DfxError or self._left() > 0:  # the others say what stands in the way
                raise
        return self

    @property
    def serves(self) -> bool:
        """Whether any worker is ready: none is where the deadline came first."""
        return any(worker.serves for worker in self._workers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for worker in (*self._workers, self._refuge):
            worker.stop()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        if not any(thread.is_alive() for thread in self._threads):
            for worker in (*self._workers, self._refuge):
                worker.close()

    def run(self, schedule: Schedule) -> Iterator[tuple[Job, Prediction]]:
        """Scores what the schedule hands out until it has no more, or its deadline comes.

        Yields each job with the row that now counts for its video, as they come, in no fixed order. A thread that has
        no more to do says so with None.
        """
        self._threads = [
            threading.Thread(target=self._serve, args=[worker, schedule], daemon=True)
            for worker, lanes in zip(self._workers, self._lanes, strict=True)
            for _ in range(lanes)
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

    @property
    def pids(self) -> list[int]:
        """The workers' processes that have been started."""
        return [worker.pid for worker in self._workers if worker.pid]

    def _left(self) -> float:
        """Seconds until the deadline."""
        return FOREVER if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _serve(self, worker: Worker, schedule: Schedule) -> None:
        """The life of a worker's thread: until no job is left, or the pool closes."""
        try:
            while self._wants(worker) and (job := schedule.take()) is not None:
                counts = schedule.done(job, self._score(worker, job))
                if counts is not None and not self._closing.is_set():
                    self._results.put((job, counts))
            self._results.put(None)
        except BaseException as error:  # the caller's thread raises it
            self._results.put(error)

    def _wants(self, worker: Worker) -> bool:
        return worker not in self._lost and not self._closing.is_set()

    def _score(self, worker: Worker, job: Job) -> Prediction:
        try:
            self._ensure(worker)
        except DfxError as error:
            if not self._without(worker, error):
                raise
            return self._in_refuge(job)
        started = time.monotonic()
        try:
            return worker.predict(job)
        except WorkerDied as death:
            if not worker.shared or death.expired or self._closing.is_set():
                return _epitaph(job, self._prior, death, time.monotonic() - started)
        return self._in_refuge(job)

    def _in_refuge(self, job: Job) -> Prediction:
        with self._alone:
            return self._score(self._refuge, job)

    def _ensure(self, worker: Worker) -> None:
        """Starts a worker anew where its last video killed it; a machine that is short of memory is given time."""
        for pause in (*RETRIES, None):
            try:
                worker.ensure()
                return
            except DfxError:
                if pause is None or worker in self._lost or self._closing.wait(pause):
                    raise

    def _without(self, worker: Worker, error: DfxError) -> bool:
        """Whether the run goes on without a worker that cannot be started: others may have taken a GPU's memory."""
        if not worker.shared or not any(other.serves for other in self._workers if other is not worker):
            return False
        if worker not in self._lost:
            self._lost.add(worker)
            note(f"one process fewer, since it could not be started: {error}")
        return True
