"""How far scores on a GPU would be from the CPU's, as far as a CPU can tell: DALI's colours and the GPU's canvases.

Example:
    python benchmarks/gpu_colours.py ../shared/data/videos --out benchmarks/results/gpu_colours.json

DALI's conversion is done as it was seen to be done on an H200, with flat colours: chroma is interpolated and rounded to
whole levels, its zero is 127.5, the matrix is BT.601's, and red, green and blue are rounded. Each video is scored as
the CPU does it, with those colours as they are, and with the offset that `dfx.decode.dali` has for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dfx.decode.dali import OFFSET
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.find import find
from dfx.pipeline import Pipeline
from dfx.settings import HOST
from dfx.values import NO_OFFSET, Frames, Pixels, Plan, Planes, Surface, VideoInfo

CAPABILITY = (9, 0)  # of an H100
ALLOWED = 0.02  # of probability, between backends
Offset = tuple[float, float, float]


class AsDALI:
    """The CPU's decoder, the pictures that a GPU would decode converted as DALI does it."""

    def __init__(self, offset: Offset) -> None:
        self._decoder, self._offset = PyAVDecoder(), offset

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """As every decoder."""
        if suits(info, CAPABILITY) is not None:
            yield from self._decoder.read(info, plan)
            return
        for frames in self._decoder.read(info, plan):
            yield replace(frames, pictures=tuple(map(self._converted, frames.pictures)))

    def _converted(self, planes: Planes | Surface) -> Planes | Surface:
        assert isinstance(planes, Planes)
        rgb = by_dali(planes)
        height, width, _ = rgb.shape
        return Surface(rgb.ctypes.data, width, height, 0, HOST, rgb, offset=self._offset)


def by_dali(planes: Planes) -> Pixels:
    """RGB uint8 [H, W, 3]."""
    luma, chroma = (1.0, 1.0) if planes.full_range else (255 / 219, 255 / 224)
    y = luma * (planes.y.astype(np.float32) - (0 if planes.full_range else 16))
    u, v = (chroma * (_enlarged(plane, planes) - 127.5) for plane in (planes.u, planes.v))
    rgb = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=2)
    return np.ascontiguousarray(np.clip(np.rint(rgb), 0, 255).astype(np.uint8))


def _enlarged(plane: NDArray[np.generic], planes: Planes) -> NDArray[np.float32]:
    size = planes.width, planes.height
    return np.rint(cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_LINEAR))


def _scores(paths: list[Path], offset: Offset | None) -> dict[str, float]:
    """offset: None for the CPU's own way."""
    pipeline = Pipeline()
    if offset is not None:
        pipeline.decoder = AsDALI(offset)
        pipeline.detector._on_gpu = True
    return {path.name: pipeline.predict(path).probability for path in tqdm(paths)}


@click.command()
@click.argument("videos", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), default="gpu_colours.json", show_default=True)
def main(videos: Path, out: Path) -> None:
    """Score VIDEOS three times and write how far apart the scores are to OUT."""
    cv2.setNumThreads(1)
    paths = [found.path for found in find(videos) if found.path]
    cpu, report = _scores(paths, None), {}
    for name, offset in (("as DALI gives them", NO_OFFSET), ("with the offset", OFFSET)):
        scores = _scores(paths, offset)
        apart = {name: abs(scores[name] - cpu[name]) for name in cpu}
        worst = sorted(apart, key=lambda name: -apart[name])[:10]
        report[name] = {
            "videos": len(apart),
            "median": median(apart.values()),
            "beyond": sum(value > ALLOWED for value in apart.values()),
            "worst": {name: round(apart[name], 4) for name in worst},
        }
        click.echo(json.dumps({name: report[name]}, indent=1))
    out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
