"""Every option that ONNX Runtime is told, held against its documentation and against its own parsers.

The providers' libraries parse their options before they touch a GPU. Where onnxruntime-gpu is installed, or a Python
that has it is named, they are loaded with stand-ins for NVIDIA's libraries and do so on any machine:

    DFX_ORT_GPU_PYTHON=gpu/bin/python python -m pytest tests/test_provider_options.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest
import stand_ins

from dfx.infer.options import building_options, cuda_options, profile_of, tensorrt_options
from dfx.infer.session import CUDA, TENSORRT
from dfx.settings import Settings

LANE = SimpleNamespace(device=0, stream=1234)
SHAPES = {"images": (4, 3, 640, 640), "clips": (1, 8, 3, 160, 160)}
PROFILE = "images:4x3x640x640,clips:1x8x3x160x160"
FLAG, WORD, NUMBER, TEXT = {"0", "1"}, {"True", "False"}, "a number", "text"

# onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html, "Configuration Options", as of 1.23
DOCUMENTED_CUDA = {
    "device_id": NUMBER,
    "user_compute_stream": NUMBER,
    "cudnn_conv_algo_search": {"EXHAUSTIVE", "HEURISTIC", "DEFAULT"},
    "arena_extend_strategy": {"kNextPowerOfTwo", "kSameAsRequested"},
    "use_tf32": FLAG,
    "enable_cuda_graph": FLAG,
}
# onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html, "Configurations", as of 1.22. That Python
# takes switches as True and False, and a stream without `has_user_compute_stream`, is in onnxruntime_pybind_state.cc.
DOCUMENTED_TENSORRT = {
    "device_id": NUMBER,
    "user_compute_stream": NUMBER,
    "trt_profile_min_shapes": {PROFILE},
    "trt_profile_opt_shapes": {PROFILE},
    "trt_profile_max_shapes": {PROFILE},
    "trt_dump_ep_context_model": WORD,
    "trt_ep_context_file_path": TEXT,
    "trt_ep_context_embed_mode": FLAG,
    "trt_cuda_graph_enable": WORD,
}
# onnxruntime_session_options_config_keys.h and onnxruntime_run_options_config_keys.h of 1.26
DOCUMENTED_KEYS = (
    "session.disable_cpu_ep_fallback",
    "session.record_ep_graph_assignment_info",
    "gpu_graph_id",
)
TOLD = {
    "cuda": (CUDA, cuda_options(LANE)),
    "cuda, graphs": (CUDA, cuda_options(LANE, graphs=True)),
    "tensorrt": (TENSORRT, tensorrt_options(LANE)),
    "tensorrt, graphs": (TENSORRT, tensorrt_options(LANE, graphs=True)),
    "building": (TENSORRT, building_options(0, SHAPES, Path("context.onnx"))),
}
WRONG = {
    "a name of cuda": (CUDA, {"cudnn_conv_algo": "HEURISTIC"}),
    "a value of cuda": (CUDA, {"cudnn_conv_algo_search": "FAST"}),
    "a flag of cuda": (CUDA, {"use_tf32": "off"}),
    "a name of tensorrt": (TENSORRT, {"trt_fast": "True"}),
    "the C interface's name": (TENSORRT, {"has_user_compute_stream": "1"}),
    "a flag of tensorrt as cuda has it": (TENSORRT, {"trt_cuda_graph_enable": "1"}),
    "a mode": (TENSORRT, {"trt_ep_context_embed_mode": "True"}),
    "a profile": (TENSORRT, {f"trt_profile_{which}_shapes": "clips=1,8" for which in ("min", "opt", "max")}),
}


@pytest.mark.parametrize(("provider", "options"), TOLD.values(), ids=TOLD)
def test_names_and_values_are_documented(provider: str, options: dict[str, str]) -> None:
    documented = DOCUMENTED_CUDA if provider == CUDA else DOCUMENTED_TENSORRT
    assert options.keys() <= documented.keys()
    for name, value in options.items():
        allowed = documented[name]
        assert value.isdigit() if allowed == NUMBER else allowed == TEXT or value in allowed


def test_every_documented_option_here_is_one_that_dfx_uses() -> None:
    """The tables above must not grow stale."""
    used = {name for _, options in TOLD.values() for name in options}
    assert used == DOCUMENTED_CUDA.keys() | DOCUMENTED_TENSORRT.keys()


def test_a_profile_is_written_as_the_provider_reads_it() -> None:
    assert profile_of(SHAPES) == PROFILE


def test_the_session_and_run_keys_are_known_to_the_build_that_is_installed() -> None:
    """ONNX Runtime takes any key without a word, so a wrong one would be silent."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    libraries = [path.read_bytes() for path in folder.glob("onnxruntime_pybind11_state*")]
    for key in DOCUMENTED_KEYS:
        assert any(key.encode() in content for content in libraries), key


@pytest.fixture(scope="module")
def gpu_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A Python with onnxruntime-gpu, and the folder of stand-ins that it is to load."""
    python = os.environ.get("DFX_ORT_GPU_PYTHON", sys.executable)
    asked = "import onnxruntime as o; print(o.__file__, 'Tensor' in str(o.get_available_providers()))"
    place, has = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    if has != "True" or not stand_ins.TOOLS:
        reason = "needs onnxruntime-gpu (or DFX_ORT_GPU_PYTHON, a Python that has it), cc and binutils"
        (pytest.fail if os.environ.get("DFX_REQUIRE_GPU") == "1" else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("stand-ins")
    stand_ins.for_onnxruntime(Path(place).parent / "capi", folder)
    return python, folder


def parse(gpu_python: tuple[str, Path], provider: str, options: dict[str, str]) -> tuple[bool, str]:
    """Whether the provider took all options and came to NVIDIA's first call; and what it said."""
    python, folder = gpu_python
    script = Path(__file__).with_name("parse_options.py")
    done = subprocess.run(
        [python, str(script), str(Settings().models[0]), provider, json.dumps(options)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
    )
    said = done.stdout + done.stderr
    complaint = "provider option" in said  # a warning alone, of a profile that it cannot read
    return done.returncode == stand_ins.REACHED and not complaint, said[-800:]


@pytest.mark.parametrize(("provider", "options"), TOLD.values(), ids=TOLD)
def test_the_provider_itself_takes_them(gpu_python: tuple[str, Path], provider: str, options: dict[str, str]) -> None:
    taken, said = parse(gpu_python, provider, options)
    assert taken, said


@pytest.mark.parametrize(("provider", "options"), WRONG.values(), ids=WRONG)
def test_the_provider_refuses_what_is_wrong(
    gpu_python: tuple[str, Path], provider: str, options: dict[str, str]
) -> None:
    """So that the test above can fail, and for no other reason."""
    taken, said = parse(gpu_python, provider, options)
    assert not taken
    assert "Failed to load library" not in said
