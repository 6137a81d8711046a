"""The clip that the benchmarks share: in the challenge's manner, 300 frames of 1080p, keyframes at 0 and 250."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_job import challenge_clip

from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.values import Plan, VideoInfo


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
