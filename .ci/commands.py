"""Runs a command of the README as it stands there, in a copy of this checkout: python .ci/commands.py first|second
FOLDER.

The copy keeps what an install leaves behind out of the checkout; `git ls-files` decides what a user would have cloned.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(which: str, folder: str) -> None:
    """Copies the checkout to FOLDER, runs the command there, and checks what came of it."""
    copy = Path(folder)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    for name in filter(None, (entry.decode() for entry in files)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    if (ROOT.parent / "shared").is_dir() and not (copy.parent / "shared").exists():
        (copy.parent / "shared").symlink_to(ROOT.parent / "shared")
    print(f"$ {command(which)}", flush=True)
    subprocess.run(["bash", "-euc", command(which)], cwd=copy, check=True, stdin=subprocess.DEVNULL)
    if which == "first":
        no_torch(copy)


def command(which: str) -> str:
    """The text of the fenced block that follows the README's marker `<!-- command: first -->`."""
    found = re.search(rf"<!-- command: {which} -->\s*```bash\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    if not found:
        raise SystemExit(f"README.md has no command marked {which!r}")
    return found[1].strip()


def no_torch(copy: Path) -> None:
    """The first command must not bring torch in."""
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"
    if subprocess.run([copy / ".venv/bin/python", "-c", probe], check=False).returncode:
        raise SystemExit("torch came in with the README's first command")


if __name__ == "__main__":
    main(*sys.argv[1:])
