"""What a worker and its parent say to each other: one JSON object a line, which holds nothing but data."""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """One line. ASCII, so that file names of any bytes (surrogates) pass."""
    return json.dumps(message, ensure_ascii=True).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """The inverse of `encode`; raises ValueError on anything but one JSON object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"a message must be an object; got {line[:80]!r}")
    return message
