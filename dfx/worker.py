"""A worker: `python -m dfx.worker`. Takes whole videos and gives back their predictions, as `dfx.serving` has it.

The first message holds settings, limits, the models' hashes, the device and the number of lanes: the videos that it has
in hand at a time.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue

from dfx.errors import DfxError
from dfx.infer.session import check_unchanged
from dfx.messages import Message
from dfx.pipeline import Pipeline
from dfx.record import from_prediction
from dfx.serving import Replies, Served, give_back, serve
from dfx.settings import HOST, Limits, Settings


def main() -> None:
    """Serves until standard input ends."""
    serve(_opened)


def _opened(hello: Message, replies: Replies) -> Served:
    check_unchanged(hello["models"])
    alone = hello["lanes"] == 1 and hello["device"] == HOST
    return (_Lane if alone else _Lanes)(hello, replies).serve


class _Lane:
    """One video at a time, on the main thread."""

    def __init__(self, hello: Message, replies: Replies) -> None:
        self._pipeline, self._replies = _open(hello), replies

    def serve(self, jobs: Iterable[Message]) -> None:
        for job in jobs:
            _score(self._pipeline, job, self._replies)
            give_back()


class _Lanes:
    """A thread a lane, so that one decodes while another detects. It is sent no more jobs than it has lanes.

    Each thread opens its own pipeline, since ONNX Runtime keeps a CUDA graph for the thread that captured it; one after
    the other, since while one is captured nothing else may allocate memory.
    """

    def __init__(self, hello: Message, replies: Replies) -> None:
        self._hello, self._replies, self._turn = hello, replies, threading.Lock()
        self._waiting: SimpleQueue[Message | None] = SimpleQueue()
        self._opened: SimpleQueue[DfxError | None] = SimpleQueue()
        lanes = range(hello["lanes"])
        self._threads = [threading.Thread(target=_or_die, args=[self._live], daemon=True) for _ in lanes]
        for thread in self._threads:
            thread.start()
        for error in [self._opened.get() for _ in lanes]:
            if error is not None:
                raise error

    def serve(self, jobs: Iterable[Message]) -> None:
        for job in jobs:
            self._waiting.put(job)
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _live(self) -> None:
        try:
            with self._turn:
                pipeline = _open(self._hello)
        except DfxError as error:
            self._opened.put(error)
            return
        self._opened.put(None)
        while (job := self._waiting.get()) is not None:
            _score(pipeline, job, self._replies)


def _or_die(live: Callable[[], None]) -> None:
    """What ends one lane (a lost GPU) ends the process: the parent starts it anew, and has the videos scored again."""
    try:
        live()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _open(hello: Message) -> Pipeline:
    settings, limits = Settings.from_json(hello["settings"]), Limits(**hello["limits"])
    engines = Path(hello["engines"]) if hello["engines"] else None
    return Pipeline(settings, limits, hello["device"], engines)


def _score(lane: Pipeline, job: Message, replies: Replies) -> None:
    prediction = lane.predict(job["path"], job["filename"], job["windows"], job["further"])
    replies.send(job, from_prediction(prediction))


if __name__ == "__main__":
    main()
