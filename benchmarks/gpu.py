"""Proves and times dfx on a GPU: parity with the CPU, each stage, decoding alone, the whole, memory in a long run, a
broken video, clips for training, the kernels under compute-sanitizer. The last lines say which points hold.

Example:
    python benchmarks/gpu.py --videos ../shared/data/videos --out benchmarks/results/gpu.json

Each part has a process of its own, which may end and costs the others nothing, and its figures are written as soon as
it has them, so that a run that is cut keeps what it had. Without --videos the samples that ship are used; speed is
measured on ten-second 1080p clips in the challenge's manner, made here. `--limit 150 --within 540` suits a card that is
there for ten minutes.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import click
import gpu_checks
import gpu_colours
import gpu_peers
import gpu_rates
import numpy as np
from apart import Figures, Part, apart
from figures import machine, write
from gpu_rates import figure, run_as_graphs, work_of
from simulated import compared
from whole_job import HEIGHT, WIDTH, challenge_clip

import dfx
from dfx import ops
from dfx.crop import crop_middle
from dfx.demo import SAMPLES
from dfx.device import choose
from dfx.infer import ClassifierContract, DetectorContract, build, nvinfer, open_session
from dfx.infer.contract import PICTURES, Contract, Shapes
from dfx.infer.session import as_graphs
from dfx.ops import cuda
from dfx.pipeline import Pipeline
from dfx.settings import Settings
from dfx.upright import SIDE
from dfx.values import Frames

LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libcudnn.so.9")
NETWORKS: dict[str, tuple[Path, type[Contract]]] = {
    "detector": (Settings().detector, DetectorContract),
    "classifier": (Settings().models[0], ClassifierContract),
}
LEAST = 20.0  # seconds without which a part is not begun, and which each leaves to those that follow it
SEEN = {True: "holds", False: "FAILS", None: "not seen"}


def facts() -> Figures:
    """The card, its driver, and which of NVIDIA's libraries can be loaded."""
    return {
        "card": _card(),
        "choice": choose("cuda").why,
        "tensorrt": _lacking() or nvinfer.release(),
        "libraries": {name: _loads(name) for name in LIBRARIES},
        "machine": machine(),
    }


def _lacking() -> str:
    """What TensorRT lacks, without the mend, which names a folder of this machine."""
    return (nvinfer.missing() or "").partition(":")[0]


def _card() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
    with suppress(FileNotFoundError):
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return "no nvidia-smi"


def _loads(name: str) -> bool:
    with suppress(OSError):
        return bool(ctypes.CDLL(name))
    return False


def parity(videos: Path, work: Path) -> Figures:
    """Every video on the CPU and on the GPU: how far probabilities and mean logits are apart."""
    cpu = dfx.predict_dir(videos, work / "cpu.csv", device="cpu", progress=False)
    gpu = dfx.predict_dir(videos, work / "gpu.csv", device="cuda:0", progress=False)
    return compared(cpu, gpu)


def stages(clip: Path) -> Figures:
    """Median milliseconds of each stage alone on one stream, for one window of a 1080p clip, as the pipeline has it.

    What a stage is given, the stages before have made before its clock starts. The detector is also timed in turn on
    its two shapes, the canvas and a face in four turns, as a window brings them.
    """
    pipeline = Pipeline(device=0)
    lane, decoder, detector, classifier = pipeline._lane, pipeline.gpu_decoder, pipeline.detector, pipeline.classifier
    assert lane is not None
    assert decoder is not None
    with lane:
        frames = next(iter(decoder.read(*work_of(clip))))
        track = pipeline._follow(frames)[0].track
        letterbox, crop = _inputs(frames, pipeline)
        canvas, face, small = letterbox(), crop(track), np.asarray(crop_middle(frames, track, SIDE))
        found = {
            "detect_4_pictures": _timed(lambda: detector._run(canvas), lane),
            "detect_4_and_by_turn": _timed(lambda: (detector._run(canvas), detector.by_turn(small)), lane),
            "unmix_4_pictures": _timed(_unmixing(lane), lane),
            "letterbox_4_pictures": _timed(letterbox, lane),
            "crop_a_clip": _timed(lambda: crop(track), lane),
            "classify_a_clip": _timed(lambda: classifier.score([[face]]), lane),
        }
    shapes = {"canvas": canvas.shape, "clip": face.shape}
    return shapes | {name: round(1000 * seconds, 3) for name, seconds in found.items()}


