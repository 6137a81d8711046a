"""What becomes of the scores where a video was filmed for high dynamic range (HDR), as phones do it.

Example:
    python benchmarks/hdr.py ../shared/data/videos --json benchmarks/results/hdr.json

No video that was filmed both ways is at hand. So the pictures of the labelled ones are made what a camera for HDR would
have filmed of the same light: the inverse of `dfx.colour.as_sdr`, with 10 bits, after decoding. They are scored as dfx
sees them, and as they would look if it took them for ordinary video.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from altered import Altering, scored
from figures import json_option, publish
from numpy.typing import NDArray

from dfx.colour import C1, C2, C3, GAMMA, KNEE, LUMA, M1, M2, PEAK, SDR_MATRIX, TO_709, WHITE, A, B, C, from_luma
from dfx.decode import Decoder
from dfx.decode.pyav import PyAVDecoder
from dfx.ops.geometry import subsampling
from dfx.settings import Limits
from dfx.values import Planes, Transfer

Values = NDArray[np.floating[Any]]
BRIGHTEST = 0.995  # light that a camera for SDR bends to its white; all that is brighter would be infinite
DEPTH = 10  # bits, as phones have it


def as_hdr(planes: Planes, transfer: Transfer) -> Planes:
    """Planes of ordinary video, taken for BT.709's, as BT.2020's of 10 bits and limited range."""
    light = _unbent(_times(from_luma(SDR_MATRIX), _full(planes)).clip(0, 1) ** GAMMA)
    signal = SIGNAL[transfer](_times(np.linalg.inv(TO_709), light).clip(0))
    luma, *chroma = _times(np.linalg.inv(from_luma("bt2020")), signal).reshape(3, *planes.y.shape)
    rows, columns = planes.u.shape
    down, across = subsampling(planes.height, rows), subsampling(planes.width, columns)
    u, v = (_levels(512 + 896 * _shrunk(plane, down, across)) for plane in chroma)
    return Planes(_levels(64 + 876 * luma), u, v, DEPTH, "bt2020", full_range=False, transfer=transfer)


def _full(planes: Planes) -> Values:
    """Y in 0..1, Cb and Cr in -0.5..0.5, of every pixel: [3, H * W]."""
    unit, height, width = 1 << (planes.depth - 8), *planes.y.shape
    black, luma, chroma = (0, 255, 255) if planes.full_range else (16, 219, 224)
    down, across = subsampling(height, planes.u.shape[0]), subsampling(width, planes.u.shape[1])
    whole = [plane.repeat(down, 0).repeat(across, 1)[:height, :width] for plane in (planes.u, planes.v)]
    y, u, v = (plane.astype(np.float32).ravel() / unit for plane in (planes.y, *whole))
    return np.stack([(y - black) / luma, (u - 128) / chroma, (v - 128) / chroma])


def _times(matrix: NDArray[np.floating[Any]], values: Values) -> Values:
    return np.asarray(matrix.astype(np.float32) @ values)


def _unbent(light: Values) -> Values:
    """What a camera's knee made of it is undone."""
    rest = 1 - KNEE
    return np.where(light < KNEE, light, KNEE - rest * np.log((1 - light.clip(0, BRIGHTEST)) / rest))


def _pq(light: Values) -> Values:
    power = (light * WHITE / 10000) ** M1
    return np.asarray(((C1 + C2 * power) / (1 + C3 * power)) ** M2)


def _hlg(light: Values) -> Values:
    red, blue = LUMA["bt2020"]
    shown = light * WHITE / PEAK
    luminance = _times(np.array([red, 1 - red - blue, blue]), shown)
    scene = (shown / np.maximum(luminance, 1e-9) ** (0.2 / 1.2)).clip(0, 1)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), A * np.log(np.maximum(12 * scene - B, 1e-9)) + C)


SIGNAL = {Transfer.PQ: _pq, Transfer.HLG: _hlg}


def _shrunk(plane: Values, down: int, across: int) -> Values:
    """The mean of the samples that one of chroma covers; edges are repeated to whole ones."""
    height, width = plane.shape
    whole = np.pad(plane, ((0, -height % down), (0, -width % across)), mode="edge")
    return np.asarray(whole.reshape(-(-height // down), down, -(-width // across), across).mean(axis=(1, 3)))


def _levels(values: Values) -> NDArray[Any]:
    return np.asarray(values.round().clip(0, (1 << DEPTH) - 1), np.uint16)


def decoders() -> dict[str, Decoder]:
    """By what they do to a video."""
    plain = PyAVDecoder(Limits().pixels)
    found: dict[str, Decoder] = {"as it is": plain}
    for transfer in SIGNAL:
        found[f"{transfer}"] = Altering(plain, partial(as_hdr, transfer=transfer))
        found[f"{transfer}, taken for SDR"] = Altering(plain, partial(_taken_for_sdr, transfer=transfer))
    return found


def _taken_for_sdr(planes: Planes, transfer: Transfer) -> Planes:
    return replace(as_hdr(planes, transfer), transfer=Transfer.SDR)


@click.command()
@click.argument("videos", type=click.Path(path_type=Path, exists=True))
@click.option("--workers", default=2, show_default=True)
@json_option
def main(videos: Path, workers: int, out: Path | None) -> None:
    """Score the labelled VIDEOS as they are, and as if they had been filmed for HDR."""
    publish(scored(videos, decoders, workers), out)


if __name__ == "__main__":
    main()
