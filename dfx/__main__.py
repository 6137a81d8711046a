"""`python -m dfx` is the command `dfx`."""

from dfx.cli import main

main(prog_name="dfx")
