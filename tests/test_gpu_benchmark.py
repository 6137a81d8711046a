"""What `benchmarks/gpu.py` sets side by side is the same work, and one figure that fails costs no other.

On a pretended GPU: sessions of ONNX Runtime's CPU provider, and PyAV for DALI.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner
from surfaces import pretended_kernels

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import gpu
import gpu_checks
import gpu_colours
import gpu_rates
import whole_job
from simulated import SimulatedDALI

import dfx.crop
from dfx import ops
from dfx.decode.pyav import PyAVDecoder
from dfx.errors import CorruptVideoError, DeviceError, ModelError
from dfx.infer import gpu as sessions
from dfx.infer.gpu import CudaSession
from dfx.infer.session import CPU, GRAPHS, as_graphs
from dfx.ops import cuda
from dfx.pipeline import Pipeline

WIDE = (4, 3, 384, 640)  # four canvases of 1080p, 640x360 pixels, in cells of 32
SQUARE = (4, 3, 640, 640)
CLIP = (1, 4, 3, 280, 280)
TURNED = (4, 3, 96, 96)  # a face in four turns
TORCH = pytest.mark.torch


class OneProcess:
    """A pool whose process is this one, and which gives as many rows as there are jobs."""

    pids = (os.getpid(),)

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, schedule: Any) -> Iterator[tuple[int, None]]:
        while schedule.take():
            yield 0, None


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that sessions on a pretended GPU are bound to, which is done anew for each run but a graph's."""
    seen: list[tuple[int, ...]] = []
    kernels = pretended_kernels()

    class HostSession(CudaSession):
        memory = "cpu"

        def __init__(self, path: Any, _: Any, *rest: Any) -> None:
            super().__init__(path, (CPU, {}), *rest)

        def bind(self, inputs: Any, outputs: Any = None) -> Any:
            seen.extend(array.shape for array in inputs.values())
            return super().bind(inputs, outputs)

    monkeypatch.delenv(GRAPHS, raising=False)
    monkeypatch.setattr(cuda, "kernels", lambda: kernels)
    monkeypatch.setattr(sessions, "CudaSession", HostSession)
    monkeypatch.setattr(Pipeline, "_dali", lambda *_: PyAVDecoder())
    return seen


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip in the challenge's manner, of a second."""
    monkeypatch.setattr(whole_job, "FRAMES", 30)
    return whole_job.challenge_clip(tmp_path / "clip.mp4")


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has what is timed done once."""
    monkeypatch.setattr(gpu, "_timed", lambda work, *_: (work(), 0.002)[1])


def test_the_stages_are_fed_what_the_pipeline_feeds(fed: list[Any], once: None, clip: Path) -> None:
    found = gpu.stages(clip)
    looked = [WIDE, WIDE, WIDE, TURNED]
    assert fed == [*looked, CLIP], "the pipeline looks for faces, then the benchmark does, and it classifies"
    assert (found["canvas"], found["clip"]) == (WIDE, CLIP[1:])
    assert found["detect_4_pictures"] == found["classify_a_clip"] == 2.0


def test_a_stage_is_timed_without_those_before_it(fed: list[Any], clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for module, name in ((ops, "letterbox"), (dfx.crop, "crop_track")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: (made.append(name), real(*given))[1])

    def counted(work: Any, *_: Any) -> float:
        made.clear()
        work()
        return len(made) / 1000

    monkeypatch.setattr(gpu, "_timed", counted)
    found = gpu.stages(clip)
    assert (found["letterbox_4_pictures"], found["crop_a_clip"]) == (1, 1)
    assert (found["detect_4_pictures"], found["classify_a_clip"]) == (0, 0)


@pytest.mark.parametrize(("graphs", "wanted"), [("0", WIDE), ("1", SQUARE)])
def test_a_graph_takes_the_contracts_shape(monkeypatch: pytest.MonkeyPatch, graphs: str, wanted: Any) -> None:
    monkeypatch.setenv(GRAPHS, graphs)
    assert gpu._fed(gpu._contract("detector")) == {"images": wanted}
    assert gpu._fed(gpu._contract("classifier")) == {"clips": CLIP}


def test_each_provider_is_timed_on_the_shapes_that_its_keys_tell(
    fed: list[Any], once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu.nvinfer, "missing", lambda: "no TensorRT")
    found = gpu.providers(tmp_path)
    assert found.pop("tensorrt") == "no TensorRT"
    assert found == dict.fromkeys(
        [
            "detector_cuda_4x3x640x640_ms",
            "detector_cuda_graph_4x3x640x640_ms",
            "detector_cuda_4x3x384x640_ms",
            "classifier_cuda_1x4x3x280x280_ms",
            "classifier_cuda_graph_1x4x3x280x280_ms",
        ],
        2.0,
    )
    assert fed == [SQUARE, *[SQUARE] * 2, WIDE, CLIP, *[CLIP] * 2], "a graph is bound twice"
    assert GRAPHS not in os.environ


def test_an_engine_that_is_refused_costs_no_other_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def building(path: Path, *_: object) -> None:
        if path.name == "detector.onnx":
            raise ModelError("detector.onnx: TensorRT took it in 2 parts")

    def network(name: str, engines: Path | None, *_: object) -> float:
        if engines and name == "detector":
            raise ModelError("there is none")
        return 2.0

    monkeypatch.setattr(gpu.nvinfer, "missing", lambda: None)
    monkeypatch.setattr(gpu.nvinfer, "release", lambda: "10.13.3")
    monkeypatch.setattr(gpu.build, "build", building)
    monkeypatch.setattr(gpu, "_network", network)
    found = gpu.providers(tmp_path)
    assert found["detector_building_s"] == "ModelError: detector.onnx: TensorRT took it in 2 parts"
    assert found["detector_tensorrt_4x3x640x640_ms"] == "ModelError: there is none"
    assert isinstance(found["classifier_building_s"], float)
    numbers = {name for name, value in found.items() if value == 2.0}
    assert {"detector_cuda_4x3x384x640_ms", "detector_cuda_4x3x640x640_ms"} < numbers
    assert {"classifier_tensorrt_1x4x3x280x280_ms", "classifier_tensorrt_graph_1x4x3x280x280_ms"} < numbers


def test_without_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpu.in_torch() == {"torch": "not installed"}


@TORCH
def test_a_torch_that_sees_no_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.in_torch() == {"torch": f"{torch.__version__} sees no GPU"}


@TORCH
def test_torch_is_given_the_pipelines_shapes_and_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def eager(_: Any, net: Any, shape: tuple[int, ...]) -> float:
        given.append((type(net).__name__, shape, torch.backends.cudnn.allow_tf32))
        return 2.0

    given: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(gpu, "_eager", eager)
    found = gpu.in_torch()
    assert given == [("RetinaFace", WIDE, False), ("SteadyNet", CLIP, False)]
    assert found["detector_torch_4x3x384x640_ms"] == found["classifier_torch_1x4x3x280x280_ms"] == 2.0


@TORCH
def test_torchs_classifier_is_as_large_as_the_one_that_ships() -> None:
    from dfx.torch.start import stored_in

    stored = stored_in(gpu.NETWORKS["classifier"][0]).values()
    weights = sum(tensor.numel() for tensor in stored if tensor.is_floating_point() and tensor.ndim)
    net = gpu._nets()["classifier"]
    ours = sum(weight.numel() for weight in (*net.parameters(), *net.buffers()) if weight.ndim)
    assert ours == weights


@pytest.mark.parametrize(("count", "looks"), [(1, 1), (7, 7), (8, 8), (20, 8), (2000, 8)])
def test_memory_is_looked_at_eight_times_or_at_every_video(
    monkeypatch: pytest.MonkeyPatch, count: int, looks: int
) -> None:
    monkeypatch.setattr(gpu_rates, "Pool", OneProcess)
    monkeypatch.setattr(gpu_rates, "_card_memory", lambda pids: 100)
    monkeypatch.setattr(gpu_rates.Busy, "WATCH", ("true",))
    found = gpu_rates.growth(Path("clip.mp4"), count)
    assert found["card_mib"] == (100,) * looks
    assert len(found["worker_mib"]) == looks
    assert found["videos"] == count


HEAD = "# gpu     sm    mem    enc    dec    jpg    ofa \n# Idx      %      %      %      %      %      % \n"


@pytest.mark.parametrize(
    ("said", "shares"),
    [
        (
            f"{HEAD}    0     10      1      0      7      0      0 \n{HEAD}    0     40      2      0      9      - ",
            {"cores_busy_percent": 25, "decoders_busy_percent": 8},
        ),
        (f"{HEAD}    0     10      1      0      -      0      0 ", {"cores_busy_percent": 10}),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver", {}),
        ("", {}),
    ],
    ids=["twice", "no engines", "failed", "nothing"],
)
def test_how_busy_a_card_is(monkeypatch: pytest.MonkeyPatch, said: str, shares: dict[str, float]) -> None:
    monkeypatch.setattr(gpu_rates.Busy, "WATCH", ("sh", "-c", f"cat <<'end'\n{said}\nend\n"))
    busy = gpu_rates.Busy()
    assert busy.end() == {}
    for _ in range(2):
        busy.begin()
    assert busy._process
    busy._process.wait(60)
    assert busy.end() == shares


def test_the_whole_is_timed_with_and_without_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GRAPHS, raising=False)
    monkeypatch.setattr(gpu_rates, "_scored", lambda crews, clip, count: 10.0 * len(crews) + as_graphs())
    found = dict(ChainMap(*gpu_rates.whole(Path("clip.mp4"), 1)))
    assert (found["1 process"], found["4 processes"]) == (10, 40)
    assert found["4 processes, CUDA graphs"] == 41
    assert not as_graphs()


def test_a_long_run_of_nothing_is_refused() -> None:
    done = CliRunner().invoke(gpu.main, ["--long", "7"])
    assert (done.exit_code, "--long" in done.output) == (2, True)
    done = CliRunner().invoke(gpu.main, ["--only", "speed"])
    assert (done.exit_code, "'speed' is not one of 'machine', 'colours'" in done.output) == (2, True)


def test_colours_are_those_of_the_simulation(fed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Knowing(SimulatedDALI):
        knows_range = True

    monkeypatch.setattr(gpu_colours, "_Unbound", lambda lane: Knowing())
    found = gpu_colours.colours(tmp_path)
    assert len(found) == 3 * len(gpu_colours.STILLS)
    assert gpu_checks.verdicts({"colours": found})["colours are the CPU's"]
    monkeypatch.setattr(gpu_colours, "_Unbound", lambda lane: Knowing(rgb=True))
    assert gpu_checks.verdicts({"colours": gpu_colours.colours(tmp_path)})["colours are the CPU's"] is False


def test_clips_of_the_two_are_compared(fed: list[Any], samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "_dali", lambda *_: SimulatedDALI())
    found = gpu_checks.clips(samples, 3)
    assert (found["videos"], found["decoded_on_gpu"], found["refused"]) == (3, 3, {})
    assert found["counts_differ"] == 0
    assert 0 < found["levels"]["mean"] <= found["levels"]["largest"] < 1
    said = gpu_checks.verdicts({"clips": found})
    assert said["NVDEC decodes what it is said to"]
    assert said["clips for training are the CPU's"]


def test_clips_that_the_gpu_did_not_decode_are_not_compared(
    fed: list[Any], samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(SimulatedDALI):
        def _tensor(self, *_: Any) -> Any:
            raise CorruptVideoError("DALI cannot decode it (no attribute)")

    monkeypatch.setattr(Pipeline, "_dali", lambda *_: Failing())
    found = gpu_checks.clips(samples, 3)
    assert (found["videos"], found["decoded_on_gpu"], len(found["refused"]), found["levels"]) == (3, 0, 3, None)
    said = gpu_checks.verdicts({"clips": found})
    assert said["NVDEC decodes what it is said to"] is False
    assert said["clips for training are the CPU's"] is None


def test_the_video_that_is_to_be_broken_is(samples: Path, tmp_path: Path) -> None:
    """The portrait, in whose windows there are other pictures than keyframes, gives another row where they are lost."""
    assert inspect.signature(gpu_checks.broken).parameters["clip"].default.name == "real.mp4"
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes((samples / "real.mp4").read_bytes())
    gpu_checks._damage(damaged)
    whole, left = (dfx.predict_video(path) for path in (samples / "real.mp4", damaged))
    assert (left.reason, len(left.clips)) != (whole.reason, len(whole.clips))


SEEN_WELL: dict[str, Any] = {
    "colours": {"libx264 yuv420p r": {"apart": 0.09}, "libx265 yuv420p10le r": {"apart": 0.4}, "took": 3.0},
    "parity": {
        "videos": 150,
        "identical": 1,
        "probability": {"largest": 0.019},
        "reasons_differ": [],
        "clips_differ": 0,
    },
    "decode": {"dali_1_lanes": 20.0, "dali_4_lanes": 90.0, "dali_8_lanes": "no memory", "pyav_1_core": 400.0},
    "whole": {"1 process": 31.0, "4 processes": 73.0, "8 processes": "no memory", "took": 99.0},
    "memory": {"card_mib": [3000, 3300, 3300, 3350], "worker_mib": [2000, 2390, 2400, 2400]},
    "broken": {
        "alone": {"reason": "ok", "clips": 2, "probability": 0.25},
        "others": [0.25] * 8,
        "damaged": {"reason": "ok", "clips": 1, "probability": 0.301},
        "on_cpu": {"reason": "ok", "clips": 1, "probability": 0.3},
    },
    "clips": {
        "decoded_on_gpu": 30,
        "refused": {"a.webm": "UnsupportedVideoError: hidden"},
        "counts_differ": 0,
        "levels": {"mean": 0.1},
    },
    "sanitizer": {"status": 0, "errors": 0, "passed": 80},
}


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("colours", {"libx264 yuv420p r": {"apart": 0.2}}),
        ("colours", {"libx265 yuv420p error": "CorruptVideoError: no picture"}),
        ("parity", {"probability": {"largest": 0.021}}),
        ("parity", {"reasons_differ": ["a.mp4: ok corrupt"]}),
        ("parity", {"clips_differ": 1}),
        ("parity", {"identical": 120}),
        ("whole", {"4 processes": 71.0}),
        ("whole", {"4 processes": "no memory"}),
        ("whole", {"error": "RuntimeError"}),
        ("memory", {"card_mib": [3000, 3300, 3300, 3500]}),
        ("memory", {"worker_mib": [2000, 2390, 2520, 2400]}),
        ("broken", {"others": [0.25] * 7 + [0.26]}),
        ("broken", {"damaged": {"reason": "ok", "clips": 2, "probability": 0.3}}),
        ("broken", {"damaged": {"reason": "ok", "clips": 1, "probability": 0.4}}),
        ("broken", {"alone": {"reason": "ok", "clips": 1, "probability": 0.25}}),
        ("broken", {"alone": {"reason": "crashed", "clips": 0, "probability": 0.25}}),
        ("clips", {"refused": {"a.mp4": "CorruptVideoError: DALI cannot"}}),
        ("clips", {"counts_differ": 1}),
        ("clips", {"levels": {"mean": 0.6}}),
        ("sanitizer", {"errors": 2}),
    ],
)
def test_what_does_not_hold_is_said(part: str, changed: dict[str, Any]) -> None:
    assert set(gpu_checks.verdicts(SEEN_WELL).values()) == {True}
    said = gpu_checks.verdicts({**SEEN_WELL, part: {**SEEN_WELL[part], **changed}})
    assert sorted(map(str, said.values())) == ["False"] + ["True"] * 7


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("sanitizer", {"missing": "it is not on the path"}),
        ("sanitizer", {"errors": None}),
        ("sanitizer", {"passed": 0}),
        ("clips", {"levels": None}),
    ],
)
def test_what_was_not_seen_is_not_said_to_fail(part: str, changed: dict[str, Any]) -> None:
    said = gpu_checks.verdicts({**SEEN_WELL, part: {**SEEN_WELL[part], **changed}})
    assert sorted(map(str, said.values())) == ["None"] + ["True"] * 7


@pytest.mark.parametrize("part", ["colours", "parity", "broken", "sanitizer", "memory", "decode"])
def test_what_was_cut_is_not_said_to_fail(part: str) -> None:
    said = gpu_checks.verdicts({**SEEN_WELL, part: {"unfinished": "not done after 60 s", "took": 60.1}})
    assert sorted(map(str, said.values())) == ["None"] + ["True"] * 7


@pytest.mark.parametrize(
    ("whole", "decode", "held"),
    [
        ({"4 processes": 73.0, "unfinished": "cut"}, {"dali_4_processes": 90.0, "unfinished": "cut"}, True),
        ({"4 processes": 71.0, "unfinished": "cut"}, {"dali_4_processes": 90.0}, False),
        ({"unfinished": "cut", "took": 9.0}, {"dali_4_processes": 90.0}, None),
        ({"4 processes": 73.0}, {"frames_a_video": 8, "unfinished": "cut"}, None),
        ({"2 processes": 73.0, "unfinished": "cut"}, {"dali_4_processes": 90.0}, None),
    ],
)
def test_what_came_before_a_part_was_cut_is_judged(
    whole: dict[str, Any], decode: dict[str, Any], held: bool | None
) -> None:
    said = gpu_checks.verdicts({**SEEN_WELL, "whole": whole, "decode": decode})
    assert said["the whole reaches 80% of decoding"] is held


def test_what_was_not_run_is_not_called_seen() -> None:
    assert set(gpu_checks.verdicts({}).values()) == {None}


def test_figures_of_another_card_are_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    out.write_text(json.dumps({"machine": {"card": "NVIDIA P100"}}))
    done = CliRunner().invoke(gpu.main, ["--only", "machine", "--out", str(out)])
    assert (done.exit_code, "has figures of 'NVIDIA P100'" in done.output) == (2, True)


def test_the_cause_of_a_lane_that_fails_is_told(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: int) -> None:
        raise DeviceError("cuMemAlloc: the cause")

    monkeypatch.setattr(gpu_rates.cuda, "Lane", failing)
    with pytest.raises(DeviceError, match="the cause"):
        gpu_rates._dali(gpu_rates.work_of(clip), 4, 3)