def _inputs(frames: Frames, pipeline: Pipeline) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    from dfx.crop import crop_track

    count, _, height, width = _fed(pipeline.detector.contract)["images"]
    pictures = [frames.pictures[n % len(frames)] for n in range(count)]
    contract = pipeline.classifier.contract
    return lambda: ops.letterbox(pictures, height, width), lambda track: crop_track(frames, track, contract)


def _unmixing(lane: cuda.Lane) -> Callable[[], Any]:
    """Planes of RGB, as 1080p is coded."""
    rgb = cuda.upload(np.zeros((PICTURES, -(-HEIGHT // 16) * 16, WIDTH, 3), np.uint8), lane)
    return lambda: ops.unmix(rgb, full_range=False)


def _fed(contract: Contract) -> Shapes:
    """What the pipeline feeds a network on a GPU for a 1080p video: as a CUDA graph the contract's own shapes, and else
    the detector's canvas is no larger than the picture's own."""
    if isinstance(contract, ClassifierContract) or as_graphs():
        return contract.shapes
    box = ops.letterbox_geometry(WIDTH, HEIGHT, contract.long_side)
    return {"images": (PICTURES, 3, box.height, box.width)}


def _contract(name: str) -> Contract:
    path, kind = NETWORKS[name]
    return kind.read(open_session(path, kind).metadata, str(path))


def _named(shapes: Shapes) -> str:
    """As 4x3x640x640."""
    return "_".join("x".join(map(str, shape)) for shape in shapes.values())


def _timed(work: Callable[[], Any], lane: cuda.Lane, repeats: int = 50) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        lane.synchronize()
        seconds.append(time.perf_counter() - started)
    return median(seconds[repeats // 5 :])


def in_torch() -> Figures:
    """Median milliseconds of the same networks in torch eager, on the same card, where torch is installed.

    To be held beside what `providers` gives for CUDA's provider and the same shape: FP32 both, TF32 in neither.
    """
    try:
        import torch
    except ImportError:
        return {"torch": "not installed"}
    if not torch.cuda.is_available():
        return {"torch": f"{torch.__version__} sees no GPU"}
    torch.backends.cudnn.allow_tf32 = False  # True unless told; dfx tells ONNX Runtime the same
    found: Figures = {"torch": torch.__version__}
    for name, net in _nets().items():
        shapes = _fed(_contract(name))
        found[f"{name}_torch_{_named(shapes)}_ms"] = figure(_eager, torch, net, *shapes.values())
    return found


def _nets() -> dict[str, Any]:
    """The networks that ship as torch has them, by chance's weights, which take the same time."""
    from dfx.torch.clipnet import ClipNet, design_of
    from dfx.torch.mesonet import MesoNet
    from dfx.torch.retinaface import RetinaFace
    from dfx.torch.start import stored_in
    from dfx.torch.steady import SteadyNet

    design = design_of(stored_in(NETWORKS["classifier"][0]))
    return {"detector": RetinaFace(), "classifier": SteadyNet(ClipNet(design), MesoNet())}


def _eager(torch: Any, net: Any, shape: tuple[int, ...], repeats: int = 50) -> float:
    """Milliseconds."""
    net, pixels, seconds = net.cuda().eval(), torch.zeros(shape, dtype=torch.uint8, device="cuda"), []
    with torch.no_grad():
        for _ in range(repeats):
            started = time.perf_counter()
            net(pixels)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds[repeats // 5 :])


def providers(work: Path) -> Figures:
    """Median milliseconds of each network alone, by CUDA's provider and TensorRT's, plainly and as a CUDA graph.

    A key tells the shape. Engines and graphs take the contract's alone, which is a square canvas; CUDA's provider takes
    what the pipeline feeds it, and is timed on both. Building the engines takes minutes; where TensorRT is missing, its
    figures are the reason.
    """
    missing, engines = _lacking(), work / "engines"
    found: Figures = {"tensorrt": missing or nvinfer.release()}
    for name in NETWORKS:
        found |= _alone(name, "cuda", None)
        if not missing:
            found[f"{name}_building_s"] = figure(_building, name, engines)
            found |= _alone(name, "tensorrt", engines)
    return found


def _alone(name: str, provider: str, engines: Path | None) -> Figures:
    contract = _contract(name)
    fed, fixed = _fed(contract), contract.shapes
    ways = {f"{provider}_{_named(fixed)}": (fixed, False), f"{provider}_graph_{_named(fixed)}": (fixed, True)}
    if engines is None:
        ways[f"{provider}_{_named(fed)}"] = (fed, False)  # the classifier's are one and the same
    return {f"{name}_{way}_ms": figure(_network, name, engines, *ways[way]) for way in ways}


def _building(name: str, engines: Path) -> float:
    """Seconds."""
    started = time.perf_counter()
    build.build(NETWORKS[name][0], engines, 0)
    return time.perf_counter() - started


def _network(name: str, engines: Path | None, shapes: Shapes, graphs: bool) -> float:
    """Milliseconds."""
    path, kind = NETWORKS[name]
    with run_as_graphs(graphs), cuda.Lane(0) as lane:
        session = open_session(path, kind, lane=lane, engines=engines)
        inputs = {name: cuda.upload(np.zeros(shape, np.uint8), lane) for name, shape in shapes.items()}
        return 1000 * _timed(lambda: session.run(inputs), lane, 200)


def peers(clip: Path) -> Figures:
    """Videos a second by others that decode on a GPU, where they are installed."""
    return gpu_peers.rates(*work_of(clip))


# a part's name: what does it, and what of the bench it is given
PARTS: dict[str, tuple[Part, tuple[str, ...]]] = {
    "machine": (facts, ()),
    "colours": (gpu_colours.colours, ("work",)),
    "parity": (parity, ("videos", "work")),
    "broken": (gpu_checks.broken, ("work",)),
    "clips": (gpu_checks.clips, ("videos",)),
    "sanitizer": (gpu_checks.sanitizer, ()),
    "stages": (stages, ("clip",)),
    "decode": (gpu_rates.decoding, ("clip", "count")),
    "whole": (gpu_rates.whole, ("clip", "count")),
    "providers": (providers, ("work",)),
    "torch": (in_torch, ()),
    "memory": (gpu_rates.growth, ("clip", "long")),
    "peers": (peers, ("clip",)),
}


@click.command()
@click.option("--videos", type=click.Path(path_type=Path, exists=True), default=SAMPLES, help="For parity.")
@click.option("--out", type=click.Path(path_type=Path), default="gpu.json", show_default=True)
@click.option("--count", default=160, show_default=True, help="1080p clips of one timing.")
@click.option("--long", type=click.IntRange(8), default=2000, show_default=True, help="Clips while memory is watched.")
@click.option(
    "--only", multiple=True, type=click.Choice([*PARTS]), help="Parts to run, in this order; all unless told."
)
@click.option("--limit", default=900.0, show_default=True, help="Seconds that one part may take.")
@click.option("--within", default=3600.0, show_default=True, help="Seconds in which all must end.")
def main(videos: Path, out: Path, count: int, long: int, only: tuple[str, ...], limit: float, within: float) -> None:
    """Run every part, print its figures, write them to OUT; with --only, beside what is there of the same card."""
    deadline = time.monotonic() + within
    figures = _earlier(out) if only else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench = {"videos": videos, "work": work, "count": count, "long": long}
        bench["clip"] = challenge_clip(work / "clip.mp4")
        names = only or tuple(PARTS)
        for place, name in enumerate(names):
            part, wanted = PARTS[name]
            left, others = deadline - time.monotonic(), LEAST * len(names[place + 1 :])
            seconds = min(limit, max(LEAST, left - others))
            none = {"unfinished": "no time was left"}
            figures[name] = apart(part, tuple(bench[each] for each in wanted), seconds) if left >= LEAST else none
            click.echo(json.dumps({name: figures[name]}, indent=1))
            write(figures, out)
    now = {name: figures[name] for name in names}
    points = gpu_checks.verdicts(now)
    click.echo("\n".join(f"{SEEN[held]:<8}  {point}" for point, held in points.items()))
    sys.exit(False in points.values() or any({"error", "unfinished"} & set(part) for part in now.values()))


def _earlier(out: Path) -> Figures:
    """What is in the file; raises UsageError where that is of another card."""
    figures: Figures = json.loads(out.read_text()) if out.exists() else {}
    card = figures.get("machine", {}).get("card", "")
    if card != _card() and card:
        raise click.UsageError(f"{out} has figures of {card!r}, and here is {_card()!r}: name another file with --out")
    return figures


if __name__ == "__main__":
    main()
