"""`python -m dfx.ops FOLDER` fills a folder with the CUDA kernels' machine code for a wheel: FOLDER is dfx/cubins."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfx.ops.compiler import embed


def main() -> None:
    """Compiles the kernels for every architecture, and prints the files."""
    parser = argparse.ArgumentParser(prog="python -m dfx.ops", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the machine code goes")
    for path in embed(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
