"""How the scripts say what they will not do: in one line and with exit status 2, as the command `dfx` does."""

from __future__ import annotations

from typing import Any

import click

from dfx.cli import Refused
from dfx.errors import DfxError
from dfx.outputs import Forms

ONNX: Forms = {".onnx": rb"\x08[\x01-\x7f]"}
"""How an ONNX file begins: with the version of its format, protobuf's first field."""


class OneLine(click.Command):
    """Turns dfx's own errors, and those of files, arguments and torch, into one line and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):  # which are RuntimeErrors
            raise
        except (DfxError, OSError, RuntimeError, ValueError) as error:
            raise Refused(" ".join(str(error).split())) from error
