"""A sandbox: `python -m dfx.sandbox`. Does one kind of task on files that may be hostile, as `dfx.serving` has it.

The first message names the task, its options and the limits. Every further one holds what a task takes beside its
options; the answer is what it gave back, or the reason why it could not.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pkgutil import resolve_name

from dfx.errors import DeviceError, DfxError, VideoError
from dfx.messages import Message
from dfx.serving import Replies, Served, serve
from dfx.settings import Limits

Task = Callable[..., Message]
TASKS = {  # loaded by name, so that a sandbox starts with what its own task needs
    "facts": "dfx.examine:FactsTask",
    "frames": "dfx.frames:FramesTask",
    "audio": "dfx.audio:AudioTask",
    "faces": "dfx.faces:FacesTask",
    "clips": "dfx.clip_cache:ClipsTask",
    "sights": "dfx.evidence:SightsTask",
}


def main() -> None:
    """Serves until standard input ends."""
    serve(_opened)


def _opened(hello: Message, replies: Replies) -> Served:
    task: Task = resolve_name(TASKS[hello["task"]])(Limits(**hello["limits"]), **hello["options"])
    return partial(_serve, task, replies)


def _serve(task: Task, replies: Replies, jobs: Iterable[Message]) -> None:
    for job in jobs:
        replies.send(job, _done(task, {name: value for name, value in job.items() if name != "id"}))


def _done(task: Task, job: Message) -> Message:
    """What the task gave back, or the reason why it could not."""
    try:
        return task(**job)
    except VideoError as error:
        return _failure(error.reason, str(error))
    except MemoryError as error:  # a GPU's too, whose process may go on
        return _failure("too_large", str(error) or "it needs more memory than the limit allows")
    except DeviceError:  # the GPU is lost to this process, and to every file after this one
        traceback.print_exc()
        os._exit(1)
    except DfxError as error:
        return _failure("missing" if isinstance(error, FileNotFoundError) else "failed", str(error))
    except Exception as error:  # one bad file must not cost the next one its turn
        return _failure("crashed", f"{type(error).__name__}: {error}")


def _failure(reason: str, detail: str) -> Message:
    return {"reason": reason, "detail": " ".join(detail.split())}


if __name__ == "__main__":
    main()
