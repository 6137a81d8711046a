"""Files that are written whole or not at all, whoever else reads or writes them, and where those stand that can be made
again."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def cache_folder() -> Path:
    """What dfx keeps for the user to make nothing twice: $XDG_CACHE_HOME/dfx, else ~/.cache/dfx."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfx"


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file, or leaves what stands there. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
