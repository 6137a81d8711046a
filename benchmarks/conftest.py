"""The clip that the benchmarks share: in the challenge's manner, 300 frames of 1080p, keyframes at 0 and 250."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from figures import machine
from whole_job import challenge_clip

from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.values import Plan


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Sequence[Any], output_json: dict[str, Any]) -> None:
    """Of what --benchmark-json writes, keeps the medians, and says what they were measured on as all benchmarks do."""
    medians = {each["name"]: round(1e6 * each["stats"]["median"], 1) for each in output_json["benchmarks"]}
    output_json.clear()
    output_json |= {"microseconds": medians, "machine": machine()}


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """The shipped networks, loaded."""
    return Pipeline()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file."""
    return challenge_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def info(clip: Path) -> VideoInfo:
    """What its container says."""
    return probe(clip)


@pytest.fixture(scope="session")
def chosen(pipeline: Pipeline, info: VideoInfo) -> Plan:
    """The windows that a prediction looks at."""
    return pipeline.plan(info)
