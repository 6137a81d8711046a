"""Every error that dfx raises on purpose. Each subclasses a builtin, so that callers may catch either."""

from __future__ import annotations


class DfxError(Exception):
    """Base of all errors that dfx raises on purpose: the message says what was got, what is allowed and what to do."""


class InputError(DfxError, ValueError):
    """An argument or a setting has a value that is not allowed."""


class MissingInputError(DfxError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class ModelError(DfxError, ValueError):
    """A file is no ONNX model, or lacks the contract that dfx needs in its metadata."""


class DependencyError(DfxError, ImportError):
    """An optional package is needed; the message names the command that installs it."""


class DeviceError(DfxError, RuntimeError):
    """A GPU was asked for and cannot serve, or no longer serves this process; the message says how to mend it."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A GPU has no memory left for what was asked of it; for less it may go on."""


class OutputError(DfxError, OSError):
    """A file could not be written where it was asked for."""


class VideoError(DfxError, ValueError):
    """A video cannot be scored. `reason` is the word that stands on its row."""

    reason = "corrupt"


class CorruptVideoError(VideoError):
    """The container or the stream is broken, or no picture could be decoded."""

    reason = "corrupt"


class UnsupportedVideoError(VideoError):
    """The file is sound but holds no video that dfx decodes (no video stream, unknown codec, a still picture)."""

    reason = "unsupported"


class TooLargeVideoError(VideoError, MemoryError):
    """The video is beyond the limits on pixels, duration, packets or memory."""

    reason = "too_large"
