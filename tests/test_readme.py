"""The README is true: what it says `dfx demo` prints is what it prints, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_output_of_the_demo_is_the_real_one() -> None:
    shown = re.search(r"<!-- output: dfx demo -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown
    environment = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "dfx", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert [line.rstrip() for line in shown[1].splitlines()] == [line.rstrip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_every_reason_is_explained() -> None:
    from dfx.values import Reason

    for reason in Reason:
        assert f"`{reason}`" in README
