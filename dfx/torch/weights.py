"""Files of weights that trainings write: what is in them, or why it is not what is wanted."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from dfx.errors import ModelError

UNREADABLE = (UnpicklingError, EOFError, RuntimeError, TypeError, ValueError)  # what torch raises, of its own switches


def read_weights(path: Path, writer: str, *names: str) -> dict[str, Any]:
    """The entries of a file that torch wrote.

    writer: the command that writes such files, for the error. names: of entries that must be there.

    Raises:
        ModelError: torch cannot read it, or an entry is missing. OSError: there is no such file.
    """
    try:
        state = dict(torch.load(path, weights_only=True, map_location="cpu"))
    except UNREADABLE as error:
        raise ModelError(f"{path} holds no weights that torch can read: give what {writer} writes") from error
    if lacking := [name for name in names if name not in state]:
        raise ModelError(f"{path} has no {lacking[0]!r}: give what {writer} writes")
    return state
