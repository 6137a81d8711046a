"""How commands say what they will not do: in one line, with exit status 2."""

from __future__ import annotations

from typing import Any, ClassVar

import click

from dfx.errors import DfxError


class Refused(click.ClickException):
    """What dfx will not do, as click says that it will not read an argument."""

    exit_code = 2

    @classmethod
    def because(cls, error: BaseException) -> Refused:
        """With the words of an error, on one line."""
        return cls(" ".join(str(error).split()))


class OneLine(click.Command):
    """A command by itself that turns dfx's own errors, and the system's, into one line."""

    errors: ClassVar[tuple[type[Exception], ...]] = (DfxError, OSError)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):  # which are RuntimeErrors
            raise
        except self.errors as error:
            raise Refused.because(error) from error
