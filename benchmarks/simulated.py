"""How far scores on a GPU are from the CPU's, as far as a CPU can tell.

Example:
    python benchmarks/simulated.py ../shared/data/videos --json benchmarks/results/simulated.json

What NVDEC would decode, FFmpeg does, out of the very bytes that DALI would be given; RGB is made of it as DALI does
(`dfx.ops.reference.mixed`), planes of that RGB by the kernels' own code, and faces are sought and cut as on a GPU, by
that code too. Left out are the roundings of a GPU's networks, and videos that are the CPU's on a GPU too. Each video is
also scored on DALI's RGB as it is, which says what planes are made for.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import av
import click
import numpy as np
from apart import Figures
from figures import json_option, publish
from numpy.typing import NDArray
from tqdm import tqdm

from dfx.decode.cut import Cut
from dfx.decode.dali import DALIDecoder, planar, rgb_surface
from dfx.errors import CorruptVideoError
from dfx.find import find
from dfx.info import VideoInfo
from dfx.ops import reference, unmix
from dfx.pipeline import Pipeline
from dfx.settings import HOST
from dfx.values import Pixels, Planes, Prediction, Surface

CAPABILITY = (9, 0)  # of an H100
ALLOWED = 0.02  # of probability, between backends


class SimulatedDALI(DALIDecoder):
    """The decoder of a GPU, its surfaces on the host, without DALI."""

    def __init__(self, rgb: bool = False) -> None:
        self._lane, self._pixels, self._capability, self._rgb = None, None, CAPABILITY, rgb
        self.served: dict[Path, str] = {}  # the codec of each video that was decoded as on a GPU

    def _tensor(self, info: VideoInfo, part: Cut, wanted: Sequence[int]) -> Pixels:
        """uint8 [frames, height, width, 3], as DALI gives them."""
        try:
            with av.open(io.BytesIO(part.data.tobytes()), "r") as container:
                pictures = [frame.to_ndarray() for frame in container.decode(video=0)]
        except av.error.FFmpegError as error:
            raise CorruptVideoError(str(error)) from error
        packets = len(part.places) + bool(part.seal)
        if len(pictures) != packets:
            raise CorruptVideoError(f"{len(pictures)} pictures of {packets} packets")
        self.served[info.path] = info.codec
        return np.stack([reference.mixed(_as_nv12(pictures[place], part)) for place in wanted])

    def _pictures(self, info: VideoInfo, part: Cut, decoded: Any) -> Iterator[Surface]:
        if self._rgb:
            return (rgb_surface(info, part.shape, decoded.ctypes.data, place, decoded) for place in range(len(decoded)))
        planes = unmix(decoded, part.full_range)
        return planar(info, part, planes.ctypes.data, len(planes), HOST, planes)


def _as_nv12(samples: NDArray[Any], part: Cut) -> Planes:
    """Planes one after the other, uint8 or uint16 with 10 bits, in 8 bits, as NVDEC hands them on."""
    high, wide = part.shape.coded_height, part.shape.coded_width
    tens = samples.dtype == np.uint16
    levels = np.minimum((samples + 2) >> 2, 255).astype(np.uint8).ravel() if tens else samples.ravel()
    y, u, v = np.split(levels, [high * wide, high * wide * 5 // 4])
    small = (high // 2, wide // 2)
    return Planes(y.reshape(high, wide), u.reshape(small), v.reshape(small), 8, "unknown", part.full_range)


def on_simulated_gpu(rgb: bool = False) -> Pipeline:
    """A pipeline that works as on a GPU, but for its networks' sums. rgb: on DALI's RGB, in place of planes."""
    pipeline = Pipeline()
    pipeline.gpu_decoder, pipeline._capability = SimulatedDALI(rgb), CAPABILITY
    pipeline.detector._on_gpu = True
    return pipeline


@cache
def _pipelines() -> list[Pipeline]:
    return [Pipeline(), on_simulated_gpu(), on_simulated_gpu(rgb=True)]


def _scored(path: Path) -> tuple[list[Prediction], str | None]:
    """The rows of all pipelines; the video's codec, where it was decoded as on a GPU."""
    pipelines = _pipelines()
    rows, simulated = [pipeline.predict(path) for pipeline in pipelines], pipelines[1].gpu_decoder
    assert isinstance(simulated, SimulatedDALI)
    return rows, simulated.served.get(path)


@click.command()
@click.argument("videos", type=click.Path(path_type=Path, exists=True))
@click.option("--workers", default=2, show_default=True)
@json_option
def main(videos: Path, workers: int, out: Path | None) -> None:
    """Score VIDEOS on the CPU and as on a GPU, and say how far apart the scores are."""
    paths = [found.path for found in find(videos) if found.path]
    with ProcessPoolExecutor(workers) as pool:
        scored = list(tqdm(pool.map(_scored, paths), total=len(paths)))
    cpu, planes, rgb = zip(*(rows for rows, codec in scored if codec), strict=True)
    codecs = Counter(codec for _, codec in scored if codec)
    found = {"planes": compared(cpu, planes), "rgb": compared(cpu, rgb)}
    publish({"videos": len(paths), "as_on_a_gpu": codecs, **found}, out)


def compared(cpu: Sequence[Prediction], gpu: Sequence[Prediction]) -> Figures:
    """How far probabilities and mean logits are apart."""
    pairs = list(zip(cpu, gpu, strict=True))
    apart = {ours.filename: abs(ours.probability - theirs.probability) for ours, theirs in pairs}
    logits = [abs(_logit(a) - _logit(b)) for a, b in pairs if a.clips and b.clips]
    worst = sorted(apart, key=lambda name: -apart[name])[:10]
    return {
        "videos": len(pairs),
        "reasons_differ": [f"{a.filename}: {a.reason} {b.reason} {b.detail}" for a, b in pairs if a.reason != b.reason],
        "identical": sum(bool(a.clips) and a.clips == b.clips for a, b in pairs),
        "clips_differ": sum(len(a.clips) != len(b.clips) for a, b in pairs),
        "probability": {"median": median(apart.values()), "largest": max(apart.values())},
        "beyond": {str(bound): sum(value > bound for value in apart.values()) for bound in (ALLOWED / 2, ALLOWED)},
        "logit": {"median": median(logits), "largest": max(logits)},
        "worst": {name: round(apart[name], 4) for name in worst},
    }


def _logit(row: Prediction) -> float:
    return float(np.mean([clip.logit for clip in row.clips]))


if __name__ == "__main__":
    main()
