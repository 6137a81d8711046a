"""The command `dfx`: each command mirrors a function of the library."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from dfx.cli.looking import audio, faces, frames, inspect, probe
from dfx.cli.machine import doctor, rehearse
from dfx.cli.making import bundle, train
from dfx.cli.one_line import Refused
from dfx.cli.scoring import demo, predict, report, score
from dfx.errors import DfxError
from dfx.streams import open_closed, spell_out

__all__ = ["main"]

GO_ON = {"predict", "frames", "audio", "train"}  # commands that keep what is done; the others begin anew


class OneLineErrors(click.Group):
    """Turns dfx's own errors, and the system's, into one line and exit status 2; says how to go on when interrupted."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        open_closed()
        spell_out()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click's own to handle: whoever read the output has gone
            raise
        except (DfxError, OSError) as error:  # the system's: a path that is too long or closed, a disk that is full
            raise Refused.because(error) from error
        except KeyboardInterrupt:
            how = "go on" if ctx.invoked_subcommand in GO_ON else "begin anew"
            click.echo(f"\ninterrupted; run the same command again to {how}", err=True)
            sys.exit(130)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dfx", prog_name="dfx")
def main() -> None:
    """Screen videos for deepfakes, fast.

    A score is a hint for a person who looks, never proof: see 'What the scores can and cannot do' in the README.
    """
    for name in ("SIGTERM", "SIGHUP"):  # a terminal that is closed, where there are terminals, but for nohup
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


for command in (predict, report, score, demo, doctor, rehearse, probe, inspect, frames, audio, faces, train, bundle):
    main.add_command(command)
