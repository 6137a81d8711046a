"""The README is true: what it says `dfx demo` prints is what it prints, and its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tolerances import SCORE_BETWEEN_PROCESSORS

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"\d\.\d+")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_output_of_the_demo_is_the_real_one(tmp_path: Path) -> None:
    shown = re.search(r"<!-- output: dfx demo -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown
    environment = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "dfx", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert NUMBER.sub("#", shown[1]) == NUMBER.sub("#", done.stdout)
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (shown[1], done.stdout)]
    assert numbers[0] == pytest.approx(numbers[1], abs=SCORE_BETWEEN_PROCESSORS)


def test_the_output_of_probe_is_the_real_one(tmp_path: Path) -> None:
    shown = re.search(r"<!-- output: dfx probe -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown
    video = ROOT / "dfx" / "samples" / "real.mp4"
    done = subprocess.run(
        [sys.executable, "-m", "dfx", "probe", video], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown[1] == done.stdout.replace(f"{ROOT}/", "")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_figures_are_those_of_the_benchmarks() -> None:
    subprocess.run([sys.executable, ROOT / "benchmarks" / "readme.py", "--check"], check=True)


def test_parts_of_a_gpus_run_that_were_cut_are_left_out() -> None:
    told = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["SENTENCES"]["gpu"]
    figures = json.loads((ROOT / "benchmarks" / "results" / "gpu_h200.json").read_text())
    assert told(figures).count("\n\n") == 6
    assert "% of decoding alone" in told(figures)
    cut = {
        **figures,
        "whole": {"unfinished": "not done after 163 s"},
        "decode": {**figures["decode"], "dali_8_lanes": "no"},
    }
    assert told(cut).count("\n\n") == 5
    assert "% of decoding alone" not in told(cut)


def test_every_reason_is_explained() -> None:
    from dfx.values import Reason

    for reason in Reason:
        assert f"`{reason}`" in README


def test_the_limits_that_the_commands_point_to_are_there() -> None:
    """`dfx --help` and the model cards send people to this section; a page without it would be a lie by omission."""
    assert "\n## What the scores can and cannot do\n" in README
    assert "never proof" in README


def test_the_figures_of_every_sentence_are_shown() -> None:
    sentences = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["SENTENCES"]
    assert sorted(re.findall(r"<!-- figures: (\w+) -->", README)) == sorted(sentences)
