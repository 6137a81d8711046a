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
from collections.abc import Callable
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
        lanes = _open(hello)
    except DfxError as error:
        replies.send(hello, {"error": type(error).__name__, "message": str(error)})
        return
    replies.send(hello, {"ready": True})
    jobs = map(decode, sys.stdin.buffer)
    if len(lanes) == 1:
        for job in jobs:
            _score(lanes[0], job, replies)
            _give_back()
    else:
        _spread(lanes, jobs, replies)
    if hello["device"] != HOST:
        os._exit(0)  # the libraries of a GPU take each other down in no good order


def _open(hello: Message) -> list[Pipeline]:
    settings, limits = Settings.from_json(hello["settings"]), Limits(**hello["limits"])
    engines = Path(hello["engines"]) if hello["engines"] else None
    # One after the other: while one lane captures a CUDA graph, no other may allocate memory.
    return [Pipeline(settings, limits, hello["device"], engines) for _ in range(hello["lanes"])]


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


def _spread(lanes: list[Pipeline], jobs: Any, replies: Replies) -> None:
    """A thread a lane, so that one decodes while another detects. It is sent no more jobs than it has lanes."""
    waiting: SimpleQueue[Message | None] = SimpleQueue()

    def serve(lane: Pipeline) -> None:
        while (job := waiting.get()) is not None:
            _score(lane, job, replies)

    threads = [threading.Thread(target=_or_die, args=[serve, lane]) for lane in lanes]
    for thread in threads:
        thread.start()
    for job in jobs:
        waiting.put(job)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()


def _or_die(serve: Callable[[Pipeline], None], lane: Pipeline) -> None:
    """What ends one lane (a lost GPU) ends the process: the parent starts it anew, and has the videos scored again."""
    try:
        serve(lane)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _check_models(hashes: dict[str, str]) -> None:
    """The models must be those that the run began with: scores of two are never mixed."""
    for path, wanted in hashes.items():
        if fingerprint(Path(path)) != wanted:
            raise ModelError(f"{path} was changed while the run went on: put it back, or start over with --fresh")


if __name__ == "__main__":
    main()
