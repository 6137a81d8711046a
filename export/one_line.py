"""How the scripts say what they will not do: in one line, also where the error is torch's or a file's own."""

from __future__ import annotations

from typing import ClassVar

from dfx.cli import one_line
from dfx.outputs import Forms

ONNX: Forms = {".onnx": rb"\x08[\x01-\x7f]"}
"""How an ONNX file begins: with the version of its format, protobuf's first field."""


class OneLine(one_line.OneLine):
    """For files of other people's, which are read by libraries with errors of their own."""

    errors: ClassVar[tuple[type[Exception], ...]] = (*one_line.OneLine.errors, RuntimeError, ValueError)
