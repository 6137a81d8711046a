"""What ONNX Runtime's providers for NVIDIA's GPUs are told, by the names and values of ONNX Runtime 1.26 and later.

Both are checked: tests/test_provider_options.py holds them against the documentation, and has onnxruntime-gpu itself
parse them where it is installed; 1.26.0, 1.27.0 and 1.31.1 were seen to take them. TensorRT's provider takes its
switches as "True" and "False", CUDA's as "1" and "0".
"""

from __future__ import annotations

from pathlib import Path

from dfx.infer.contract import Shapes
from dfx.ops.cuda import Lane

Options = dict[str, str]


def cuda_options(lane: Lane, *, graphs: bool = False) -> Options:
    """To run on the lane's stream, by the CUDA provider.

    Heuristic choice of cuDNN's algorithms, so that a new size of picture costs no search; an arena that takes what it
    needs and no powers of two, since many lanes share a card. TF32 is off: scores must be the CPU's within the
    tolerance.
    """
    return {
        "device_id": str(lane.device),
        "user_compute_stream": str(lane.stream),
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    } | ({"enable_cuda_graph": "1"} if graphs else {})


def tensorrt_options(lane: Lane, *, graphs: bool = False) -> Options:
    """To run an engine on the lane's stream. Shapes and precision are the engine's own."""
    return {
        "device_id": str(lane.device),
        "user_compute_stream": str(lane.stream),
    } | ({"trt_cuda_graph_enable": "True"} if graphs else {})


def building_options(gpu: int, shapes: Shapes, out: Path) -> Options:
    """To build an engine for the ordinal of a GPU, and to write it to `out` as an ONNX file with the engine inside.

    The precision is the graph's: no flag lowers it.
    """
    profile = profile_of(shapes)
    return {
        "device_id": str(gpu),
        "trt_profile_min_shapes": profile,
        "trt_profile_opt_shapes": profile,
        "trt_profile_max_shapes": profile,
        "trt_dump_ep_context_model": "True",
        "trt_ep_context_file_path": str(out),
        "trt_ep_context_embed_mode": "1",
    }


def profile_of(shapes: Shapes) -> str:
    """Shapes as TensorRT's provider reads them: "images:4x3x640x640"; several inputs are parted by commas."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
