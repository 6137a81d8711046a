"""A worker: `python -m dfx.worker`. Takes whole videos and gives back their predictions, or what a report shows.

Messages come on standard input and go out on what was standard output when it started; what a library prints goes to
standard error. Every message has an `id`, and so has its answer. The first one holds settings, limits, the models'
hashes, the device and the number of lanes; the answer is `{"ready": true}` or the error that stands in the way. It ends
when its input ends, so it never outlives its parent by more than the videos it has in hand: one a lane.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from dfx.errors import DfxError, ModelError
from dfx.infer.session import fingerprint
from dfx.messages import decode
from dfx.pipeline import Pipeline
from dfx.record import from_prediction
from dfx.serving import Replies, claim_stdout, limit_memory
from dfx.settings import HOST, Limits, Settings

Message = dict[str, Any]


def main() -> None:
    """Serves until standard input ends."""
    replies = Replies(claim_stdout())
    first = sys.stdin.buffer.readline()
    if not first:  # the parent was gone before it could speak
        return
    hello = decode(first)
    if hello["device"] == HOST:  # a GPU's driver reserves far more than it uses
        limit_memory(hello["limits"]["memory"])
    try:
        _check_models(hello["models"])
        alone = hello["lanes"] == 1 and hello["device"] == HOST
        lanes = _Lane(hello, replies) if alone else _Lanes(hello, replies)
    except DfxError as error:
        replies.send(hello, {"error": type(error).__name__, "message": str(error)})
    else:
        replies.send(hello, {"ready": True})
        lanes.serve(map(decode, sys.stdin.buffer))
    if hello["device"] != HOST:
        os._exit(0)  # the libraries of a GPU take each other down in no good order


class _Lane:
    """One video at a time, on the main thread."""

    def __init__(self, hello: Message, replies: Replies) -> None:
        self._pipeline, self._replies = _open(hello), replies

    def serve(self, jobs: Iterable[Message]) -> None:
        for job in jobs:
            _score(self._pipeline, job, self._replies)
            _give_back()


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
    if job.get("show"):
        from dfx.evidence import show  # a report's, and loaded for one only

        replies.send(job, show(lane, job))
    else:
        replies.send(job, from_prediction(lane.predict(job["path"], job["filename"], job["windows"])))


def _give_back() -> None:
    """Has glibc give free memory back to the system, of which its heap otherwise keeps ever more, up to the bound."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _check_models(hashes: dict[str, str]) -> None:
    """The models must be those that the run began with: scores of two are never mixed."""
    for path, wanted in hashes.items():
        if fingerprint(Path(path)) != wanted:
            raise ModelError(f"{path} was changed while the run went on: put it back, or start over with --fresh")


if __name__ == "__main__":
    main()
