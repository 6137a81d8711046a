"""The GPU's decoder and pipeline as far as a CPU can be one: DALI's arithmetic on what FFmpeg decodes, see
`benchmarks/simulated.py`. What of it needs no GPU is what runs on one: cutting, unmixing, kernels, and how faces are
sought.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from clips import colourful, encode, recrop
from decoded_surfaces import COLOURS, assert_same_colours, upright
from tolerances import BACKEND_SCORE, GREY_LEVEL

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from simulated import SimulatedDALI, on_simulated_gpu

from dfx import ops
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import UnsupportedVideoError
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.probe import probe
from dfx.values import Frames

VP9 = {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "8"}


def both(path: Path) -> tuple[Frames, Frames]:
    """The first window, by the CPU's decoder and by the simulated one."""
    info = probe(path)
    wanted = plan(info, windows=1)
    (ours,), (theirs,) = PyAVDecoder().read(info, wanted), SimulatedDALI().read(info, wanted)
    return ours, theirs


@pytest.mark.parametrize("height", [512, 360, 250])
@pytest.mark.parametrize("settings", COLOURS, ids=lambda settings: " ".join(settings.values())[:40])
def test_colours_are_those_of_the_cpu(tmp_path: Path, height: int, settings: dict[str, str]) -> None:
    assert_same_colours(*both(encode(tmp_path / "a.mp4", [colourful(512, height)] * 20, **settings)))


@pytest.mark.parametrize("settings", [COLOURS[0], COLOURS[1]], ids=["limited", "full"])
def test_pictures_without_clipped_colours_are_the_cpu_s(tmp_path: Path, settings: dict[str, str]) -> None:
    """Nearly to the bit: that is what planes are made again for."""
    soft = (colourful(512, 256) // 2 + 60).astype(np.uint8)
    ours, theirs = both(encode(tmp_path / "a.mp4", [soft] * 20, **settings))
    for planes, surface in zip(ours.pictures, theirs.pictures, strict=True):
        same = ops.letterbox([planes], 256, 512)[0].transpose(1, 2, 0).astype(int)
        apart = np.abs(upright(surface) - same)
        assert (apart <= 2 * GREY_LEVEL).all()  # a level of blue's chroma
        assert (apart > 0).mean() < 0.02


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_and_cropped_pictures(tmp_path: Path, turns: int) -> None:
    pictures = [np.ascontiguousarray(np.rot90(colourful(480, 250), -turns))] * 20
    path = encode(tmp_path / "whole.mp4", pictures, rotation=turns * 90)
    assert_same_colours(*both(path))
    edges = {"left": 32, "right": 18, "top": 16, "bottom": 6}
    ours, theirs = both(recrop(path, tmp_path / "a.mp4", **edges))
    assert theirs.pictures[0].row_bytes == -(-pictures[0].shape[1] // 16) * 16
    assert_same_colours(ours, theirs)


def test_full_range_that_nobody_has_seen_is_left_to_the_cpu_s_decoder(tmp_path: Path) -> None:
    info = probe(encode(tmp_path / "a.webm", [colourful(320, 240)] * 8, **VP9, color_range="pc"))
    with pytest.raises(UnsupportedVideoError, match=r"full range, and whether NVDEC.*the CPU's decoder"):
        list(SimulatedDALI().read(info, plan(info)))


def score(pipeline: Pipeline, path: Path) -> tuple[float, str]:
    row = pipeline.predict(path)
    return row.probability, str(row.reason)


def test_the_samples_score_as_on_the_cpu(samples: Path) -> None:
    cpu, gpu = Pipeline(), on_simulated_gpu()
    gpu.decoder = SimulatedDALI()  # which decodes nothing else than as a GPU does
    for path in sorted(samples.glob("*.mp4")):
        (ours, reason), (theirs, same) = score(cpu, path), score(gpu, path)
        assert reason == same
        assert theirs == pytest.approx(ours, abs=BACKEND_SCORE)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["dfl_046_fake", "dfl_049_real", "dfl_085_real", "head_046_real", "dfdc_009_real"])
def test_videos_that_colours_move_most_score_as_on_the_cpu(shared: Path, name: str) -> None:
    (path,) = (shared / "data" / "videos").glob(f"{name}.*")
    gpu = on_simulated_gpu()
    gpu.decoder = SimulatedDALI()
    (ours, reason), (theirs, same) = score(Pipeline(), path), score(gpu, path)
    assert reason == same == "ok"
    assert theirs == pytest.approx(ours, abs=BACKEND_SCORE)
