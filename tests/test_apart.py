"""A part of a benchmark that ends its process, or does not end at all, costs the others nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from apart import apart

LIMIT = 60.0  # seconds, for parts that end at once; a process starts in less on a loaded machine


def adding(left: int, right: int) -> dict[str, Any]:
    return {"sum": left + right, "process": os.getpid()}


def raising() -> dict[str, Any]:
    raise ValueError("no such card")


def aborting() -> dict[str, Any]:
    os.abort()


def hanging(note: Path) -> dict[str, Any]:
    child = subprocess.Popen(["sleep", "600"])
    note.write_text(str(child.pid))
    child.wait()
    return {}


def test_a_part_gives_its_figures_from_another_process() -> None:
    found = apart(adding, (1, 2), LIMIT)
    assert found["sum"] == 3
    assert found["process"] != os.getpid()
    assert 0 < found["took"] < LIMIT


@pytest.mark.parametrize(
    ("part", "error", "seconds"),
    [
        (raising, "ValueError: no such card", LIMIT),
        (aborting, "its process ended with status -6", LIMIT),
    ],
)
def test_what_went_wrong_is_its_error(part: Callable[[], dict[str, Any]], error: str, seconds: float) -> None:
    found = apart(part, (), seconds)
    assert found["error"] == error
    assert found["took"] < LIMIT


def counting(to: int) -> Iterator[dict[str, Any]]:
    for number in range(to):
        yield {str(number): number}
    time.sleep(600 if to > 2 else 0)


@pytest.mark.parametrize(("to", "seconds"), [(2, LIMIT), (3, 8.0)])
def test_what_came_before_the_end_of_time_is_kept(to: int, seconds: float) -> None:
    found = apart(counting, (to,), seconds)
    assert [found[str(number)] for number in range(to)] == list(range(to))
    assert found.get("unfinished") == ("not done after 8 s" if to > 2 else None)


def test_what_is_not_done_is_ended_with_what_it_started(tmp_path: Path) -> None:
    found = apart(hanging, (tmp_path / "pid",), 8.0)
    assert found["unfinished"] == "not done after 8 s"
    assert "error" not in found
    pid = int((tmp_path / "pid").read_text())
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], 10)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
