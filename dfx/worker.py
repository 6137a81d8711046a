"""A worker: `python -m dfx.worker`. Takes whole videos, one at a time, and gives back their predictions.

Messages come on standard input and go out on what was standard output when it started; what a library prints goes to
standard error. The first message holds settings, limits and the models' hashes; the answer is `{"ready": true}` or the
error that stands in the way. It ends when its input ends, so it never outlives its parent by more than one video.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from dfx.errors import DfxError, ModelError
from dfx.infer.session import fingerprint
from dfx.messages import decode, encode, from_prediction
from dfx.pipeline import Pipeline
from dfx.settings import Limits, Settings


def main() -> None:
    """Serves until standard input ends."""
    replies = _claim_stdout()
    first = sys.stdin.buffer.readline()
    if not first:  # the parent was gone before it could speak
        return
    hello = decode(first)
    limits = Limits(**hello["limits"])
    _limit_memory(limits.memory)
    try:
        _check_models(hello["models"])
        pipeline = Pipeline(Settings.from_json(hello["settings"]), limits)
    except DfxError as error:
        _send(replies, {"error": type(error).__name__, "message": str(error)})
        return
    _send(replies, {"ready": True})
    for line in sys.stdin.buffer:
        job = decode(line)
        _send(replies, from_prediction(pipeline.predict(job["path"], job["filename"], job["windows"])))


def _claim_stdout() -> BinaryIO:
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _check_models(hashes: dict[str, str]) -> None:
    """The models must be those that the run began with: scores of two are never mixed."""
    for path, wanted in hashes.items():
        if fingerprint(Path(path)) != wanted:
            raise ModelError(f"{path} was changed while the run went on: put it back, or start over with --fresh")


def _send(replies: BinaryIO, message: dict[str, Any]) -> None:
    try:
        replies.write(encode(message))
        replies.flush()
    except BrokenPipeError:  # the parent is gone, and with it whoever would read a traceback
        os._exit(1)


def _limit_memory(limit: int) -> None:
    """Private writable memory; an allocation beyond it raises MemoryError, which becomes the reason `too_large`."""
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


if __name__ == "__main__":
    main()
