"""A cell: `python -m dfx.cell`. Does one kind of chore on files that may be hostile, away from the parent.

It speaks as `dfx.worker` does. The first message names the chore, its options and the limits; the answer is
`{"ready": true}` or the error that stands in the way. Every further message holds what a chore takes beside its
options; the answer is what it gave back, or the reason why it could not.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from dfx.errors import DeviceError, DfxError, VideoError
from dfx.messages import decode
from dfx.serving import Replies, claim_stdout, limit_memory
from dfx.settings import HOST, Limits

Message = dict[str, Any]
Chore = Callable[..., Message]
CHORES = {  # loaded by name, so that a cell starts with what its own chore needs
    "facts": "dfx.examine:FactsChore",
    "frames": "dfx.frames:FramesChore",
    "audio": "dfx.audio:AudioChore",
    "faces": "dfx.faces:FacesChore",
    "clips": "dfx.clip_cache:ClipsChore",
}


def main() -> None:
    """Serves until standard input ends."""
    replies = Replies(claim_stdout())
    first = sys.stdin.buffer.readline()
    if not first:  # the parent was gone before it could speak
        return
    hello = decode(first)
    limits = Limits(**hello["limits"])
    if hello["options"].get("device", HOST) == HOST:  # a GPU's driver reserves far more than it uses
        limit_memory(limits.memory)
    try:
        chore: Chore = resolve_name(CHORES[hello["chore"]])(limits, **hello["options"])
    except DfxError as error:
        replies.send(hello, {"error": type(error).__name__, "message": str(error)})
        return
    replies.send(hello, {"ready": True})
    for message in map(decode, sys.stdin.buffer):
        replies.send(message, _done(chore, {name: value for name, value in message.items() if name != "id"}))


def _done(chore: Chore, job: Message) -> Message:
    """What the chore gave back, or the reason why it could not."""
    try:
        return chore(**job)
    except VideoError as error:
        return _failure(error.reason, str(error))
    except DeviceError:  # the GPU is lost to this process, and to every file after this one
        traceback.print_exc()
        os._exit(1)
    except MemoryError as error:
        return _failure("too_large", str(error) or "it needs more memory than the limit allows")
    except DfxError as error:
        return _failure("missing" if isinstance(error, FileNotFoundError) else "failed", str(error))
    except Exception as error:  # one bad file must not cost the next one its turn
        return _failure("crashed", f"{type(error).__name__}: {error}")


def _failure(reason: str, detail: str) -> Message:
    return {"reason": reason, "detail": " ".join(detail.split())}


if __name__ == "__main__":
    main()
