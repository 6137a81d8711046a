"""Files that are written whole or not at all, whoever else reads or writes them, and never in the place of a video; and
where those stand that can be made again."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from dfx.errors import OutputError

EXTENSIONS = frozenset(
    ".3g2 .3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()  # noqa: SIM905
)
OPEN_FILES = ("/proc", "/dev/fd")  # where Linux and macOS have names for what a process has open
HOPS = 40  # links that Linux follows


def cache_folder() -> Path:
    """What dfx keeps for the user to make nothing twice: $XDG_CACHE_HOME/dfx, else ~/.cache/dfx."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfx"


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file of dfx's own that can be made again, and is not worth a sync. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; read in pieces, so that memory does not follow its size."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file as `replacement` has it. Raises OutputError."""
    with replacement(path) as file:
        file.buffer.write(data)


def check_place(path: str | Path) -> None:
    """Raises OutputError where no file can be written at `path`, before the work whose result it is to hold."""
    with _mapped(Path(path)):
        place = _target(Path(path))
        tempfile.TemporaryFile(dir=place.parent).close()


@contextmanager
def replacement(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of `path` at the end, synced, or vanishes where anything is raised, an interrupt too.

    Raises OutputError where it cannot be written, or is a folder, a device, a stream, or a video by its ending.
    """
    with _mapped(path), _replacement(path) as file:
        yield file


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror or error}): name another file, in a folder that can be written"
        ) from error


def _target(path: Path) -> Path:
    """The file that is to be replaced: what a link leads to. A rename would put a file in a device's place as well."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError("it is a folder")
    if _leads_to_open_file(path):
        raise FileExistsError("it is a stream that is open already, not a file")
    if target.exists() and not target.is_file():
        raise FileExistsError("it is a device or a pipe or a socket")
    if {path.suffix.lower(), target.suffix.lower()} & EXTENSIONS:
        raise FileExistsError("its ending is that of a video")
    return target


def _leads_to_open_file(path: Path) -> bool:
    """Whether a path leads through what a process has open, as /dev/stdout does: a rename would not reach that file."""
    for _ in range(HOPS):
        path = Path(os.path.realpath(path.parent), path.name)
        if any(path.is_relative_to(folder) for folder in OPEN_FILES):
            return True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return False


@contextmanager
def _replacement(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of `path` at the end, or vanishes where anything is raised, an interrupt included."""
    path = _target(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
