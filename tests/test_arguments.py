"""What a caller gives in Python: an argument of another kind is named, in one line, before any work."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dfx
import dfx.results
from dfx import report
from dfx.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"detectors": 3}, "detectors is 3; a name or a list of names"),
        ({"detectors": ["haar", 3]}, "a name in detectors is 3; a name"),
        ({"pictures": "many"}, "pictures is 'many'; a whole number"),
        ({"pictures": 2.5}, "pictures is 2.5; a whole number"),
        ({"limits": 60}, "limits is 60; a dfx.Limits"),
    ],
)
def test_faces_names_the_argument(samples: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dfx.faces(samples, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"times": 2}, "times is 2; finite seconds from 0 on"),
        ({"times": "12"}, "times is .*; finite seconds from 0 on"),
        ({"times": [None]}, "times is .None.; finite seconds"),
        ({"count": "many"}, "count is 'many'; a whole number"),
        ({"every": "1"}, "every is '1'; a finite number of seconds"),
        ({"kind": ["png"]}, "the format is .'png'.; png or jpg"),
        ({"limits": 60}, "limits is 60; a dfx.Limits"),
    ],
)
def test_frames_names_the_argument(samples: Path, tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dfx.frames(samples, tmp_path, **given)


@pytest.mark.parametrize("limits", [60, 0, {"seconds": 60}])
def test_what_is_no_limits_is_named_by_every_function(samples: Path, tmp_path: Path, limits: Any) -> None:
    rows = dfx.results.Predictions(())
    for job in (
        partial(dfx.predict_dir, samples, progress=False),
        partial(dfx.inspect, samples),
        partial(dfx.audio, samples, tmp_path),
        partial(report.write, rows, tmp_path / "r.html", paths={}, settings=dfx.Settings()),
    ):
        with pytest.raises(InputError, match=r"limits is .*; a dfx\.Limits"):
            job(limits=limits)


def test_a_report_names_the_argument(tmp_path: Path) -> None:
    rows = dfx.results.Predictions(())
    with pytest.raises(InputError, match=r"pictures is 1\.5; a whole number"):
        report.write(rows, tmp_path / "r.html", paths={}, settings=dfx.Settings(), pictures=1.5)  # type: ignore[arg-type]


def test_numpys_numbers_are_taken(samples: Path, tmp_path: Path) -> None:
    made = dfx.frames(samples / "real.mp4", tmp_path, times=np.array([0.0, 1.0]))
    assert made.written == 2
    assert dfx.frames(samples / "real.mp4", tmp_path, count=np.int64(1)).written == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"videos": "many"}, "videos is 'many'; a whole number"),
        ({"videos": 0}, "videos is 0; a whole number .* of at least 1"),
        ({"sample": "all"}, "sample is 'all'; a whole number of at least 5"),
        ({"card": 4}, "card is 4; a text"),
        ({"device": 0}, "device is 0; a text"),
        ({"settings": 2}, "settings is 2; a dfx.Settings"),
        ({"workers": 2.5}, "workers is 2.5; a whole number"),
    ],
)
def test_rehearse_names_the_argument(samples: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dfx.rehearse(samples, progress=False, **given)


def test_a_folder_without_labels_is_said_by_the_benchmark_of_precisions(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    command = [sys.executable, str(ROOT / "benchmarks" / "precision.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"Error: no file at {tmp_path}/labels.csv: name one that exists"]
